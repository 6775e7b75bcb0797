"""A backup holds what the store held, tells when it is damaged, and makes any store what it was."""

import contextlib
import sqlite3
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.store import log_format
from framework.store.backup import read_backup, restore_into, write_backup
from framework.store.base import Snapshot, StoreFenced, StoreUnusable, Write
from framework.store.memory import MemoryStore
from framework.store.schema import CURRENT, difference
from framework.store.sqlite import SqliteStore

tables = st.dictionaries(st.text(max_size=8), st.dictionaries(st.text(max_size=8), st.binary(max_size=20), min_size=1))
writes = st.lists(
    st.builds(Write, st.sampled_from("ab"), st.text(max_size=3), st.none() | st.binary(max_size=20)), max_size=20
)


@settings(max_examples=50)
@given(tables)
def test_what_is_in_a_backup_is_what_was_saved(tmp_path_factory: pytest.TempPathFactory, saved) -> None:
    path = tmp_path_factory.getbasetemp() / "any.backup"
    write_backup(path, Snapshot(2, saved), origin="here")
    assert read_backup(path) == Snapshot(2, saved)


@given(tables, tables)
def test_the_difference_of_two_states_leads_from_one_to_the_other(before, after) -> None:
    state = {table: dict(rows) for table, rows in before.items()}
    log_format.apply(state, difference(before, after))
    assert {table: rows for table, rows in state.items() if rows} == after


@given(writes)
def test_a_packed_batch_is_unpacked_as_it_was(batch) -> None:
    assert list(log_format.unpack(log_format.pack(batch))) == batch


@given(st.binary(max_size=100), st.integers(1, 30))
def test_pieces_make_the_whole(data: bytes, size: int) -> None:
    pieces = log_format.cut(data, size)
    assert b"".join(pieces) == data and all(len(piece) <= size for piece in pieces) and pieces


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    path = tmp_path / "some.backup"
    write_backup(path, Snapshot(CURRENT.version, {"apps": {"/a": b"1", "/b": b"2"}}), origin="a test")
    return path


def test_it_is_for_its_owner_alone(backup: Path) -> None:
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert [path.name for path in backup.parent.iterdir()] == ["some.backup"]


def test_every_damaged_byte_is_noticed(backup: Path) -> None:
    whole = backup.read_bytes()
    for at in range(whole.index(b"\n"), len(whole)):
        backup.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        with pytest.raises(StoreUnusable, match=r"some\.backup"):
            read_backup(backup)


def test_one_that_was_cut_off_is_noticed(backup: Path) -> None:
    whole = backup.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        backup.write_bytes(whole[:length])
        with pytest.raises(StoreUnusable, match=r"no backup of dromos|checksum does not fit"):
            read_backup(backup)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"not a backup", "is no backup of dromos"),
        (b'{"dromos-backup": 9, "schema": 1, "entries": 0, "sha256": ""}\n', "has format 9, this program reads 1"),
        (b"[1]\n", "is no backup of dromos"),
    ],
)
def test_another_file_is_named(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(StoreUnusable, match=why):
        read_backup(path)


def test_where_it_cannot_be_written_nothing_is_left_behind(tmp_path: Path, backup: Path) -> None:
    before = backup.read_bytes()
    with pytest.raises(StoreUnusable, match="cannot be written"):
        write_backup(backup / "below-a-file", Snapshot(2, {}), origin="x")
    assert backup.read_bytes() == before


async def test_a_restored_store_holds_that_and_nothing_else_and_deposes_who_led(backup: Path) -> None:
    leader = MemoryStore()
    await leader.claim("a:1")
    await leader.commit([Write("apps", "/a", b"new"), Write("apps", "/later", b"x"), Write("instances", "i", b"x")])
    other = MemoryStore(leader.medium)
    assert await restore_into(other, read_backup(backup), origin="some.backup") == 2
    assert (await other.snapshot()).tables == {"apps": {"/a": b"1", "/b": b"2"}}
    with pytest.raises(StoreFenced, match=r"restore of some\.backup"):
        await leader.commit([Write("apps", "/a", b"late")])


async def test_what_is_kept_before_a_restore_is_all_that_was_ever_promised(backup: Path) -> None:
    leader = MemoryStore()
    await leader.claim("a:1")
    await leader.commit([Write("apps", "/first", b"1")])
    other = MemoryStore(leader.medium)
    claim, kept = other.claim, []

    async def late(owner: str) -> int:
        """The leader promises something more while the restore begins."""
        if not kept:
            await leader.commit([Write("apps", "/last", b"2")])
        return await claim(owner)

    other.claim = late  # type: ignore[method-assign]
    await restore_into(other, read_backup(backup), origin="some.backup", keep=kept.append)
    assert [present.tables["apps"] for present in kept] == [{"/first": b"1", "/last": b"2"}]
    with pytest.raises(StoreFenced):
        await leader.commit([Write("apps", "/later", b"3")])


async def test_a_backup_of_a_newer_schema_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    path = tmp_path / "newer.backup"
    write_backup(path, Snapshot(CURRENT.version + 1, {}), origin="the future")
    store = MemoryStore()
    await store.claim("a:1")
    await store.commit([Write("apps", "/a", b"1")])
    with pytest.raises(StoreUnusable, match=f"schema version {CURRENT.version + 1}"):
        await restore_into(store, read_backup(path), origin=str(path))
    await store.commit([Write("apps", "/a", b"2")])  # still leads


async def test_a_snapshot_is_of_one_moment_while_another_process_writes(tmp_path: Path) -> None:
    writer, reader = SqliteStore(tmp_path / "state.db"), SqliteStore(tmp_path / "state.db")
    await writer.open()
    await writer.claim("a:1")
    await reader.open()
    for number in range(100):
        value = str(number).encode()
        await writer.commit([Write("t", "a", value), Write("u", "b", value)])
        found = (await reader.snapshot()).tables
        assert found["t"]["a"] == found["u"]["b"] == value
    await writer.close()
    await reader.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "state.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
