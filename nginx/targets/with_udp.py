"""A proxy that knows no UDP, with an Nginx beside it that carries the UDP routes and nothing else.

Each of the two follows its own part of the model; a step of an apply is taken by those that have something to do. The one beside is started
with the first UDP route.
"""

import asyncio
from dataclasses import replace
from pathlib import Path

from nginx import process
from nginx.certificates import Bundle
from nginx.errors import ProxyMissingError
from nginx.layout import Layout, Listen, Tuning
from nginx.model import Model
from nginx.nginx_conf import STREAM_MODULE, Surroundings
from nginx.table import Table
from nginx.targets.base import Proxy
from nginx.targets.nginx import Nginx


def beside(layout: Layout, listen: Listen, tuning: Tuning, program: str) -> Nginx:
    """The Nginx for UDP: it has no port but those of its routes. Raises ProxyMissingError."""
    root = process.beside(layout.root)
    sockets = {name: f"unix:{root / 'run' / name}.sock" for name in ("http", "status")}
    own = Listen(sockets["http"], sockets["status"], stream_host=listen.stream_host)
    found = process.find_program(program, lua=False)
    around = Surroundings(
        Layout(root, layout.user, log_requests=False), own, tuning, False, modules=process.modules_directory()
    )
    return Nginx(around, found, soft_close=0.0)


def can_be_beside(program: str) -> bool:
    """Whether Nginx and its module for streams are installed."""
    try:
        process.find_program(program, lua=False)
    except ProxyMissingError:
        return False
    return (process.modules_directory() / STREAM_MODULE).exists()


class WithUdp:
    """A `nginx.targets.base.Proxy` of two."""

    def __init__(self, main: Proxy, udp: Nginx, directory: Path) -> None:
        self.name = main.name
        self._main, self._udp = main, udp
        self._directory = directory
        self._has_udp = False
        self._due: list[Proxy] | None = None  # those that an apply has something for; None: it did not come to that

    @property
    def _parts(self) -> list[Proxy]:
        return [self._main, self._udp] if self._has_udp else [self._main]

    async def start(self) -> bool:
        adopted = await self._main.start()
        if process.running(Layout(self._directory)) is not None:
            await self._start_udp()
        return adopted

    async def _start_udp(self) -> None:
        if not self._has_udp:
            await asyncio.to_thread(self._directory.mkdir, exist_ok=True)
            await self._udp.start()
            self._has_udp = True

    async def ensure_running(self) -> bool:
        return any([await part.ensure_running() for part in self._parts])

    async def follow(self, model: Model, table: Table) -> int:
        return await self._main.follow(model, table)

    async def take(self, certificates: Bundle) -> bool:
        return await self._main.take(certificates)

    def pids(self) -> list[int]:
        return [*self._main.pids(), *self._udp.pids()]

    async def reopen_logs(self) -> None:
        for part in self._parts:
            await part.reopen_logs()

    # Routes: the steps of consul_template_py's Target

    def fingerprint(self, wanted: Model) -> str:
        udp = _udp_of(wanted)
        return f"{self._main.fingerprint(wanted)} {self._udp.fingerprint(udp) if self._has_udp or udp.streams else ''}"

    async def written(self) -> str | None:
        main = await self._main.written()
        return None if main is None else f"{main} {await self._udp.written() or '' if self._has_udp else ''}"

    async def stage(self, wanted: Model) -> None:
        udp = _udp_of(wanted)
        if udp.streams:
            await self._start_udp()
        self._due = []
        for part, model in ((self._main, wanted), (self._udp, udp)):
            if part in self._parts and await part.written() != part.fingerprint(model):
                self._due.append(part)
                await part.stage(model)

    async def check(self) -> None:
        for part in self._due or ():
            await part.check()

    async def swap(self) -> None:
        for part in self._due or ():
            await part.swap()

    async def reload(self) -> None:
        for part in self._parts if self._due is None else self._due:
            await part.reload()

    async def verify(self) -> None:
        for part in self._parts if self._due is None else self._due:
            await part.verify()

    async def roll_back(self) -> None:
        for part in self._due or ():
            await part.roll_back()

    async def discard(self) -> None:
        self._due = None
        for part in self._parts:
            await part.discard()


def _udp_of(model: Model) -> Model:
    streams = tuple(stream for stream in model.streams if stream.protocol == "udp")
    services = {stream.service: model.services[stream.service] for stream in streams}
    return replace(model, routes=(), streams=streams, services=services, refusals=())
