"""Two that subscribe as the same framework: the one that the store refuses leaves, the other one comes back."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from framework.engine.events import Disconnected, StatusReceived, Subscribed
from framework.engine.loop import Engine
from framework.health.prober import HealthProber
from framework.mesos.scheduler import MesosScheduler
from framework.store.memory import Medium, MemoryStore
from tests.support.mesos import Mesos, MesosFactory
from tests.support.waiting import eventually_async


def info(name: str) -> dict[str, Any]:
    return {"name": name, "user": "root", "failover_timeout": 60.0, "checkpoint": True, "hostname": "127.0.0.1"}


@dataclass
class Node:
    """An engine on a real scheduler, as the daemon wires them."""

    engine: Engine
    mesos: MesosScheduler

    @property
    def connected(self) -> bool:
        return self.engine.view.is_leader and self.engine.view.framework.connected


@contextlib.asynccontextmanager
async def running_node(mesos: Mesos, medium: Medium, name: str) -> AsyncIterator[Node]:
    engine = Engine(MemoryStore(medium), framework_name=name)
    scheduler = MesosScheduler(info(name), mesos.address, engine.post, on_failed_over=engine.doubt)
    prober = HealthProber(engine.post, concurrency=1)
    engine.connect(scheduler, prober)
    stop = asyncio.Event()
    loop = asyncio.create_task(engine.run(stop))
    try:
        yield Node(engine, scheduler)
    finally:
        stop.set()
        await loop
        await scheduler.close()
        await prober.close()


async def test_a_scheduler_whose_framework_another_one_took_leaves_and_does_not_take_it_back(
    embedded_mesos: MesosFactory,
) -> None:
    mesos = embedded_mesos(simulate=True)
    heard: tuple[list[Any], list[Any]] = ([], [])
    left = asyncio.Event()
    old = MesosScheduler(info("two"), mesos.address, heard[0].append, on_failed_over=left.set)
    new = MesosScheduler(info("two"), mesos.address, heard[1].append)
    try:
        old.subscribe(None, ["*"])
        await eventually_async(lambda: [e for e in heard[0] if isinstance(e, Subscribed)], timeout=60)
        framework_id = next(e.framework_id for e in heard[0] if isinstance(e, Subscribed))
        new.subscribe(framework_id, ["*"])
        await asyncio.wait_for(left.wait(), 60)
        assert isinstance(heard[0][-1], Disconnected) and "failed over" in heard[0][-1].why
        await eventually_async(lambda: [e for e in heard[1] if isinstance(e, Subscribed)], timeout=60)
        # The new one's stream answers after that, and was not broken.
        new.reconcile([(f"unknown-{uuid.uuid4()}", None)])
        await eventually_async(lambda: [e for e in heard[1] if isinstance(e, StatusReceived)], timeout=60)
        assert [type(e) for e in heard[1] if isinstance(e, Subscribed | Disconnected)] == [Subscribed]
        assert not old.waiting_calls and heard[0][-1].why
    finally:
        await old.close()
        await new.close()


async def test_a_leader_that_the_store_does_not_know_any_more_stands_by(embedded_mesos: MesosFactory) -> None:
    mesos, medium = embedded_mesos(simulate=True), Medium()
    async with running_node(mesos, medium, "three") as old, running_node(mesos, medium, "three") as new:
        await old.engine.lead("old:1")
        await eventually_async(lambda: old.connected, timeout=60)
        await new.engine.lead("new:1")
        await asyncio.wait_for(old.engine.resigned.wait(), 60)
        assert not old.engine.view.is_leader and old.engine.fenced
        await eventually_async(lambda: new.connected, timeout=60)
        assert new.engine.view.framework.id is not None


async def test_a_leader_that_the_store_still_knows_comes_back(embedded_mesos: MesosFactory) -> None:
    mesos = embedded_mesos(simulate=True)
    async with running_node(mesos, Medium(), "four") as leader:
        await leader.engine.lead("leader:1")
        await eventually_async(lambda: leader.connected, timeout=60)
        framework_id = leader.engine.view.framework.id
        stranger = MesosScheduler(info("four"), mesos.address, lambda event: None)
        try:
            stranger.subscribe(framework_id, ["*"])
            await eventually_async(lambda: not leader.connected, timeout=60)
        finally:
            await stranger.close()
        await eventually_async(lambda: leader.connected, timeout=60)
        assert leader.engine.view.is_leader and leader.engine.fenced is None
        assert leader.engine.view.framework.id == framework_id
