"""HAProxy follows the model: servers through the runtime socket, routes through a checked and verified reload.

A server that goes is put into maintenance, so that it gets nothing new and finishes what it has, and is deleted once it is idle. What
runs is remembered, so that a change costs its own commands only; after a reload, a restart or a complaint it is read back instead.
"""

import asyncio
import contextlib
import hashlib
import re
import signal
import time
from collections.abc import Mapping
from dataclasses import replace

from consul_template_py.errors import CheckError, ReloadError, VerifyError
from daemonkit.files import write_atomically
from daemonkit.logs import get_logger
from nginx import certificates as certificate_files
from nginx import haproxy_conf, haproxy_process, process
from nginx.certificates import Bundle
from nginx.errors import ControlError, EdgeError, ProxyFailedError
from nginx.haproxy_conf import Backend, HaproxySurroundings
from nginx.haproxy_process import Master
from nginx.haproxy_runtime import Runtime, Server
from nginx.layout import listen_address
from nginx.model import Endpoint, Model, Service
from nginx.table import Table

log = get_logger(__name__)

VERIFY_SECONDS = 15.0
_MARK = re.compile(r"# configuration (\d+), fingerprint ([0-9a-f]{64})\n")
Running = dict[str, dict[str, Server]]


class Haproxy:
    """One HAProxy below `around.layout`; a `nginx.targets.base.Proxy`."""

    name = "haproxy"

    def __init__(self, around: HaproxySurroundings, program: str) -> None:
        self._around = around
        self._layout = around.layout
        self._program = program
        self._runtime = Runtime(around.layout)
        self._lock = asyncio.Lock()
        self._master: Master | None = None
        self._running: Running | None = None  # None: not known, to be read back
        self._followed: dict[str, Service] = {}  # backend -> what it has followed to the end
        self._standby = ""
        self._maps_before: dict[str, bytes] = {}
        self._fingerprint_of: tuple[object, str] = (None, "")
        self._staged = self._layout.haproxy_config.with_suffix(".staged")
        self._good = self._layout.haproxy_config.with_suffix(".good")
        self._before: bytes | None = None

    # The proxy's life

    async def start(self) -> bool:
        async with self._lock:
            await asyncio.to_thread(process.prepare, self._layout)
            if self._around.listen.tls:
                placeholder = await asyncio.to_thread(certificate_files.placeholder, self._layout.placeholder)
                certificate_files.write(Bundle({}, {}), self._layout.tls, placeholder, keep=True)
            self._master = await asyncio.to_thread(haproxy_process.settled, self._layout)
            adopted = self._master is not None
            if not adopted:
                await self._start_fresh()
            self._runtime.expected = await self._wait_for(None)
            return adopted

    async def ensure_running(self) -> bool:
        if self._master is not None and haproxy_process.lives(self._master):
            return False
        async with self._lock:
            log.warning("haproxy is gone, starting it again")
            self._master = await asyncio.to_thread(haproxy_process.settled, self._layout)
            if self._master is None:
                await self._start_fresh()
            self._runtime.expected = await self._wait_for(None)
            return True

    def pids(self) -> list[int]:
        return haproxy_process.ours(self._layout)

    async def reopen_logs(self) -> None:
        """HAProxy writes no files."""

    async def _start_fresh(self) -> None:
        self._running = None
        for source in (self._layout.haproxy_config, self._good):
            if source.exists() and await self._starts_with(source.read_bytes()):
                return
        self._write_maps(Model())
        write_atomically(self._layout.haproxy_config, self._text(Model(), 1), mode=0o600)
        await asyncio.to_thread(haproxy_process.check, self._program, self._layout.haproxy_config)
        self._master = await asyncio.to_thread(haproxy_process.start, self._layout, self._program)

    async def _starts_with(self, text: bytes) -> bool:
        listen = self._around.listen
        if f"bind {listen.http}\n".encode() not in text or f"bind {listen.status}\n".encode() not in text:
            return False
        write_atomically(self._layout.haproxy_config, text, mode=0o600)
        try:
            await asyncio.to_thread(haproxy_process.check, self._program, self._layout.haproxy_config)
            self._master = await asyncio.to_thread(haproxy_process.start, self._layout, self._program)
        except ProxyFailedError as error:
            log.warning("the last configuration is of no use", error=str(error))
            return False
        return True

    # Endpoints

    async def follow(self, model: Model, table: Table) -> int:
        switched = frozenset(name for name, entry in table.items() if entry.get("switched"))
        async with self._lock:
            if self._running is None:
                self._running, self._standby, self._followed = await self._runtime.servers(), "?", {}
            changed, backends = 0, haproxy_conf.backends(model)
            watched = haproxy_conf.is_watched(backends)
            for backend in backends:
                running = self._running.get(backend.name)
                # A backend that does not run yet comes with the next reload.
                if running is not None and self._followed.get(backend.name) is not backend.service:
                    changed += await self._follow_backend(backend, running, watched)
                    if not any(server.leaving for server in running.values()):
                        self._followed[backend.name] = backend.service
            await self._follow_standby(haproxy_conf.standby_map(model, switched))
            return changed

    async def _follow_backend(self, backend: Backend, running: dict[str, Server], watched: bool) -> bool:
        wanted = {haproxy_conf.server_name(one.address, one.port): one for one in backend.service.endpoints}
        commands = _commands(backend, wanted, running, watched)
        if not commands and not any(server.leaving for server in running.values()):
            return False
        complaints = await self._runtime.run(commands) if commands else []
        leaving = [name for name in running if name not in wanted]
        for name in leaving:  # those with a session left stay, and are tried again at the next look
            complaint = await self._runtime.run([f"del server {backend.name}/{name}"])
            if complaint:
                running[name] = Server(name, running[name].weight, leaving=True)
            else:
                del running[name]
        most = haproxy_conf.most_weight(backend.service)
        running |= {
            name: Server(name, haproxy_conf.weight_of(one, most), leaving=False) for name, one in wanted.items()
        }
        if complaints:
            self._running = None
            raise ControlError(f"haproxy complained of {backend.name}: {complaints[0]}")
        return bool(commands)

    async def _follow_standby(self, text: str) -> None:
        if text == self._standby:
            return
        path = self._layout.haproxy_map("standby")
        entries = [f"add map {path} {line}" for line in text.splitlines()]
        complaints = await self._runtime.run([f"clear map {path}", *entries])
        if complaints:
            raise ControlError(f"haproxy complained of the standby map: {complaints[0]}")
        write_atomically(path, text)
        self._standby = text

    async def take(self, certificates: Bundle) -> bool:
        placeholder = await asyncio.to_thread(certificate_files.placeholder, self._layout.placeholder)
        certificate_files.write(certificates, self._layout.tls, placeholder)
        self._around = replace(self._around, certificates=certificates.digest)
        self._fingerprint_of = (None, "")
        return True

    # Routes: the steps of consul_template_py's Target

    def fingerprint(self, wanted: Model) -> str:
        fixed = [(name, one.app, one.canaries, one.standby) for name, one in wanted.services.items()]
        structure = (wanted.routes, wanted.streams, fixed)
        if self._fingerprint_of[0] != structure:
            services = {name: replace(service, endpoints=()) for name, service in wanted.services.items()}
            bare = replace(wanted, services=services)
            parts = [haproxy_conf.render(bare, replace(self._around, generation=0)), *haproxy_conf.maps(bare).values()]
            self._fingerprint_of = (structure, hashlib.sha256("\0".join(parts).encode()).hexdigest())
        return self._fingerprint_of[1]

    async def written(self) -> str | None:
        mark = self._mark()
        return mark[1] if mark else None

    async def stage(self, wanted: Model) -> None:
        await asyncio.to_thread(self._stage, wanted)  # endpoints go on following while it waits for the disk

    def _stage(self, wanted: Model) -> None:
        mark = self._mark()
        write_atomically(self._staged, self._text(wanted, (mark[0] if mark else 0) + 1), mode=0o600)
        self._maps_before = self._read_maps()
        # A running HAProxy has its maps in memory: the files count at the next reload.
        self._write_maps(wanted)

    async def check(self) -> None:
        try:
            await asyncio.to_thread(haproxy_process.check, self._program, self._staged)
        except ProxyFailedError as error:
            self._restore_maps()
            raise CheckError(str(error)) from None

    async def swap(self) -> None:
        self._before = self._layout.haproxy_config.read_bytes() if self._layout.haproxy_config.exists() else None
        self._staged.replace(self._layout.haproxy_config)

    async def reload(self) -> None:
        async with self._lock:
            self._running, self._runtime.expected = None, None
            try:
                if self._master is None:
                    raise ProxyFailedError("haproxy does not run")
                await asyncio.to_thread(haproxy_process.signal_master, self._master, signal.SIGUSR2)
                mark = self._mark()
                self._runtime.expected = await self._wait_for(mark[0] if mark else None)
            except EdgeError as error:
                raise ReloadError(str(error)) from None

    async def verify(self) -> None:
        mark = self._mark()
        try:
            generation = await self._wait_for(mark[0] if mark else None)
        except EdgeError as error:
            raise VerifyError(str(error)) from None
        text = self._layout.haproxy_config.read_bytes()
        await asyncio.to_thread(write_atomically, self._good, text, mode=0o600)
        log.info("haproxy runs by its new routes", configuration=generation)

    async def roll_back(self) -> None:
        if self._before is None:
            return
        self._restore_maps()
        write_atomically(self._layout.haproxy_config, self._before, mode=0o600)
        mark = self._mark()
        with contextlib.suppress(EdgeError):
            if mark and await self._runtime.generation() == mark[0]:
                self._runtime.expected = mark[0]
                return
        await self.reload()

    async def discard(self) -> None:
        self._staged.unlink(missing_ok=True)

    def _text(self, model: Model, generation: int) -> str:
        text = haproxy_conf.render(model, replace(self._around, generation=generation))
        return f"# configuration {generation}, fingerprint {self.fingerprint(model)}\n{text}"

    def _mark(self) -> tuple[int, str] | None:
        """(number, fingerprint) of the configuration in place."""
        with contextlib.suppress(OSError), self._layout.haproxy_config.open() as file:
            found = _MARK.fullmatch(file.readline())
            if found:
                return int(found[1]), found[2]
        return None

    def _write_maps(self, model: Model) -> None:
        for name, text in haproxy_conf.maps(model).items():
            write_atomically(self._layout.haproxy_map(name), text)

    def _read_maps(self) -> dict[str, bytes]:
        paths = {name: self._layout.haproxy_map(name) for name in haproxy_conf.maps(Model())}
        return {name: path.read_bytes() for name, path in paths.items() if path.exists()}

    def _restore_maps(self) -> None:
        for name, text in self._maps_before.items():
            write_atomically(self._layout.haproxy_map(name), text)

    async def _wait_for(self, generation: int | None) -> int:
        """The number of the configuration that runs, once it is that (None: any). Raises ProxyFailedError after VERIFY_SECONDS."""
        deadline = time.monotonic() + VERIFY_SECONDS
        last = ""
        while time.monotonic() < deadline:
            try:
                found = await self._runtime.generation()
                if generation in (None, found):
                    return found
                last = f"it runs configuration {found}"
            except ControlError as error:
                last = str(error)
            await asyncio.sleep(0.02)
        raise ProxyFailedError(f"haproxy did not take its configuration: {last}")


def _commands(
    backend: Backend, wanted: Mapping[str, Endpoint], running: Mapping[str, Server], watched: bool
) -> list[str]:
    """What turns the running servers into the wanted ones, save the deletion of those that leave."""
    commands, most = [], haproxy_conf.most_weight(backend.service)
    for name, endpoint in wanted.items():
        path, server = f"{backend.name}/{name}", running.get(name)
        weight = haproxy_conf.weight_of(endpoint, most)
        if server is None:
            address = listen_address(endpoint.address, endpoint.port)
            options = haproxy_conf.server_options(backend.options, watched=watched)
            commands.append(f"add server {path} {address} weight {weight}{options}")
            if " check " in options:
                commands.append(f"enable health {path}")
        if server is None or server.leaving:
            commands.append(f"set server {path} state ready")
        if server is not None and server.weight != weight:
            commands.append(f"set server {path} weight {weight}")
    commands += [
        f"set server {backend.name}/{name} state maint"
        for name, server in running.items()
        if name not in wanted and not server.leaving
    ]
    return commands
