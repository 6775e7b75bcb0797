"""A cluster in memory behind the engine's own seam: it offers its agents, runs what is accepted, kills what is to be killed.

For tests of what stands before the engine. What Mesos itself does is tested with real and embedded masters.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from daemonkit.health import Health
from daemonkit.http import bind, serving
from framework.api.server import make_app
from framework.api.settings import ApiSettings
from framework.decide.instance_state import TaskStatus
from framework.engine.actions import Launch
from framework.engine.events import OffersReceived, Probed, SecretsResolved, StatusReceived, Subscribed
from framework.engine.loop import Engine
from framework.engine.settings import EngineSettings
from framework.model.instance import Agent, Instance
from framework.model.offer import Offer, Pool
from framework.model.run_spec import RunSpec
from framework.store.memory import MemoryStore
from tests.support.mesos_cluster import MesosCluster
from tests.support.waiting import eventually_async


@dataclass
class Cluster:
    """`failing`: app ids whose tasks fail at once; `stuck`: whose tasks stay in staging. Agents never run out of resources."""

    engine: Engine
    agents: tuple[str, ...] = ("agent-1", "agent-2")
    failing: set[str] = field(default_factory=set)
    stuck: set[str] = field(default_factory=set)
    running: dict[str, str] = field(default_factory=dict)  # task id -> agent id
    secret_problems: dict[str, str] = field(default_factory=dict)  # source -> why it cannot be read; all others can
    offering: bool = True
    roles: tuple[str, ...] = ()
    _offers: int = 0
    _port: int = 30000

    # --- the engine's Mesos

    def subscribe(self, framework_id: str | None, roles: Sequence[str]) -> None:
        self.roles = tuple(roles)
        self._post(Subscribed(framework_id or "framework-1", "127.0.0.1:5050"))
        self._offer()

    def update_roles(self, roles: Sequence[str]) -> None:
        self.roles = tuple(roles)

    def unsubscribe(self) -> None:
        pass

    def accept(self, offer: Offer, launches: Sequence[Launch], refuse_seconds: float) -> None:
        for launch in launches:
            for task in launch.instance.tasks:
                if launch.spec.id in self.failing:
                    self._status(task.id, "TASK_FAILED", offer.agent.id, "Command exited with status 1")
                    continue
                self.running[task.id] = offer.agent.id
                self._status(task.id, "TASK_STAGING", offer.agent.id)
                if launch.spec.id not in self.stuck:
                    self._status(task.id, "TASK_RUNNING", offer.agent.id)
        self._offer()

    def decline(self, offer_ids: Sequence[str], refuse_seconds: float) -> None:
        pass

    def revive(self, roles: Sequence[str]) -> None:
        self._offer()

    def suppress(self, roles: Sequence[str]) -> None:
        pass

    def acknowledge(self, task_id: str, agent_id: str, uuid: str) -> None:
        pass

    def kill(self, task_id: str, agent_id: str | None, grace_seconds: float | None) -> None:
        agent = self.running.pop(task_id, None)
        self._status(task_id, "TASK_KILLED", agent or agent_id or "agent-1", "Command terminated with signal 15")

    def reconcile(self, tasks: Sequence[tuple[str, str | None]]) -> None:
        for task_id, agent_id in tasks or list(self.running.items()):
            state = "TASK_RUNNING" if task_id in self.running else "TASK_GONE"
            self._status(task_id, state, self.running.get(task_id, agent_id or "agent-1"))

    def fetch_secrets(self, sources: Sequence[str]) -> None:
        self._post(SecretsResolved({source: self.secret_problems.get(source) for source in sources}))

    # --- the engine's probes: every health check finds a healthy instance

    def start(self, instance: Instance, spec: RunSpec, readiness: bool) -> None:
        for index, _check in enumerate(getattr(spec, "health_checks", ())):
            self._post(Probed(instance.id, index, True))

    def stop(self, instance_id: str) -> None:
        pass

    # --- what tests do to it

    def end(self, task_id: str, state: str = "TASK_FAILED") -> None:
        """The task ends by itself."""
        self._status(task_id, state, self.running.pop(task_id), "Command exited with status 1")

    async def close(self) -> None:
        pass

    def _offer(self) -> None:
        if not self.offering:
            return
        offers = []
        for name in self.agents:
            self._offers += 1
            pool = Pool("*", 1_000_000, 1_000_000_000, 1_000_000_000, 0, ((self._port, self._port + 999),))
            offers.append(Offer(f"offer-{self._offers}", Agent(name, f"{name}.example"), "*", (pool,)))
        self._port = 30000 + (self._port - 30000 + 1000) % 20000
        self._post(OffersReceived(tuple(offers)))

    def _status(self, task_id: str, state: str, agent_id: str, message: str = "") -> None:
        self._post(StatusReceived(TaskStatus(task_id, state, agent_id, message=message, timestamp=time.time())))

    def _post(self, event: Any) -> None:
        asyncio.get_running_loop().call_soon(self.engine.post, event)


@dataclass
class Framework:
    """A running framework: its API over HTTP, its engine, and the cluster that it runs on."""

    url: str
    engine: Engine
    cluster: Cluster | MesosCluster
    store: MemoryStore
    http: aiohttp.ClientSession

    async def call(self, method: str, path: str, body: Any = None, **options: Any) -> "Answer":
        data = {"json": body} if body is not None else {}
        async with self.http.request(method, self.url + path, **data, **options) as response:
            return Answer(response.status, response.headers.copy(), await response.read())

    async def get(self, path: str, **options: Any) -> Any:
        answer = await self.call("GET", path, **options)
        assert answer.status == 200, answer
        return answer.json

    async def app(self, app_id: str, **fields: Any) -> Any:
        """Creates an app and waits until its deployment is over."""
        answer = await self.call("POST", "/v2/apps", {"id": app_id, "cmd": "sleep 1", **fields})
        assert answer.status == 201, answer
        await self.settled()
        return answer.json

    async def settled(self) -> None:
        await eventually_async(lambda: not self.engine.view.deployments(), timeout=60, what="no deployment runs")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        import orjson

        return orjson.loads(self.body)


@dataclass
class Default:
    """What frameworks run on that a test starts; a conftest may choose another one for its tests."""

    cluster: Callable[[Engine], Cluster | MesosCluster] = Cluster


default = Default()


@contextlib.asynccontextmanager
async def running_framework(
    settings: ApiSettings | None = None,
    *,
    engine_settings: EngineSettings | None = None,
    certificate: tuple[Path, Path] | None = None,
    leads: bool = True,
    leader: str | None = None,
) -> AsyncIterator[Framework]:
    store = MemoryStore()
    engine = Engine(store, engine_settings or EngineSettings(drain_seconds=0.0, revive_interval=0.05))
    cluster = default.cluster(engine)
    engine.connect(cluster, cluster)
    stop = asyncio.Event()
    loop = asyncio.create_task(engine.run(stop))
    sock = bind("127.0.0.1", 0, what="the test's API", mend="")
    address = f"127.0.0.1:{sock.getsockname()[1]}"
    app = make_app(engine, settings or ApiSettings(), Health(), address=address)
    try:
        async with (
            serving(
                app,
                sock,
                certificate=certificate[0] if certificate else None,
                key=certificate[1] if certificate else None,
                keep_alive=3600,  # the client gives an idle connection up first, and never sends on one that is being closed
            ),
            aiohttp.ClientSession() as http,
        ):
            if leads:
                await engine.lead(address)
                await eventually_async(lambda: engine.view.framework.connected)
            else:
                engine.follow(leader)
                await eventually_async(lambda: engine.view.leader == leader)
            yield Framework(f"{'https' if certificate else 'http'}://{address}", engine, cluster, store, http)
            stop.set()
            await loop
    finally:
        stop.set()
        await asyncio.wait([loop], timeout=20)
        loop.cancel()  # where a test that failed left it waiting for what never comes
        await asyncio.wait([loop])
        await cluster.close()
