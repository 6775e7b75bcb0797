"""A proxy with routes that a test sets by hand: what the edge does between Consul and the users, without Consul and without a daemon."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from consul_template_py.apply import Applied, apply
from nginx import certificates, haproxy_process, process
from nginx.haproxy_conf import HaproxySurroundings
from nginx.layout import Layout, Listen, Tuning
from nginx.model import Instance, Model
from nginx.nginx_conf import Surroundings
from nginx.routes import Policy, build
from nginx.table import table_of
from nginx.targets import haproxy as haproxy_target
from nginx.targets import nginx as nginx_target
from nginx.targets.base import Proxy
from nginx.targets.haproxy import Haproxy
from nginx.targets.nginx import Nginx
from nginx.targets.with_udp import WithUdp, beside
from tests.support.backends import Backend
from tests.support.processes import free_port

ALL = ["nginx-lua", "nginx", "haproxy"]
SMART = ["nginx-lua", "haproxy"]
LUA = ["nginx-lua"]

# A rig makes its proxy follow once, and has no loop that tries again: it waits for as long as a machine may need that does much else.
nginx_target.VERIFY_SECONDS = haproxy_target.VERIFY_SECONDS = 60.0


def with_targets(targets: list[str]) -> pytest.MarkDecorator:
    """The test runs with each of these proxies as its `edge`."""
    return pytest.mark.parametrize("edge", targets, indirect=True)


@dataclass
class Rig:
    proxy: Proxy
    layout: Layout
    port: int
    tls_port: int
    status_port: int
    grpc_port: int
    policy: Policy
    model: Model = field(default_factory=Model)
    applied: Applied = field(default_factory=Applied)
    reloads: int = 0
    target: str = "nginx-lua"
    broken: bool = False  # while, and if ever, the proxy did not follow

    async def show(self, *instances: Instance, switched: Collection[str] = ()) -> Model:
        """Makes the proxy follow these instances."""
        services: dict[str, list[Instance]] = {}
        for instance in instances:
            services.setdefault(instance.service, []).append(instance)
        self.model = build(services, self.policy)
        table = table_of(self.model, switched)
        self.broken = True
        await self.proxy.follow(self.model, table)
        result = await apply(self.proxy, self.model, self.applied)
        assert result.ok, result.error
        if result.did_reload:
            self.reloads += 1
            await self.proxy.follow(self.model, table)
        self.broken = False
        return self.model

    async def ask(
        self, path: str = "/", host: str = "web.test", method: str = "GET", **more: object
    ) -> requests.Response:
        headers = {"Host": host, **more.pop("headers", {})}  # type: ignore[dict-item]
        return await asyncio.to_thread(
            requests.request,
            method,
            f"http://127.0.0.1:{self.port}{path}",
            headers=headers,
            allow_redirects=False,
            **{"timeout": 60, **more},  # type: ignore[arg-type]
        )

    async def answers(self, count: int = 20, **how: object) -> list[str]:
        """The bodies of so many requests one after the other; a status where it is not 200."""
        found = []
        for _ in range(count):
            answer = await self.ask(**how)  # type: ignore[arg-type]
            found.append(answer.text if answer.status_code == 200 else str(answer.status_code))
        return found


def instance(backend: Backend, service: str = "web", **labels: str) -> Instance:
    """A healthy instance at a backend, reached as web.test unless labels say otherwise."""
    meta = {
        "dromos-app": f"/{service}",
        **({} if labels.pop("plain", "") else {"HAPROXY_0_VHOST": f"{service}.test"}),
        **labels,
    }
    return Instance(f"{service}-{backend.port}", service, backend.host, backend.port, meta=meta)


def policy_of(target: str, layout: Layout) -> Policy:
    authorities = layout.authorities.glob("*") if layout.authorities.is_dir() else ()
    return Policy(one_authority=target == "haproxy", authorities=frozenset(path.name for path in authorities))


@contextlib.asynccontextmanager
async def rig(
    directory: Path,
    target: str = "nginx-lua",
    *,
    tls: bool = False,
    grpc: bool = False,
    workers: str = "1",
    soft_close: float = 0.0,
    log_requests: bool = True,
    trusted: tuple[str, ...] = ("127.0.0.2/32",),
    connections: int = 1024,
    shutdown_timeout: int = 5,
) -> AsyncIterator[Rig]:
    port, tls_port, status_port, grpc_port = free_port(), free_port(), free_port(), free_port()
    listen = Listen(
        f"127.0.0.1:{port}",
        f"127.0.0.1:{status_port}",
        tls=f"127.0.0.1:{tls_port}" if tls else "",
        grpc=f"127.0.0.1:{grpc_port}" if grpc else "",
        trusted=trusted,
    )
    tuning = Tuning(workers, connections, table_memory=4, metrics_memory=4, shutdown_timeout=shutdown_timeout)
    directory.mkdir(exist_ok=True)
    layout = Layout(directory, process.worker_user(directory), log_requests)
    lua = target == "nginx-lua"
    proxy: Proxy
    if target == "haproxy":
        haproxy = Haproxy(HaproxySurroundings(layout, listen, tuning), haproxy_process.find_program())
        proxy = WithUdp(haproxy, beside(layout, listen, tuning, "nginx"), process.beside(layout.root))
    else:
        around = Surroundings(layout, listen, tuning, lua)
        proxy = Nginx(around, process.find_program(), soft_close=soft_close)
    found = Rig(proxy, layout, port, tls_port, status_port, grpc_port, policy_of(target, layout), target=target)
    try:
        await proxy.start()
        if tls:
            await proxy.take(certificates.read(layout.certificates))
        yield found
    finally:
        await asyncio.to_thread(process.stop, directory, grace=0.5)


class Rigs:
    """One proxy of each kind for the tests of a process, one after the other: what one of them shows replaces what the one before did."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory
        self._loop = asyncio.new_event_loop()
        self._open: dict[str, tuple[Rig, contextlib.AsyncExitStack]] = {}

    def of(self, target: str) -> Rig:
        if target in self._open and self._open[target][0].broken:
            self._close(target)
        if target not in self._open:
            stack = contextlib.AsyncExitStack()
            found = self._loop.run_until_complete(
                stack.enter_async_context(rig(self._factory.mktemp("edge") / "edge", target))
            )
            self._open[target] = (found, stack)
        found = self._open[target][0]
        found.policy = policy_of(target, found.layout)
        return found

    def _close(self, target: str) -> None:
        self._loop.run_until_complete(self._open.pop(target)[1].aclose())

    def close(self) -> None:
        for target in list(self._open):
            self._close(target)
        self._loop.close()


@pytest.fixture(scope="session")
def rigs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rigs]:
    with contextlib.closing(Rigs(tmp_path_factory)) as found:
        yield found


@pytest.fixture
def edge(request: pytest.FixtureRequest, rigs: Rigs) -> Rig:
    """A proxy, of the kind that `with_targets` names, with routes that the test shows it. Others have had it, and will."""
    return rigs.of(request.param)
