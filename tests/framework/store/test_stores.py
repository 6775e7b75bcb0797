"""The contract of a store, held by every implementation, and what the one on disk promises beyond it."""

import contextlib
import os
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from framework.store.base import Store, StoreFenced, StoreFull, StoreUnusable, Write
from framework.store.memory import MemoryStore
from framework.store.schema import CURRENT
from framework.store.sqlite import SqliteStore
from framework.store.zookeeper import ZooKeeperStore
from framework.store.zookeeper_client import make_client, parse_address
from tests.support.waiting import eventually_async

ON_ZOOKEEPER = pytest.param("zookeeper", marks=pytest.mark.xdist_group("zookeeper"))


def zookeeper_store(address: str, directory: Path, **more: Any) -> ZooKeeperStore:
    place = parse_address(address)
    client = make_client(place, session_timeout=6.0)
    return ZooKeeperStore(client, place.path, backups=directory, patience=60.0, start_timeout=60.0, **more)


@pytest.fixture(params=["memory", "sqlite", ON_ZOOKEEPER])
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Store, Store]]:
    """Two stores on one medium, as two nodes have them; both open, none claimed."""
    made: tuple[Store, Store]
    match request.param:
        case "memory":
            first = MemoryStore()
            made = first, MemoryStore(first.medium)
        case "zookeeper":
            address = request.getfixturevalue("ensemble").address()
            made = zookeeper_store(address, tmp_path), zookeeper_store(address, tmp_path)
        case _:
            path = tmp_path / "deep" / "state.db"
            made = SqliteStore(path), SqliteStore(path)
    for store in made:
        await store.open()
    yield made
    for store in made:
        await store.close()


@pytest.fixture
async def unclaimed(pair: tuple[Store, Store]) -> Store:
    return pair[0]


@pytest.fixture
async def store(unclaimed: Store) -> Store:
    await unclaimed.claim("a:1")
    return unclaimed


async def test_what_was_committed_is_read_back(store: Store) -> None:
    await store.commit([Write("apps", "/b", b"2"), Write("apps", "/a", b"1"), Write("other", "/a", b"x")])
    assert await store.load("apps") == {"/a": b"1", "/b": b"2"}
    assert await store.get("apps", "/a") == b"1"
    assert await store.get_many("apps", ["/a", "/none", "/b"]) == {"/a": b"1", "/b": b"2"}
    assert list(await store.keys("apps")) == ["/a", "/b"]


async def test_what_is_not_there_is_none(store: Store) -> None:
    assert await store.get("apps", "/a") is None
    assert await store.load("apps") == {}
    await store.commit([Write("apps", "/a", None)])
    assert list(await store.keys("apps")) == []


async def test_the_last_write_of_a_key_counts(store: Store) -> None:
    await store.commit([Write("apps", "/a", b"1"), Write("apps", "/a", None), Write("apps", "/a", b"3")])
    assert await store.load("apps") == {"/a": b"3"}
    await store.commit([Write("apps", "/a", b"4"), Write("apps", "/a", None)])
    assert await store.load("apps") == {}


async def test_any_key_and_any_bytes_are_kept(store: Store) -> None:
    entries = {"/ä'; DROP TABLE entries; --": bytes(range(256)), "": b"", "x" * 2000: b"\0" * 100_000}
    await store.commit([Write("apps", key, value) for key, value in entries.items()])
    assert await store.load("apps") == entries


async def test_thousands_of_keys_are_read_at_once(store: Store) -> None:
    entries = {f"key-{number:05d}": str(number).encode() for number in range(5000)}
    await store.commit([Write("apps", key, value) for key, value in entries.items()])
    assert await store.get_many("apps", list(entries)) == entries


async def test_a_store_that_nobody_claimed_takes_no_write(unclaimed: Store) -> None:
    with pytest.raises(StoreFenced):
        await unclaimed.commit([Write("apps", "/a", b"1")])
    assert await unclaimed.load("apps") == {}


async def test_the_late_write_of_a_deposed_leader_is_refused(pair: tuple[Store, Store]) -> None:
    old, new = pair
    first = await old.claim("old:1")
    await old.commit([Write("apps", "/a", b"1")])
    assert await old.holds()
    second = await new.claim("new:1")
    assert second > first
    assert await new.holds()

    async def knows_that_it_was_deposed() -> bool:
        return not await old.holds()

    await eventually_async(knows_that_it_was_deposed, what="its server of ZooKeeper may be behind the other's")
    with pytest.raises(StoreFenced):
        await old.commit([Write("apps", "/a", b"late"), Write("apps", "/b", b"late")])
    assert await new.load("apps") == {"/a": b"1"}
    await new.commit([Write("apps", "/a", b"2")])
    with pytest.raises(StoreFenced):
        await old.commit([Write("apps", "/a", None)])
    assert await old.claim("old:1") > second
    assert await old.load("apps") == {"/a": b"2"}
    await old.commit([Write("apps", "/a", b"3")])
    assert await old.load("apps") == {"/a": b"3"}


async def test_a_snapshot_holds_everything(store: Store) -> None:
    await store.commit([Write("apps", "/a", b"1"), Write("other", "k", b"\0"), Write("gone", "k", b"")])
    await store.commit([Write("gone", "k", None)])
    found = await store.snapshot()
    assert found.version == CURRENT.version
    assert {table: dict(rows) for table, rows in found.tables.items() if rows} == {
        "apps": {"/a": b"1"},
        "other": {"k": b"\0"},
    }


async def test_the_file_outlives_its_process(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / "state.db")
    await first.open()
    await first.claim("a:1")
    await first.commit([Write("apps", "/a", b"1")])
    await first.close()
    second = SqliteStore(tmp_path / "state.db")
    await second.open()
    assert await second.load("apps") == {"/a": b"1"}
    await second.close()


WRITER = """
import asyncio, sys
from pathlib import Path
from framework.store.base import Write
from framework.store.sqlite import SqliteStore
async def main():
    store = SqliteStore(Path(sys.argv[1]))
    await store.open()
    await store.claim('a:1')
    for number in range(10**6):
        await store.commit([Write("t", f"{number}-{part}", b"x" * 500) for part in "ab"])
        print(number, flush=True)
asyncio.run(main())
"""


async def test_kill_minus_nine_loses_no_commit_and_keeps_none_by_halves(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, cwd=Path.cwd()) as writer:
        assert writer.stdout is not None
        acknowledged = -1
        while acknowledged < 50:
            acknowledged = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        rest = [int(line) for line in writer.stdout.read().split()]
    acknowledged = max([acknowledged, *rest])
    store = SqliteStore(path)
    await store.open()
    found = set(await store.keys("t"))
    await store.close()
    assert {f"{number}-{part}" for number in range(acknowledged + 1) for part in "ab"} <= found
    halves = {key.split("-")[0] for key in found}
    assert all(f"{number}-{part}" in found for number in halves for part in "ab")


@contextlib.contextmanager
def no_space_left(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size`."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_full_disk_refuses_the_whole_batch_and_space_mends_it(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    await store.open()
    await store.claim("a:1")
    await store.commit([Write("apps", "/a", b"1")])
    batch = [Write("apps", "/a", b"2"), *(Write("apps", f"/{number}", b"x" * 10_000) for number in range(100))]
    with no_space_left(64 * 1024), pytest.raises(StoreFull, match="free some space"):
        await store.commit(batch)
    assert await store.load("apps") == {"/a": b"1"}
    await store.commit(batch)
    assert len(await store.load("apps")) == 101
    await store.close()


async def test_a_file_of_another_schema_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    store = SqliteStore(path)
    with pytest.raises(StoreUnusable, match="schema version 99"):
        await store.open()
    await store.close()


@pytest.mark.parametrize("content", [b"this is not a database, not at all" * 100])
async def test_a_file_that_is_no_database_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(content)
    store = SqliteStore(path)
    with pytest.raises(StoreUnusable, match=r"state\.db"):
        await store.open()
    await store.close()
    assert path.read_bytes() == content


async def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = SqliteStore(tmp_path / "file" / "state.db")
    with pytest.raises(StoreUnusable, match="cannot be opened"):
        await store.open()
    await store.close()
