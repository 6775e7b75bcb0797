"""Whatever frameworks, agents and operators do, the master's accounts come out even.

A random history runs against a whole master with simulated agents in one event loop; after each step, what is offered, used
and free on an agent is all that it has, and everybody's lists agree.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from embedded.mesos import calls
from embedded.mesos.accept import accept
from embedded.mesos.errors import CallError
from embedded.mesos.master import Master
from embedded.mesos.messages import parse
from embedded.mesos.records import Framework
from embedded.mesos.registry import Registry
from embedded.mesos.resources import Resources
from embedded.mesos.settings import MesosSettings
from embedded.mesos.simulated import SimulatedAgent, SimulatedCluster
from embedded.mesos.stream import Stream
from tests.support.scheduler import ranges, scalar

Json = dict[str, Any]

SETTINGS = MesosSettings(simulate=True, allocation_interval=0.001, agents=3, start_lag=0.0, update_retry=0.01)
AGENT = [scalar("cpus", 4), scalar("mem", 1024), scalar("disk", 1000), ranges("ports", (100, 199))]
ACTIONS = (
    *("subscribe", "accept", "accept", "accept", "reserve", "group", "decline", "kill", "acknowledge", "acknowledge"),
    *("suppress", "revive", "disconnect", "teardown", "reconcile", "partition", "return", "end", "gone", "drain"),
    *("reactivate", "stale", "breathe", "breathe"),
)


class World:
    """A master, its agents, and what schedulers know of it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.master = Master(SETTINGS, Registry(None), host="127.0.0.1", port=1)
        self.cluster = self.master.cluster
        info = {"hostname": "h", "port": 1, "attributes": [], "resources": AGENT}
        self.agents = [SimulatedAgent(n, SETTINGS, self.master.agents, info) for n in (1, 2, 3)]
        self.simulation = SimulatedCluster(self.agents, self.master.agents, SETTINGS)
        self.streams: dict[str, Stream] = {}
        self.updates: list[tuple[str, Json]] = []
        self.stale: list[str] = []
        self.tasks = 0

    def frameworks(self) -> list[Framework]:
        return [each for each in self.cluster.frameworks.values() if each.connected]

    def some_framework(self) -> Framework | None:
        connected = self.frameworks()
        return self.random.choice(connected) if connected else None

    # Steps

    def subscribe(self) -> None:
        known = [each for each in self.cluster.frameworks.values() if not each.connected]
        info: Json = {"user": "u", "name": "n", "roles": ["a", "b"], "capabilities": [{"type": "MULTI_ROLE"}]}
        info |= {"failover_timeout": 100.0}
        if self.random.random() < 0.5:
            info["capabilities"].append({"type": "PARTITION_AWARE"})
        if known:
            info["id"] = {"value": self.random.choice(known).framework_id}
        if known or len(self.cluster.frameworks) < 3:
            id, stream = self.master.frameworks.subscribe(parse("FrameworkInfo", info), [])
            self.streams[id] = stream

    def accept(self) -> None:
        self._accept(lambda offer: [{"type": "LAUNCH", "launch": {"task_infos": [self._task(offer)]}}])

    def reserve(self) -> None:
        def operations(offer: Json) -> list[Json]:
            reserved = scalar("cpus", 0.5, role=offer["allocation_info"]["role"], reservation={})
            kind = self.random.choice(["RESERVE", "UNRESERVE"])
            return [{"type": kind, "id": {"value": "o"}, kind.lower(): {"resources": [reserved]}}]

        self._accept(operations)

    def group(self) -> None:
        def operations(offer: Json) -> list[Json]:
            sizes = [scalar("cpus", 0.1), scalar("mem", 32), scalar("disk", 10)]
            id = self.random.choice(["pod-1", "pod-2"])
            executor = {"type": "DEFAULT", "executor_id": {"value": id}, "resources": sizes}
            tasks = [self._task(offer), self._task(offer)]
            return [{"type": "LAUNCH_GROUP", "launch_group": {"executor": executor, "task_group": {"tasks": tasks}}}]

        self._accept(operations)

    def _accept(self, operations: Any) -> None:
        framework = self.some_framework()
        if framework and framework.offers:
            offer = self.cluster.offer_json(self.random.choice(list(framework.offers.values())))
            self.stale.append(offer["id"]["value"])
            content = {"offer_ids": [offer["id"]], "operations": operations(offer)}
            content["filters"] = {"refuse_seconds": self.random.choice([0.0, 0.01])}
            accept(self.cluster, framework, parse("Accept", content))

    def _task(self, offer: Json) -> Json:
        self.tasks += 1
        cpus = self.random.choice([0.1, 0.5, 1.0, 9.0])
        port = self.random.randint(95, 199)
        return {
            "name": "t",
            "task_id": {"value": f"t{self.random.randint(1, self.tasks)}"},
            "agent_id": offer["agent_id"],
            "resources": [scalar("cpus", cpus), scalar("mem", 32), ranges("ports", (port, port))],
            "command": {"value": self.random.choice(["run", "exit 0", "exit 1"])},
        }

    def stale_accept(self) -> None:
        framework = self.some_framework()
        if framework and self.stale:
            ids = [{"value": self.random.choice(self.stale)}, *({"value": id} for id in list(framework.offers)[:1])]
            accept(self.cluster, framework, parse("Accept", {"offer_ids": ids, "operations": []}))

    def decline(self) -> None:
        framework = self.some_framework()
        if framework and framework.offers:
            calls.decline(self.cluster, framework, [self.random.choice(list(framework.offers))], 0.01)

    def kill(self) -> None:
        framework = self.some_framework()
        if framework and framework.tasks:
            calls.kill(self.cluster, framework, {"task_id": {"value": self.random.choice(list(framework.tasks))}})

    def acknowledge(self) -> None:
        for framework in self.frameworks():
            for task in list(framework.tasks.values()):
                if task.update_uuid:
                    content = {"agent_id": {"value": task.agent_id}, "task_id": {"value": task.task_id}}
                    emptied = calls.acknowledge(self.cluster, framework, content | {"uuid": task.update_uuid})
                    if emptied:
                        self.master.agents.finish_drain(emptied)

    def disconnect(self) -> None:
        framework = self.some_framework()
        if framework and framework.stream:
            self.master.frameworks.disconnected(framework.framework_id, framework.stream)

    def teardown(self) -> None:
        if self.cluster.frameworks:
            self.master.frameworks.remove(self.random.choice(list(self.cluster.frameworks.values())))

    def act_on_an_agent(self, kind: str) -> None:
        agent = self.random.choice(self.agents)
        if kind == "partition":
            agent.partition()
            self.master.agents.unreachable(agent.agent_id)
        elif kind == "return":
            self.simulation.come_back(agent)
        elif kind == "end" and agent._tasks:
            agent.end_task(self.random.choice(list(agent._tasks))[1], "TASK_FAILED", "ended")
        else:
            with contextlib.suppress(CallError):  # it may not be in the state for that
                match kind:
                    case "gone":
                        self.master.agents.mark_gone(agent.agent_id)
                    case "drain":
                        self.master.agents.drain(agent.agent_id, None, self.random.random() < 0.2)
                    case "reactivate":
                        self.master.agents.reactivate(agent.agent_id)
            if kind == "gone":
                agent.partition()  # as its process ends

    async def step(self, action: str) -> None:
        framework = self.some_framework()
        match action:
            case "stale":
                self.stale_accept()
            case "suppress" if framework:
                calls.suppress(self.cluster, framework, self.random.choice([[], ["a"]]))
            case "revive" if framework:
                calls.revive(self.cluster, framework, self.random.choice([[], ["b"]]))
            case "reconcile" if framework:
                calls.reconcile(self.cluster, framework, [])
            case "breathe":
                await asyncio.sleep(0.002)
            case "partition" | "return" | "end" | "gone" | "drain" | "reactivate":
                self.act_on_an_agent(action)
            case "suppress" | "revive" | "reconcile":
                pass
            case _:
                getattr(self, action)()
        await asyncio.sleep(0)

    # What always holds

    def check(self) -> None:
        for agent in self.cluster.agents.values():
            living = [task for task in agent.tasks.values() if not task.terminal]
            used = sum((task.resources for task in living), Resources())
            used += sum((resources for _, resources, _ in agent.executors.values()), Resources())
            assert agent.used == used, f"used {agent.used}, tasks and executors {used}"
            held = agent.offered + used
            free = self.cluster.allocator.free(agent.agent_id)
            assert held + free == agent.total, f"offered and used {held}, free {free}, total {agent.total}"
            for (framework_id, task_id), task in agent.tasks.items():
                assert self.cluster.frameworks[framework_id].tasks[task_id] is task
        for framework in self.cluster.frameworks.values():
            for task in framework.tasks.values():
                assert self.cluster.agents[task.agent_id].tasks[framework.framework_id, task.task_id] is task
            for offer_id, offer in framework.offers.items():
                assert self.cluster.offers[offer_id] is offer
                assert self.cluster.agents[offer.agent_id].offers[offer_id] is offer
            assert framework.connected or not framework.offers
        assert len(self.cluster.offers) == sum(len(f.offers) for f in self.cluster.frameworks.values())


@contextlib.asynccontextmanager
async def world(seed: int) -> AsyncIterator[World]:
    made = World(seed)
    made.master.start()
    for agent in made.agents:
        agent.register()
    made.simulation.start()
    try:
        yield made
    finally:
        made.simulation.stop()
        made.master.stop()


@settings(max_examples=120, deadline=None)
@given(seed=st.integers(0, 2**32), actions=st.lists(st.sampled_from(ACTIONS), max_size=60))
def test_the_accounts_come_out_even_after_every_step(seed: int, actions: list[str]):
    async def run() -> None:
        async with world(seed) as made:
            for action in ["subscribe", "breathe", *actions]:
                await made.step(action)
                made.check()

    asyncio.run(run())


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), actions=st.lists(st.sampled_from(ACTIONS), max_size=40))
def test_when_all_frameworks_are_gone_all_is_free(seed: int, actions: list[str]):
    async def run() -> None:
        async with world(seed) as made:
            for action in ["subscribe", "breathe", *actions]:
                await made.step(action)
            while made.cluster.frameworks:
                made.teardown()
            made.check()
            for agent in made.cluster.agents.values():
                assert made.cluster.allocator.free(agent.agent_id) == agent.total
                assert not agent.tasks
                assert not agent.executors

    asyncio.run(run())
