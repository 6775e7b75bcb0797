"""What the store in ZooKeeper promises beyond the contract: batches of any size, a bounded log, faults of the ensemble."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NoAuthError

from daemonkit.errors import OperatorError
from framework.store.backup import read_backup
from framework.store.base import StoreFenced, StoreUnusable, Write
from framework.store.schema import Schema
from framework.store.zookeeper import ZooKeeperStore
from framework.store.zookeeper_client import make_client, parse_address
from tests.support.waiting import eventually_async
from tests.support.zookeeper import Ensemble

pytestmark = pytest.mark.xdist_group("zookeeper")


@contextlib.asynccontextmanager
async def opened(
    address: str, directory: Path, *, claim: str | None = "a:1", **more: Any
) -> AsyncIterator[ZooKeeperStore]:
    place = parse_address(address)
    options = {"patience": 60.0, "start_timeout": 60.0, **more}
    store = ZooKeeperStore(make_client(place, session_timeout=6.0), place.path, backups=directory, **options)
    try:
        await store.open()
        if claim:
            await store.claim(claim)
        yield store
    finally:
        await store.close()


@pytest.fixture
def raw(ensemble: Ensemble) -> Iterator[KazooClient]:
    """Its server may be behind those of others: `sync` comes before a look at what they wrote."""
    client = KazooClient(ensemble.hosts, timeout=40)
    client.start(timeout=60)
    yield client
    client.stop()
    client.close()


def all_sizes(client: KazooClient, path: str) -> dict[str, int]:
    """Of all znodes below a path."""
    client.sync(path)
    return sizes(client, path)


def sizes(client: KazooClient, path: str) -> dict[str, int]:
    found = {}
    for name in client.get_children(path):
        place = f"{path}/{name}"
        data, stat = client.get(place)
        found[place] = len(data)
        if stat.numChildren:
            found |= sizes(client, place)
    return found


async def test_a_batch_larger_than_a_znode_is_kept_as_one(ensemble: Ensemble, raw: KazooClient, tmp_path: Path) -> None:
    address = ensemble.address()
    noise = {f"key-{number}": os.urandom(300_000) for number in range(10)}  # 3 MB that do not compress
    async with opened(address, tmp_path) as store:
        await store.commit([Write("t", key, value) for key, value in noise.items()])
    assert max(all_sizes(raw, parse_address(address).path).values()) < 1_000_000
    async with opened(address, tmp_path, claim="b:1") as again:
        assert await again.load("t") == noise


async def test_a_large_batch_of_a_deposed_leader_leaves_nothing(
    ensemble: Ensemble, raw: KazooClient, tmp_path: Path
) -> None:
    address = ensemble.address()
    async with opened(address, tmp_path) as old, opened(address, tmp_path, claim="b:1") as new:
        before = all_sizes(raw, parse_address(address).path)
        with pytest.raises(StoreFenced, match="another leader"):
            await old.commit([Write("t", str(number), os.urandom(300_000)) for number in range(10)])
        assert all_sizes(raw, parse_address(address).path) == before
        assert (await new.snapshot()).tables.get("t", {}) == {}


async def test_the_log_stays_bounded_and_nothing_is_lost_on_the_way(
    ensemble: Ensemble, raw: KazooClient, tmp_path: Path
) -> None:
    address = ensemble.address()
    path = parse_address(address).path
    expected: dict[str, bytes] = {}
    async with opened(address, tmp_path, most_entries=20) as store:
        for number in range(107):
            key, value = f"k{number % 10}", (None if number % 7 == 0 else str(number).encode())
            await store.commit([Write("t", key, value)])
            expected.pop(key, None)
            if value is not None:
                expected[key] = value
        await eventually_async(lambda: len(raw.get_children(f"{path}/log")) < 20, timeout=30)
        assert await store.load("t") == expected
    async with opened(address, tmp_path, claim=None) as reader:
        assert await reader.load("t") == expected
    raw.sync(path)
    assert orjson.loads(raw.get(f"{path}/snapshot")[0])["upto"] >= 87


async def test_pieces_that_a_crash_left_behind_are_swept_by_the_next_leader(
    ensemble: Ensemble, raw: KazooClient, tmp_path: Path
) -> None:
    address = ensemble.address()
    path = parse_address(address).path
    async with opened(address, tmp_path, piece=1000) as store:
        await store.commit([Write("t", "kept", os.urandom(5000))])
        raw.sync(path)
        kept = set(raw.get_children(f"{path}/blobs"))
    raw.create(f"{path}/blobs/{'0' * 32}-00000", b"of a batch that was never finished")
    async with opened(address, tmp_path, claim="b:1") as again:
        raw.sync(path)
        assert set(raw.get_children(f"{path}/blobs")) == kept
        assert len(await again.load("t")) == 1


async def test_a_reader_that_never_claims_sees_whole_batches_while_the_leader_writes(
    ensemble: Ensemble, tmp_path: Path
) -> None:
    address = ensemble.address()
    async with opened(address, tmp_path, most_entries=10) as store, opened(address, tmp_path, claim=None) as reader:
        seen: set[bytes | None] = set()

        async def write() -> None:
            for number in range(150):
                value = str(number).encode()
                await store.commit([Write("t", "a", value), Write("u", "b", value)])
                if number % 50 == 49:  # a reader that is slower than the writer gets to the end of a look now and then
                    await eventually_async(lambda value=value: value in seen, timeout=60)

        writing = asyncio.create_task(write())
        while not writing.done():
            tables = (await reader.snapshot()).tables
            assert tables.get("t", {}).get("a") == tables.get("u", {}).get("b")
            seen.add(tables.get("t", {}).get("a"))
        await writing
        assert len(seen) > 1


async def test_commits_outlive_the_death_of_zookeepers_leader(ensemble: Ensemble, tmp_path: Path) -> None:
    address = ensemble.address()
    async with opened(address, tmp_path, patience=120.0) as store:
        acknowledged = []
        victim = ensemble.leader
        for number in range(40):
            if number == 10:
                victim.kill()
            await store.commit([Write("t", str(number), b"x")])
            acknowledged.append(str(number))
    async with opened(address, tmp_path, claim="b:1") as again:
        assert set(await again.keys("t")) == set(acknowledged)


async def test_without_a_majority_a_commit_ends_in_doubt_and_the_leader_is_to_give_up(
    ensemble: Ensemble, tmp_path: Path
) -> None:
    address = ensemble.address()
    async with opened(address, tmp_path, claim=None, patience=1.0) as store:

        async def led(*writes: Write) -> bool:
            await store.claim("a:1")  # either may need more than a second
            await store.commit(writes)
            return True

        await eventually_async(led, timeout=60)
        for member in ensemble.members[:2]:
            member.kill()
        with pytest.raises(StoreFenced, match="did not answer"):
            await store.commit([Write("t", "a", b"1")])
        ensemble.whole()
        await eventually_async(lambda: led(Write("t", "b", b"2")), timeout=60)
        assert await store.get("t", "b") == b"2"


async def test_an_older_schema_is_brought_up_by_the_leader_after_a_backup(ensemble: Ensemble, tmp_path: Path) -> None:
    address = ensemble.address()
    async with opened(address, tmp_path) as store:
        await store.commit([Write("apps", "/a", b"1")])
    newer = Schema(3, {2: lambda tables: {"apps": {key: value + b"!" for key, value in tables["apps"].items()}}})
    async with opened(address, tmp_path, claim=None, schema=newer) as standby:
        assert await standby.load("apps") == {"/a": b"1"}  # the old leader may still run
    async with opened(address, tmp_path, schema=newer) as store:
        assert await store.load("apps") == {"/a": b"1!"}
    (copy,) = tmp_path.glob("before-migration-from-2-*.backup")
    assert read_backup(copy).tables == {"apps": {"/a": b"1"}}
    with pytest.raises(StoreUnusable, match="schema version 3"):
        async with opened(address, tmp_path):
            pass


async def test_an_ensemble_that_is_not_there_is_named(tmp_path: Path) -> None:
    place = parse_address("zk://127.0.0.1:1/x")
    store = ZooKeeperStore(make_client(place, session_timeout=6.0), place.path, backups=tmp_path, start_timeout=0.5)
    with pytest.raises(StoreUnusable, match=r"127\.0\.0\.1:1/x does not answer: check setting zk"):
        await store.open()
    await store.close()


@pytest.mark.parametrize("text", ["zk://", "zk://h:2181", "zk://h:2181/", "h:2181/x", "zk://user:secret@h:2181"])
def test_an_address_without_a_path_is_refused_and_shows_no_password(text: str) -> None:
    with pytest.raises(OperatorError, match="give zk://") as caught:
        parse_address(text)
    assert "secret" not in str(caught.value)


async def test_with_a_user_the_state_is_closed_to_others(ensemble: Ensemble, raw: KazooClient, tmp_path: Path) -> None:
    address = ensemble.address().replace("zk://", "zk://dromos:secret@")
    assert "secret" not in repr(parse_address(address)) + str(parse_address(address))
    async with opened(address, tmp_path) as store:
        await store.commit([Write("t", "a", b"1")])
        path = parse_address(address).path
        raw.sync(path)
        with pytest.raises(NoAuthError):
            raw.get(f"{path}/log/0000000001")
        assert await store.get("t", "a") == b"1"
