"""Nodes in one process on a real ZooKeeper: who was refused by the store makes way, and while a state is restored nobody leads."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from daemonkit.errors import OperatorError
from framework.engine import records
from framework.engine.loop import Engine
from framework.engine.settings import EngineSettings
from framework.leader import zookeeper
from framework.leader.zookeeper import ElectedNode, nobody_leads
from framework.store import backup
from framework.store.backup import restore_into
from framework.store.base import Snapshot
from framework.store.schema import CURRENT
from framework.store.zookeeper import ZooKeeperStore
from framework.store.zookeeper_client import make_client, parse_address
from tests.support.memory_cluster import Cluster
from tests.support.waiting import eventually_async
from tests.support.zookeeper import Ensemble

pytestmark = pytest.mark.xdist_group("zookeeper")


@dataclass
class Node:
    address: str
    engine: Engine
    store: ZooKeeperStore
    looks: Callable[[], int]  # so far

    @property
    def leads(self) -> bool:
        return self.engine.view.is_leader

    @property
    def leader(self) -> str | None:
        return self.engine.view.leader


Start = Callable[[str], contextlib.AbstractAsyncContextManager[Node]]


@pytest.fixture
def path(ensemble: Ensemble) -> str:
    return ensemble.address()


@pytest.fixture
def start(path: str, tmp_path: Path) -> Start:
    """`async with start("a:1") as node`: a node with this address, which has made its first decision."""

    @contextlib.asynccontextmanager
    async def running(address: str) -> AsyncIterator[Node]:
        async with opened(path, tmp_path) as store:
            engine = Engine(store, EngineSettings())
            hands = Cluster(engine)
            engine.connect(hands, hands)
            elected = ElectedNode(engine, store.client, store.path, address, patience=30.0)
            counted, look = [0], elected._look

            def counting() -> tuple[str, str]:
                counted[0] += 1
                return look()

            elected._look = counting  # type: ignore[method-assign]
            stop = asyncio.Event()
            running = asyncio.create_task(engine.run(stop))
            await elected.start()
            deciding = asyncio.create_task(elected.run())
            try:
                yield Node(address, engine, store, lambda: counted[0])
            finally:
                deciding.cancel()
                await asyncio.wait([deciding])
                await elected.stop()
                stop.set()
                await running

    return running


@contextlib.asynccontextmanager
async def opened(path: str, directory: Path) -> AsyncIterator[ZooKeeperStore]:
    place = parse_address(path)
    client = make_client(place, session_timeout=20)
    store = ZooKeeperStore(client, place.path, backups=directory, patience=30.0, start_timeout=60.0)
    try:
        await store.open()
        yield store
    finally:
        await store.close()


async def leading(node: Node) -> None:
    await eventually_async(lambda: node.leads and node.leader == node.address, timeout=60)


async def test_a_leader_whom_the_store_refused_makes_way_for_the_next_one(
    start: Start, path: str, tmp_path: Path
) -> None:
    async with start("a:1") as a, start("b:1") as b, opened(path, tmp_path) as other:
        await leading(a)
        await eventually_async(lambda: b.leader == "a:1", timeout=60)
        await other.claim("a stranger")
        await leading(b)
        await eventually_async(lambda: a.leader == "b:1", timeout=60)
        assert not a.leads


async def test_one_that_is_alone_leaves_the_store_for_a_moment_and_then_leads_again(
    start: Start, path: str, tmp_path: Path
) -> None:
    async with start("a:1") as a, opened(path, tmp_path) as other:
        await leading(a)
        before, first, started = a.looks(), a.engine.state, time.monotonic()
        epoch = await other.claim("a stranger")
        await eventually_async(lambda: a.engine.state is not first and a.leads, timeout=60)
        took = time.monotonic() - started
        assert took >= zookeeper.MAKE_WAY
        assert a.looks() - before < 12 + took, "it waits for its turn, it does not ask for it all the time"
        assert await a.store.claim("a:1") == epoch + 2, "it claimed the store once"


async def test_a_leader_that_gives_way_by_itself_leads_again_at_once_where_there_is_no_other(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zookeeper, "MAKE_WAY", 1000.0)
    async with start("a:1") as a:
        await leading(a)
        first = a.engine.state
        a.engine.resigned.set()
        await eventually_async(lambda: a.engine.state is not first and a.leads, timeout=60)


async def test_while_a_state_is_restored_nobody_leads_however_long_it_takes(
    start: Start, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "RESTORE_ATTEMPTS", 1)
    monkeypatch.setattr(zookeeper, "MAKE_WAY", 0.0)
    wanted = Snapshot(CURRENT.version, {records.FRAMEWORK: {"id": records.encode(records.FRAMEWORK, "restored")}})
    async with start("a:1") as a, start("b:1") as b, opened(path, tmp_path) as other:
        await leading(a)
        async with nobody_leads(other.client, other.path):
            await eventually_async(lambda: a.leader is b.leader is None, timeout=60)
            with pytest.raises(OperatorError, match=r"a restore into .* is going on"):
                async with nobody_leads(other.client, other.path):
                    pass
            epoch = await other.claim("restore of a file")
            looks, started = a.looks() + b.looks(), time.monotonic()
            await restore_into(other, wanted, origin="a file")
            assert await other.claim("restore of a file") == epoch + 2, "no node has claimed the store meanwhile"
            assert a.looks() + b.looks() - looks < 12 + time.monotonic() - started
        await leading(a)
        await eventually_async(lambda: b.leader == "a:1", timeout=60)
        assert a.engine.view.framework.id == "restored"


async def test_a_restore_that_is_killed_holds_the_line_up_no_longer_than_its_session(
    start: Start, path: str, tmp_path: Path
) -> None:
    async with start("a:1") as a:
        async with opened(path, tmp_path) as other:
            held = nobody_leads(other.client, other.path)
            await held.__aenter__()
            await eventually_async(lambda: a.leader is None, timeout=60)
        await leading(a)  # the session ended with the client
