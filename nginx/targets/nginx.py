"""Nginx follows the model, with Lua or without.

With Lua, endpoints go through the control socket into the shared table, and a reload happens only for routes. Without, endpoints are
part of the configuration. A reload is preceded by a soft close: Nginx closes idle connections under clients that may be about to use
them; asked beforehand to end their connections after an answer, busy clients have left by themselves when it does.
"""

import asyncio
import contextlib
import hashlib
import re
import signal
import time
from collections.abc import Callable
from dataclasses import replace

import orjson

from consul_template_py.errors import CheckError, ReloadError, VerifyError
from daemonkit.files import write_atomically
from daemonkit.logs import get_logger
from nginx import certificates as certificate_files
from nginx import nginx_conf, process
from nginx.certificates import Bundle
from nginx.control import Control, State
from nginx.errors import ControlError, EdgeError, ProxyFailedError
from nginx.model import Model
from nginx.nginx_conf import Surroundings
from nginx.process import Master
from nginx.table import Change, Table, difference

log = get_logger(__name__)

VERIFY_SECONDS = 15.0
_MARK = re.compile(r"# configuration (\d+), fingerprint ([0-9a-f]{64})\n")


class Nginx:
    """One Nginx below `around.layout`; a `nginx.targets.base.Proxy`. `soft_close` in seconds."""

    name = "nginx"

    def __init__(self, around: Surroundings, program: str, *, soft_close: float = 0.3) -> None:
        self._around = around
        self._layout = around.layout
        self._program = program
        self._soft_close = soft_close
        self._control = Control(around.layout)
        self._lock = asyncio.Lock()
        self._master: Master | None = None
        self._counter = 0
        self._table: Table | None = None  # that runs; None: not known, the next change replaces all of it
        self._switched: frozenset[str] = frozenset()  # to their standby; without Lua that is configuration
        self._fingerprint_of: tuple[object, str] = (None, "")
        self._staged = self._layout.config.with_suffix(".staged")
        self._good = self._layout.config.with_suffix(".good")
        self._before: bytes | None = None
        self._unsaved = False
        self._saving: asyncio.Task[None] | None = None
        self._old_workers: frozenset[int] = frozenset()

    # The proxy's life

    async def start(self) -> bool:
        async with self._lock:
            await asyncio.to_thread(process.prepare, self._layout)
            if self._around.listen.tls:
                placeholder = await asyncio.to_thread(certificate_files.placeholder, self._layout.placeholder)
                certificate_files.write(Bundle({}, {}), self._layout.tls, placeholder, keep=True)
            self._master = await asyncio.to_thread(process.running, self._layout)
            adopted = self._master is not None
            if not adopted:
                await self._start_fresh()
            await self._look()
            return adopted

    async def ensure_running(self) -> bool:
        if self._master is not None and process.running(self._layout) == self._master:
            return False
        async with self._lock:
            log.warning("nginx is gone, starting it again")
            self._master = await asyncio.to_thread(process.running, self._layout)
            if self._master is None:
                await self._start_fresh()
            await self._look()
            return True

    def pids(self) -> list[int]:
        return process.ours(self._layout)

    async def reopen_logs(self) -> None:
        await self._signal(signal.SIGUSR1)

    async def _look(self) -> None:
        """Waits until it answers. What its table holds is not asked back: the next change replaces all of it."""
        state = await self._wait_for(lambda _state: True)
        self._counter, self._table = state.counter, None

    async def _start_fresh(self) -> None:
        for source in (self._layout.config, self._good):
            if source.exists() and await self._starts_with(source.read_bytes()):
                return
        write_atomically(self._layout.config, self._text(Model(), 1))
        await asyncio.to_thread(process.check, self._layout, self._program, self._layout.config)
        self._master = await asyncio.to_thread(process.start, self._layout, self._program)

    async def _starts_with(self, text: bytes) -> bool:
        """An old configuration may be of other ports or of another version: it is used only where it listens as it should."""
        listen = self._around.listen
        if f"listen {listen.http} ".encode() not in text or f"listen {listen.status};".encode() not in text:
            return False
        write_atomically(self._layout.config, text)
        try:
            await asyncio.to_thread(process.check, self._layout, self._program, self._layout.config)
            self._master = await asyncio.to_thread(process.start, self._layout, self._program)
        except ProxyFailedError as error:
            log.warning("the last configuration is of no use", error=str(error))
            return False
        return True

    # Endpoints

    async def follow(self, model: Model, table: Table) -> int:
        if not self._around.lua:
            self._switched = frozenset(name for name, entry in table.items() if entry.get("switched"))
            return 0
        async with self._lock:
            change = Change(table, ()) if self._table is None else difference(self._table, table)
            if not change and self._table is not None:
                return 0
            try:
                await self._control.change(self._counter + 1, change, full=self._table is None)
            except ControlError as error:
                # Perhaps it arrived and only the answer was lost, perhaps Nginx was started anew: look, and replace all.
                log.warning("endpoints were not taken, replacing all", error=str(error))
                self._table = None
                self._counter = max(self._counter, (await self._control.state()).counter)
                await self._control.change(self._counter + 1, Change(table, ()), full=True)
            self._counter += 1
            self._table = table
            self._save_soon()
            return len(change.services) + len(change.remove)

    def _save_soon(self) -> None:
        """The next change does not wait for the disk. A table that is older than the memory's is of no harm: its counter says so."""
        self._unsaved = True
        if self._saving is None or self._saving.done():
            self._saving = asyncio.create_task(self._save(), name="table")

    async def _save(self) -> None:
        while self._unsaved:
            self._unsaved = False
            if self._table is None:  # what runs is not known: the change that replaces all is kept
                return
            try:
                await asyncio.to_thread(self._write_table, self._counter, self._table)
            except OSError as error:
                log.error("the table of endpoints cannot be kept", path=str(self._layout.endpoints), error=str(error))

    def _write_table(self, counter: int, table: Table) -> None:
        text = orjson.dumps({"counter": counter, "services": table})
        write_atomically(self._layout.endpoints, text, mode=0o600)

    async def take(self, certificates: Bundle) -> bool:
        placeholder = await asyncio.to_thread(certificate_files.placeholder, self._layout.placeholder)
        if not self._around.lua:
            certificate_files.write(certificates, self._layout.tls, placeholder)
            self._around = replace(self._around, certificates=(frozenset(certificates.pems), certificates.digest))
            self._fingerprint_of = (None, "")
            return True
        async with self._lock:
            counter = (await self._control.state()).certificates + 1
            write_atomically(
                self._layout.certificate_table,
                orjson.dumps({"counter": counter, "certificates": dict(certificates.pems)}),
                mode=0o600,
            )
            await self._control.certificates(counter, certificates.pems)
        return False

    # Routes: the steps of consul_template_py's Target

    def fingerprint(self, wanted: Model) -> str:
        wanted = _with_standbys(wanted, self._switched)
        endpoints = _stream_endpoints(wanted) if self._around.lua else wanted.services
        structure = (wanted.routes, wanted.streams, endpoints)
        if self._fingerprint_of[0] != structure:
            text = nginx_conf.render(wanted, replace(self._around, generation=0))
            users = nginx_conf.user_files(wanted)
            digest = hashlib.sha256(text.encode() + orjson.dumps(users, option=orjson.OPT_SORT_KEYS)).hexdigest()
            self._fingerprint_of = (structure, digest)
        return self._fingerprint_of[1]

    async def written(self) -> str | None:
        mark = self._mark()
        return mark[1] if mark else None

    async def stage(self, wanted: Model) -> None:
        await asyncio.to_thread(self._stage, wanted)  # endpoints go on following while it waits for the disk

    def _stage(self, wanted: Model) -> None:
        mark = self._mark()
        write_atomically(self._staged, self._text(wanted, (mark[0] if mark else 0) + 1))
        for name, users in nginx_conf.user_files(wanted).items():
            process.write_private(self._layout, self._layout.users / name, users)

    async def check(self) -> None:
        try:
            await asyncio.to_thread(process.check, self._layout, self._program, self._staged)
        except ProxyFailedError as error:
            raise CheckError(str(error)) from None

    async def swap(self) -> None:
        self._before = self._layout.config.read_bytes() if self._layout.config.exists() else None
        self._staged.replace(self._layout.config)

    async def reload(self) -> None:
        try:
            await self._soft_close_connections()  # meanwhile endpoints go on following
            self._old_workers = process.accepting_workers(self._master) if self._master else frozenset()
            await self._signal(signal.SIGHUP)
        except EdgeError as error:
            raise ReloadError(str(error)) from None

    async def verify(self) -> None:
        mark = self._mark()
        generation = mark[0] if mark else 0
        try:
            await self._wait_for(lambda state: state.generation == generation and not self._old_workers_accept())
        except EdgeError as error:
            raise VerifyError(str(error)) from None
        await asyncio.to_thread(write_atomically, self._good, self._layout.config.read_bytes())
        log.info("nginx runs by its new routes", configuration=generation)

    async def roll_back(self) -> None:
        if self._before is None:
            return
        write_atomically(self._layout.config, self._before)
        mark, state = self._mark(), await self._control.state()
        if self._around.lua:
            await self._control.closing(0)
        if mark and state.generation != mark[0]:
            await self._signal(signal.SIGHUP)

    async def discard(self) -> None:
        self._staged.unlink(missing_ok=True)

    def _text(self, model: Model, generation: int) -> str:
        shown = _with_standbys(model, self._switched)
        text = nginx_conf.render(shown, replace(self._around, generation=generation))
        return f"# configuration {generation}, fingerprint {self.fingerprint(model)}\n{text}"

    def _mark(self) -> tuple[int, str] | None:
        """(number, fingerprint) of the configuration in place."""
        with contextlib.suppress(OSError), self._layout.config.open() as file:
            found = _MARK.fullmatch(file.readline())
            if found:
                return int(found[1]), found[2]
        return None

    async def _soft_close_connections(self) -> None:
        if self._soft_close > 0 and self._around.lua:
            await self._control.closing((await self._control.state()).generation)
            await asyncio.sleep(self._soft_close)

    def _old_workers_accept(self) -> bool:
        return self._master is not None and bool(self._old_workers & process.accepting_workers(self._master))

    async def _signal(self, number: signal.Signals) -> None:
        if self._master is None:
            raise ProxyFailedError("nginx does not run")
        await asyncio.to_thread(process.signal_master, self._layout, self._master, number)

    async def _wait_for(self, wanted: Callable[[State], bool]) -> State:
        """The running Nginx' state once it is as `wanted` says. Raises ProxyFailedError after VERIFY_SECONDS."""
        deadline = time.monotonic() + VERIFY_SECONDS
        last = ""
        while time.monotonic() < deadline:
            try:
                state = await self._control.state()
                if wanted(state):
                    return state
                last = f"it runs configuration {state.generation}"
            except ControlError as error:
                last = str(error)
            await asyncio.sleep(0.02)
        raise ProxyFailedError(f"nginx did not take its configuration: {last}; see {self._layout.error_log}")


def _with_standbys(model: Model, switched: frozenset[str]) -> Model:
    """The model with the endpoints of the standby where a service is switched to it, and it has any."""
    services = dict(model.services)
    for name in switched & services.keys():
        standby = services[name].standby
        if standby and standby.service in services and model.services[standby.service].endpoints:
            services[name] = replace(services[name], endpoints=model.services[standby.service].endpoints, canaries=())
    return replace(model, services=services) if switched else model


def _stream_endpoints(model: Model) -> object:
    """Without Lua for streams, their endpoints are part of the configuration."""
    return [model.services[stream.service].endpoints for stream in model.streams if stream.service in model.services]
