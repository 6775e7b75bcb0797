"""The loop alone, on a store and a cluster in memory: its bounds, its failures, its end."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from framework.engine.commands import Accepted, CancelDeployment, Declare
from framework.engine.errors import Busy, Locked, NotFound, NotLeader, StoreUnavailable
from framework.engine.events import StatusReceived, TimePassed
from framework.engine.loop import Engine, LoopSettings
from framework.engine.settings import EngineSettings
from framework.model.app import App
from framework.model.change import Change
from framework.model.group import Declared
from framework.store.base import StoreError
from framework.store.memory import MemoryStore
from tests.support.memory_cluster import Cluster
from tests.support.waiting import eventually_async

PATIENCE = 60.0


class Node:
    """An engine that runs and leads."""

    def __init__(self, **settings: Any) -> None:
        self.store = MemoryStore()
        self.engine = Engine(
            self.store,
            EngineSettings(drain_seconds=0.0),
            loop_settings=LoopSettings(**{"store_retry": 0.02, **settings}),
        )
        self.cluster = Cluster(self.engine)
        self.engine.connect(self.cluster, self.cluster)
        self.stop = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Node"]:
        loop = asyncio.create_task(self.engine.run(self.stop))
        try:
            await self.engine.lead("127.0.0.1:1")
            await eventually_async(lambda: self.engine.view.framework.connected, timeout=PATIENCE)
            yield self
        finally:
            self.stop.set()
            await asyncio.wait_for(loop, PATIENCE)

    async def declare(self, app_id: str, **fields: Any) -> Accepted:
        app = App(app_id, cmd="x", **fields)
        answer = await self.engine.execute(Declare(lambda _: Change(apps={app_id: app})))
        assert isinstance(answer, Accepted)
        return answer

    @property
    def apps(self) -> set[str]:
        return set(self.engine.view.declared.apps)


async def test_more_commands_than_may_wait_are_refused_and_the_others_are_carried_out():
    async with Node(queue=3).running() as node:
        answers = await asyncio.gather(*(node.declare(f"/a{n}") for n in range(5)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [Accepted] * 3 + [Busy] * 2
        assert node.apps == {"/a0", "/a1", "/a2"}
        await node.declare("/later")


async def test_others_are_answered_while_a_large_change_is_worked_out_and_it_is_still_one_transaction():
    async with Node(large=2).running() as node:
        await node.declare("/before")
        taken_up, answered = threading.Event(), threading.Event()

        def edit(declared: Declared) -> Change:
            taken_up.set()
            assert answered.wait(PATIENCE), "the event loop goes on meanwhile"
            return Change(apps={f"/{name}": App(f"/{name}", cmd="x") for name in "abc"})

        large = asyncio.create_task(node.engine.execute(Declare(edit, size=3)))
        await eventually_async(taken_up.is_set, timeout=PATIENCE)
        behind = asyncio.create_task(node.declare("/b", cpus=2.0))
        await asyncio.sleep(0)
        assert node.apps == {"/before"} and not large.done()
        answered.set()
        answer = await large
        assert isinstance(answer, Accepted) and set(answer.deployment.changes) == {"/a", "/b", "/c"}
        with pytest.raises(Locked):  # what was asked for meanwhile finds all of it there
            await behind
        assert node.apps == {"/before", "/a", "/b", "/c"} == set(await node.store.load("declared"))


async def test_a_large_deployment_is_rolled_back_in_one_transaction_too():
    async with Node(large=2).running() as node:
        await node.declare("/a")
        await eventually_async(lambda: not node.engine.view.deployments(), timeout=PATIENCE)
        node.cluster.offering = False
        change = Change(apps={f"/{name}": App(f"/{name}", cmd="new") for name in "abc"})
        large = await node.engine.execute(Declare(lambda _: change, size=3))
        assert isinstance(large, Accepted)
        back = await node.engine.execute(CancelDeployment(large.deployment.id))
        assert isinstance(back, Accepted) and back.deployment.reverts == large.deployment.id
        assert node.apps == {"/a"} and node.engine.view.declared.apps["/a"].cmd == "x"
        await eventually_async(lambda: not node.engine.view.deployments(), timeout=PATIENCE)
        with pytest.raises(NotFound):
            await node.engine.execute(CancelDeployment(large.deployment.id))


async def test_a_large_change_that_is_refused_says_why_and_changes_nothing():
    async with Node(large=2).running() as node:
        async with node.engine.bus.subscribe({"group_change_failed"}) as told:

            def edit(declared: Declared) -> Change:
                raise ValueError("no")

            with pytest.raises(ValueError, match="no"):
                await node.engine.execute(Declare(edit, size=3, group="/g"))
            announced = await anext(aiter(told))
        assert (announced.fields["groupId"], announced.fields["reason"]) == ("/g", "no")
        await node.declare("/later")
        assert node.apps == {"/later"}


async def test_a_store_that_fails_refuses_changes_until_it_is_back_and_nothing_of_them_stays():
    async with Node().running() as node:
        await node.declare("/before")
        node.store.failure = StoreError("the disk is full")
        with pytest.raises(StoreUnavailable, match="the disk is full"):
            await node.declare("/refused")
        assert node.engine.store_problem == "the disk is full" and node.apps == {"/before"}
        with pytest.raises(StoreUnavailable):
            await node.declare("/refused-at-once")
        assert node.engine.figures.failed_commits >= 1
        node.store.failure = None
        await eventually_async(lambda: node.engine.store_problem is None, timeout=PATIENCE, what="it tries by itself")
        await node.declare("/after")
        assert node.apps == {"/before", "/after"} == set(await node.store.load("declared"))


async def test_instances_that_could_not_be_kept_were_not_launched():
    async with Node().running() as node:
        node.cluster.offering = False
        await node.declare("/a", instances=2)
        node.store.failure = StoreError("gone")
        node.cluster.offering = True
        node.cluster.revive(("*",))
        await eventually_async(lambda: node.engine.store_problem, timeout=PATIENCE)
        assert node.cluster.running == {}, "persist comes before launch"
        node.store.failure = None
        await eventually_async(lambda: node.engine.store_problem is None, timeout=PATIENCE)
        node.cluster.revive(("*",))
        await eventually_async(lambda: len(node.cluster.running) == 2, timeout=PATIENCE)


async def test_one_that_stands_by_takes_no_command():
    async with Node().running() as node:
        await node.declare("/a")
        node.engine.follow("127.0.0.1:2")
        await eventually_async(lambda: node.engine.view.leader == "127.0.0.1:2", timeout=PATIENCE)
        with pytest.raises(NotLeader):
            await node.declare("/b")


async def test_who_still_waits_at_the_end_is_told():
    async with Node().running() as node:
        begun, released = asyncio.Event(), asyncio.Event()
        commit = node.store.commit

        async def slow(writes: Sequence[Any]) -> None:
            begun.set()
            await released.wait()
            await commit(writes)

        node.store.commit = slow  # type: ignore[method-assign]
        asked = [asyncio.create_task(node.declare(f"/a{n}")) for n in range(2)]
        await begun.wait()
        late = asyncio.create_task(node.declare("/late"))
        await asyncio.sleep(0)
        node.stop.set()
        released.set()
        done = await asyncio.wait_for(asyncio.gather(*asked, late, return_exceptions=True), PATIENCE)
        assert all(isinstance(answer, Accepted | NotLeader) for answer in done)
        assert isinstance(done[2], NotLeader)


async def test_an_event_that_cannot_be_handled_takes_no_other_with_it():
    async with Node().running() as node:
        for _ in range(3):
            node.engine.post(StatusReceived(None))  # type: ignore[arg-type]
        await node.declare("/a", instances=1)
        await eventually_async(lambda: len(node.cluster.running) == 1, timeout=PATIENCE)
        assert node.engine.figures.errors == 3


async def test_an_action_that_fails_takes_no_other_with_it(monkeypatch: pytest.MonkeyPatch):
    async with Node().running() as node:

        def broken(*_: object) -> None:
            raise OSError("no")

        for name in ("decline", "suppress"):
            monkeypatch.setattr(node.cluster, name, broken)
        await node.declare("/a", instances=3)
        await eventually_async(lambda: len(node.cluster.running) == 3, timeout=PATIENCE)
        await node.declare("/b")
        assert node.engine.figures.errors > 0


async def test_batches_are_bounded_and_others_get_their_turn_in_between():
    async with Node(batch=50, slice_seconds=0.0).running() as node:
        before, turns = node.engine.figures.batches, 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(others())
        for _ in range(1000):
            node.engine.post(TimePassed())
        await node.declare("/a")
        other.cancel()
        assert node.engine.figures.batches - before >= 20
        assert turns >= 1000, "one after each event, as the slices are that short"
