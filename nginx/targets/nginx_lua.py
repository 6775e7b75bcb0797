"""Nginx with Lua follows the model: endpoints through the control socket, routes through a checked and verified reload.

    equal            nothing
    endpoints only   POST to the shared table, then the file that a restarted Nginx loads
    routes           stage → nginx -t → swap → soft close → reload → verify; on failure the old file comes back

What is applied is kept apart from what is wanted: after any failure the next `apply` compares with what really runs.
"""

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import orjson

from daemonkit.logs import get_logger
from nginx import nginx_conf, process
from nginx.control import Control, State
from nginx.errors import ControlError, ProxyFailedError
from nginx.model import Model
from nginx.nginx_conf import Surroundings
from nginx.table import Change, Table, difference

log = get_logger(__name__)

VERIFY_SECONDS = 15.0


@dataclass(frozen=True)
class Applied:
    """What an `apply` did."""

    reloaded: bool = False
    changed: int = 0


class NginxLua:
    """One Nginx below `around.layout`. Not for two tasks at once: the daemon's loop is the only caller."""

    def __init__(self, around: Surroundings, program: str, *, soft_close: float = 0.3) -> None:
        self._around = around
        self._program = program
        self._soft_close = soft_close
        self._control = Control(around.layout)
        self._master: process.Master | None = None
        self._generation = 0
        self._counter = 0
        self._text = ""  # of the configuration that runs
        self._structure: object = None  # what it was rendered from
        self._table: Table = {}  # that runs

    @property
    def is_running(self) -> bool:
        return self._master is not None and process.running(self._around.layout) == self._master

    async def start(self) -> bool:
        """Adopts the Nginx that runs, else starts one with the last good configuration. True if it was adopted."""
        layout = self._around.layout
        await asyncio.to_thread(process.prepare, layout)
        self._master = await asyncio.to_thread(process.running, layout)
        adopted = self._master is not None
        if not adopted:
            await self._start_fresh()
        state = await self._wait_for(lambda _state: True)
        self._generation, self._counter = state.generation, state.counter
        self._text = layout.config.read_text()
        self._structure = None
        # What the running table holds is not asked back: the next change replaces all of it.
        self._table = {}
        return adopted

    async def apply(self, model: Model, table: Table, *, may_reload: bool = True) -> Applied:
        """Makes Nginx follow. Raises ProxyFailedError or ControlError; then what runs is what ran before, or part of the way on.

        With `may_reload` false only the table is changed; `pending(model)` tells whether a reload is due.
        """
        if not self.is_running:
            log.warning("nginx is gone, starting it again")
            await self.start()
        changed = await self._change_table(table)
        reloaded = False
        if may_reload and self.pending(model):
            await self._reload(model)
            reloaded = True
        return Applied(reloaded, changed)

    def pending(self, model: Model) -> bool:
        """Whether the routes that run are others than the model's."""
        structure = (model.routes, model.streams, _stream_endpoints(model))
        if structure == self._structure:
            return False
        if self._render(model, self._generation) != self._text:
            return True
        self._structure = structure
        return False

    async def _change_table(self, table: Table) -> int:
        full = not self._table
        change = Change(table, ()) if full else difference(self._table, table)
        if not change and not full:
            return 0
        try:
            await self._control.change(self._counter + 1, change, full=full)
        except ControlError:
            # Perhaps it arrived and only the answer was lost, perhaps Nginx was started anew: look, and replace all.
            self._table = {}
            self._counter = max(self._counter, (await self._control.state()).counter)
            await self._control.change(self._counter + 1, Change(table, ()), full=True)
        self._counter += 1
        self._table = dict(table)
        await asyncio.to_thread(self._write_table)
        return len(change.services) + len(change.remove)

    def _write_table(self) -> None:
        layout = self._around.layout
        text = orjson.dumps({"counter": self._counter, "services": self._table})
        process.write_atomically(layout.endpoints, text, mode=0o600)

    async def _reload(self, model: Model) -> None:
        layout, old_generation = self._around.layout, self._generation
        generation = old_generation + 1
        text = self._render(model, generation)
        staged = layout.config.with_suffix(".staged")
        process.write_atomically(staged, text)
        self._write_users(model)
        await asyncio.to_thread(process.check, layout, self._program, staged)
        before = layout.config.read_bytes()
        staged.replace(layout.config)
        try:
            await self._soft_close_connections(old_generation)
            assert self._master is not None
            await asyncio.to_thread(process.signal_master, layout, self._master, signal.SIGHUP)
            await self._wait_for(lambda state: state.generation == generation)
        except (ProxyFailedError, ControlError):
            process.write_atomically(layout.config, before)
            await self._control.closing(0)
            raise
        self._generation, self._text = generation, text
        self._structure = (model.routes, model.streams, _stream_endpoints(model))
        process.write_atomically(layout.config.with_suffix(".good"), text)
        log.info("routes reloaded", configuration=generation, routes=len(model.routes), streams=len(model.streams))

    async def _soft_close_connections(self, generation: int) -> None:
        """A reload closes idle connections under clients that are about to use them; asked beforehand, clients leave by themselves."""
        if self._soft_close > 0:
            await self._control.closing(generation)
            await asyncio.sleep(self._soft_close)

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
        raise ProxyFailedError(f"nginx did not take its configuration: {last}; see {self._around.layout.error_log}")

    async def _start_fresh(self) -> None:
        layout = self._around.layout
        good = layout.config.with_suffix(".good")
        for source in (layout.config, good):
            if source.exists() and await self._starts_with(source.read_bytes()):
                return
        text = self._render(Model(), self._generation + 1)
        process.write_atomically(layout.config, text)
        await asyncio.to_thread(process.check, layout, self._program, layout.config)
        self._master = await asyncio.to_thread(process.start, layout, self._program)

    async def _starts_with(self, text: bytes) -> bool:
        """An old configuration may be of other ports or another version: it is used only where it listens as it should."""
        layout, listen = self._around.layout, self._around.listen
        if f"listen {listen.http} ".encode() not in text or f"listen {listen.status};".encode() not in text:
            return False
        process.write_atomically(layout.config, text)
        try:
            await asyncio.to_thread(process.check, layout, self._program, layout.config)
            self._master = await asyncio.to_thread(process.start, layout, self._program)
        except ProxyFailedError as error:
            log.warning("the last configuration is of no use", error=str(error))
            return False
        return True

    def _render(self, model: Model, generation: int) -> str:
        return nginx_conf.render(model, replace(self._around, generation=generation))

    def _write_users(self, model: Model) -> None:
        for name, text in nginx_conf.user_files(model).items():
            process.write_private(self._around.layout, self._around.layout.users / name, text)


def _stream_endpoints(model: Model) -> object:
    """Without Lua for streams, their endpoints are part of the configuration."""
    return [model.services[stream.service].endpoints for stream in model.streams if stream.service in model.services]
