"""A Consul for tests, real or embedded, behind one handle; and the fixtures that give one.

real_consul, embedded_consul            one for the test run, emptied before each test: the daemons of the one before have ended
any_consul                              the test runs with each of these
own_real_consul, own_embedded_consul    one of the test's own with its data on disk, which it may stop, kill and start again
own_any_consul                          the test runs with each of these
"""

import asyncio
import contextlib
import os
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
import uvloop

from embedded.consul.server import embedded_consul as serving_embedded_consul
from tests.real_consul.install import real_consul_program
from tests.support.loops import running_in_a_thread
from tests.support.processes import Process, free_port, running
from tests.support.waiting import eventually

NODE = "test-node"
_SHOWN = ("ID", "Address", "Port", "Tags", "Meta")


class Http:
    """Consul's HTTP API at one address, for a test's own steps and looks."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False
        if token:
            self.session.headers["X-Consul-Token"] = token

    def get(self, path: str, **params: Any) -> requests.Response:
        return self.session.get(f"{self.url}/v1/{path}", params=params, timeout=30)

    def put(self, path: str, json: Any = None, *, data: bytes | str | None = None, **params: Any) -> requests.Response:
        return self.session.put(f"{self.url}/v1/{path}", params=params, json=json, data=data, timeout=30)

    def delete(self, path: str, **params: Any) -> requests.Response:
        return self.session.delete(f"{self.url}/v1/{path}", params=params, timeout=30)


@dataclass
class ConsulServer:
    """One Consul with one node. `http` talks to it; `register`, `put` and their like are the steps that tests take most."""

    host: str
    port: int
    kind: str  # "real" or "embedded"
    token: str | None = None
    http: Http = field(init=False)

    def __post_init__(self) -> None:
        self.http = Http(self.url, self.token)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def name(self, stem: str = "svc") -> str:
        """A name that no other test uses."""
        return f"{stem}-{uuid.uuid4().hex[:8]}"

    def register(
        self,
        name: str,
        id: str | None = None,
        *,
        port: int = 0,
        address: str = "",
        status: str | None = None,
        **more: Any,
    ) -> str:
        """Registers a service at the agent (`more` in Consul's own words, `Tags=[…]`); with `status`, a TTL check that says so.

        Returns when the catalog has it, which the real agent tells a moment later.
        """
        body: dict[str, Any] = {"Name": name, "ID": id or name, "Port": port, "Address": address, **more}
        if status:
            body["Check"] = {"CheckID": f"service:{id or name}", "TTL": "1h", "Status": status}
        self.http.put("agent/service/register", body).raise_for_status()
        eventually(lambda: self._shows(body), 60, 0.01, f"{name} in the catalog of {self.address}")
        return id or name

    def _shows(self, body: dict[str, Any]) -> bool:
        found = self.http.get(f"health/service/{quote(body['Name'], safe='')}").json()
        wanted = [body.get(field) or None for field in _SHOWN]
        return any(
            [entry["Service"][field] or None for field in _SHOWN] == wanted
            and ("Check" not in body or any(it["CheckID"] == body["Check"]["CheckID"] for it in entry["Checks"]))
            for entry in found
        )

    def deregister(self, id: str) -> None:
        self.http.put(f"agent/service/deregister/{id}").raise_for_status()

    def set_status(self, id: str, status: str, output: str = "") -> None:
        """Sets the TTL check that `register(…, status=…)` made."""
        body = {"Status": status, "Output": output}
        self.http.put(f"agent/check/update/service:{id}", body).raise_for_status()

    def healthy(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.http.get(f"health/service/{name}", passing=1).json()
        return found

    def put(self, key: str, value: str | bytes) -> None:
        assert self.http.put(f"kv/{key}", data=value).json() is True

    def value(self, key: str) -> bytes | None:
        answer = self.http.get(f"kv/{key}", raw="")
        return answer.content if answer.status_code == 200 else None

    def is_ready(self) -> bool:
        """It has a leader that answers, and its own node is in the catalog with all that the agent tells of it."""
        found = self.http.get("health/service/consul", passing=1).json()
        return bool(found and found[0]["Node"]["TaggedAddresses"])

    def empty(self) -> None:
        """Removes all that tests have put there, and waits until the catalog, too, is as it was: the real agent tells it later."""
        node = self.http.get("agent/self").json()["Config"]["NodeName"]
        for id in self.http.get("agent/services").json():
            self.http.put(f"agent/service/deregister/{quote(id, safe='')}")
        for id in self.http.get("agent/checks").json():
            self.http.put(f"agent/check/deregister/{quote(id, safe='')}")
        for session in self.http.get("session/list").json():
            self.http.put(f"session/destroy/{session['ID']}")
        for other in self.http.get("catalog/nodes").json():
            if other["Node"] != node:
                self.http.put("catalog/deregister", {"Node": other["Node"]})
        for id in self.http.get(f"catalog/node/{node}").json()["Services"]:
            if id != "consul":
                self.http.put("catalog/deregister", {"Node": node, "ServiceID": id})
        if self.http.get("kv/", keys="", separator="/").status_code == 200:
            self.http.delete("kv/", recurse="")
        if self.is_empty():
            eventually(lambda: self._shows_itself_alone(node), 60, 0.02, f"the catalog of {self.address} is empty")

    def _shows_itself_alone(self, node: str) -> bool:
        checks = {check["CheckID"] for check in self.http.get(f"health/node/{node}").json()}
        return checks == {"serfHealth"} and self.http.get("catalog/services").json() == {"consul": []}

    def is_empty(self) -> bool:
        """Not where a test has left an id that no path can name, or somebody who registers again."""
        return not self.http.get("agent/services").json() and not self.http.get("agent/checks").json()


@dataclass
class OwnConsul(ConsulServer):
    """A Consul in a process of its own, which the test may stop, kill and start again on the same port and data."""

    command: tuple[str, ...] = ()
    log: Path = Path("consul.log")
    _process: Process | None = None
    _running: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def start(self, timeout: float = 60.0) -> None:
        """Starts it and waits until it is ready."""
        self._process = self._running.enter_context(running(self.command, log=self.log, grace=30))
        try:
            eventually(lambda: self.ended or self.is_ready(), timeout, 0.02, f"consul at {self.address} ready")
            if self.ended:
                raise RuntimeError("it ended at once")
        except Exception as error:
            self.kill()
            raise RuntimeError(f"{error}; log: {self.log.read_text(errors='replace')[-2000:]}") from error

    def stop(self) -> None:
        """SIGTERM, and what is left after the grace period is killed."""
        self._running.close()
        self._process = None

    def kill(self) -> None:
        """`kill -9`."""
        if self._process:
            self._process.kill()
        self.stop()

    def __enter__(self) -> "OwnConsul":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def real_consul_command(
    program: Path, directory: Path, port: int, *, dev: bool = True, hcl: str = "", datacenter: str = "dc1"
) -> tuple[str, ...]:
    """The command of an agent on loopback alone, with free ports. `dev` keeps all in memory; else its data is below `directory`."""
    command = [str(program), "agent", "-bind=127.0.0.1", "-client=127.0.0.1", f"-http-port={port}", f"-node={NODE}"]
    command += [f"-datacenter={datacenter}", "-disable-host-node-id", "-log-level=info"]
    command += ["-dns-port=-1", "-grpc-port=-1", "-serf-wan-port=-1"]
    command += [f"-server-port={free_port()}", f"-serf-lan-port={free_port()}"]
    command += ["-hcl=disable_update_check = true"]
    if dev:
        command += ["-dev"]
    else:
        command += ["-server", "-bootstrap", f"-data-dir={directory / 'consul-data'}"]
        command += ["-hcl=performance { raft_multiplier = 1 }"]
    return tuple(command + ([f"-hcl={hcl}"] if hcl else []))


@contextlib.contextmanager
def running_real_consul(
    directory: Path, *, dev: bool = True, hcl: str = "", datacenter: str = "dc1", token: str | None = None
) -> Iterator[OwnConsul]:
    """A real Consul inside the block; `hcl` is more configuration."""
    program = real_consul_program()
    for attempt in range(5):  # a port that was free may be taken by the time Consul binds it
        port = free_port()
        command = real_consul_command(program, directory, port, dev=dev, hcl=hcl, datacenter=datacenter)
        log = directory / f"consul-{port}.log"
        server = OwnConsul("127.0.0.1", port, "real", token, command=command, log=log)
        try:
            server.start()
            break
        except RuntimeError as error:
            if attempt == 4 or "address already in use" not in str(error):
                raise
    try:
        yield server
    finally:
        server.kill()


@contextlib.contextmanager
def two_real_servers(directory: Path) -> Iterator[tuple[OwnConsul, OwnConsul]]:
    """A cluster of two real servers, which has no leader as soon as one of them is killed, and elects one when it is started again."""
    program, ports = str(real_consul_program()), [[free_port() for _ in range(3)] for _ in range(2)]

    def server(number: int) -> OwnConsul:
        http, rpc, serf = ports[number]
        words = [program, "agent", "-server", "-bootstrap-expect=2", "-bind=127.0.0.1", "-client=127.0.0.1"]
        words += [f"-node=n{number}", f"-data-dir={directory / str(number)}", "-dns-port=-1", "-grpc-port=-1"]
        words += [f"-http-port={http}", f"-server-port={rpc}", f"-serf-lan-port={serf}", "-serf-wan-port=-1"]
        words += [f"-retry-join=127.0.0.1:{ports[1 - number][2]}", "-retry-interval=1s", "-disable-host-node-id"]
        words += ["-hcl=performance { raft_multiplier = 1 }", "-hcl=disable_update_check = true"]
        return OwnConsul("127.0.0.1", http, "real", command=tuple(words), log=directory / f"{number}.log")

    one, two = server(0), server(1)
    starting = threading.Thread(target=one.start, args=(60,))
    starting.start()
    try:
        two.start(60)
        starting.join()
        yield one, two
    finally:
        starting.join()
        one.kill()
        two.kill()


@contextlib.contextmanager
def running_embedded_consul(directory: Path, **settings: Any) -> Iterator[ConsulServer]:
    """An embedded Consul in a thread of this process, with its state below `directory`."""
    started: list[ConsulServer | BaseException] = []
    ready = threading.Event()
    loop, stop = uvloop.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        try:
            async with serving_embedded_consul(state_dir=directory / "consul", node=NODE, **settings) as server:
                started.append(ConsulServer(server.host, server.port, "embedded"))
                ready.set()
                await stop.wait()
        except BaseException as error:
            if ready.is_set():
                raise
            started.append(error)
        finally:
            ready.set()

    with running_in_a_thread(loop, serve(), stop, "embedded-consul"):
        ready.wait()
        if isinstance(started[0], BaseException):
            raise started[0]
        yield started[0]


@contextlib.contextmanager
def running_own_embedded_consul(directory: Path, *, token: str | None = None, **settings: Any) -> Iterator[OwnConsul]:
    """The embedded Consul's daemon inside the block; `settings` are its flags."""
    port = free_port()
    flags = {"port": port, "state_dir": directory / "consul", "node": NODE, **settings}
    words = [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
    command = (sys.executable, "-m", "embedded.consul.daemon", *words)
    server = OwnConsul("127.0.0.1", port, "embedded", token, command=command, log=directory / f"consul-{port}.log")
    with server:
        yield server


class Shared:
    """One server for the tests of a process, which is empty whenever it is asked for."""

    def __init__(self, running: Callable[[], contextlib.AbstractContextManager[ConsulServer]]) -> None:
        self._new = running
        self._server: ConsulServer | None = None
        self._running = contextlib.ExitStack()

    @contextlib.contextmanager
    def empty(self) -> Iterator[ConsulServer]:
        """It is still outside the block: all of an idle run's servers together took a tenth of a processor."""
        if self._server is not None:
            try:
                self._signal(signal.SIGCONT)
                self._server.empty()
                is_empty = self._server.is_empty()
            except (AssertionError, OSError, LookupError, ValueError):  # it has ended, or answers with something else
                is_empty = False
            if not is_empty:
                self.close()
        if self._server is None:
            self._server = self._running.enter_context(self._new())
        yield self._server
        self._signal(signal.SIGSTOP)

    def _signal(self, number: signal.Signals) -> None:
        if isinstance(self._server, OwnConsul):
            os.kill(self._server.pid, number)

    def close(self) -> None:
        self._running.close()
        self._server = None


@pytest.fixture(scope="session")
def shared_real_consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    with contextlib.closing(Shared(lambda: running_real_consul(tmp_path_factory.mktemp("real-consul")))) as shared:
        yield shared


@pytest.fixture
def real_consul(shared_real_consul: Shared) -> Iterator[ConsulServer]:
    """A real Consul 1.8.7 (dev agent) that is empty at the start of the test. Not to be stopped: others use it next."""
    with shared_real_consul.empty() as server:
        yield server


@pytest.fixture
def own_real_consul(tmp_path: Path) -> Iterator[OwnConsul]:
    """A real Consul 1.8.7 of the test's own, with its data on disk: `stop()`, `kill()`, `start()`."""
    with running_real_consul(tmp_path, dev=False) as server:
        yield server


@pytest.fixture(scope="session")
def shared_embedded_consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    with contextlib.closing(Shared(lambda: running_embedded_consul(tmp_path_factory.mktemp("consul")))) as shared:
        yield shared


@pytest.fixture
def embedded_consul(shared_embedded_consul: Shared) -> Iterator[ConsulServer]:
    """The embedded Consul, empty at the start of the test. Not to be stopped: others use it next."""
    with shared_embedded_consul.empty() as server:
        yield server


@pytest.fixture
def own_embedded_consul(tmp_path: Path) -> Iterator[OwnConsul]:
    """An embedded Consul of the test's own, as a daemon: `stop()`, `kill()`, `start()`."""
    with running_own_embedded_consul(tmp_path) as server:
        yield server


@pytest.fixture(params=["embedded", "real"])
def any_consul(request: pytest.FixtureRequest) -> ConsulServer:
    """The embedded Consul, and the real one."""
    server: ConsulServer = request.getfixturevalue(f"{request.param}_consul")
    return server


@pytest.fixture(params=["embedded", "real"])
def own_any_consul(request: pytest.FixtureRequest) -> OwnConsul:
    """One of the test's own: embedded, and real."""
    server: OwnConsul = request.getfixturevalue(f"own_{request.param}_consul")
    return server
