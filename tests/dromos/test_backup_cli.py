"""`dromos backup` and `dromos restore`, as an operator types them."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dromos.cli import cli
from framework.store.base import Snapshot, Store, Write
from framework.store.sqlite import SqliteStore
from framework.store.zookeeper import ZooKeeperStore
from framework.store.zookeeper_client import make_client, parse_address
from tests.support.zookeeper import Ensemble

Dromos = Callable[..., Result]
ENTRIES = {"declared": {"/web": b'"v1"'}, "instances": {"i1": b"[]", "i2": b"[]"}, "framework": {"id": b'"f-1"'}}


@pytest.fixture
def dromos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dromos:
    """Runs the command in a home of its own; a mistake's one line is in `exception`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return lambda *words, typed="": CliRunner().invoke(cli, [str(word) for word in words], input=typed)


def fill(store: Store, entries: dict[str, dict[str, bytes]]) -> None:
    async def run() -> None:
        await store.open()
        await store.claim("test:1")
        await store.commit([Write(table, key, value) for table, rows in entries.items() for key, value in rows.items()])
        await store.close()

    asyncio.run(run())


def content(store: Store) -> Snapshot:
    async def run() -> Snapshot:
        await store.open()
        try:
            return await store.snapshot()
        finally:
            await store.close()

    return asyncio.run(run())


def test_a_state_file_is_saved_and_restored_elsewhere(tmp_path: Path, dromos: Dromos) -> None:
    fill(SqliteStore(tmp_path / "one" / "state.db"), ENTRIES)
    saved = dromos("backup", tmp_path / "b", "--state-dir", tmp_path / "one")
    assert saved.exit_code == 0, saved.output
    assert "1 apps and pods, 0 groups, 2 instances, 0 deployments (schema 2)" in saved.stdout
    restored = dromos("--json", "restore", tmp_path / "b", "--state-dir", tmp_path / "two", "--yes")
    assert restored.exit_code == 0, restored.output
    assert json.loads(restored.stdout)["instances"] == 2 and json.loads(restored.stdout)["kept"] is None
    assert content(SqliteStore(tmp_path / "two" / "state.db")).tables == ENTRIES


def test_a_restore_asks_first_and_keeps_what_was_there(tmp_path: Path, dromos: Dromos) -> None:
    fill(SqliteStore(tmp_path / "one" / "state.db"), ENTRIES)
    assert dromos("backup", "b", "--state-dir", "one").exit_code == 0
    later = {"declared": {"/web": b'"v2"', "/new": b'"v1"'}}
    fill(SqliteStore(tmp_path / "one" / "state.db"), later)
    refused = dromos("restore", "b", "--state-dir", "one", typed="n\n")
    assert refused.exit_code == 1 and "2 apps and pods" in refused.output
    assert content(SqliteStore(tmp_path / "one" / "state.db")).tables["declared"] == later["declared"]
    assert dromos("restore", "b", "--state-dir", "one", typed="y\n").exit_code == 0
    assert content(SqliteStore(tmp_path / "one" / "state.db")).tables == ENTRIES
    (kept,) = (tmp_path / "one").glob("before-restore-*.backup")
    assert dromos("restore", kept, "--state-dir", "one", "--yes").exit_code == 0
    assert content(SqliteStore(tmp_path / "one" / "state.db")).tables["declared"] == later["declared"]


@pytest.mark.xdist_group("zookeeper")
def test_a_state_moves_from_a_file_to_zookeeper_and_back(tmp_path: Path, ensemble: Ensemble, dromos: Dromos) -> None:
    zk = ensemble.address()
    fill(SqliteStore(tmp_path / "one" / "state.db"), ENTRIES)
    assert dromos("backup", "b", "--state-dir", "one").exit_code == 0
    done = dromos("restore", "b", "--zk", zk, "--yes")
    assert done.exit_code == 0, done.output
    place = parse_address(zk)
    client = make_client(place, session_timeout=30.0)
    assert content(ZooKeeperStore(client, place.path, backups=tmp_path)).tables == ENTRIES
    assert dromos("backup", "c", "--zk", zk).exit_code == 0
    assert dromos("restore", "c", "--state-dir", "two", "--yes").exit_code == 0
    assert content(SqliteStore(tmp_path / "two" / "state.db")).tables == ENTRIES


def test_mistakes_get_one_line(tmp_path: Path, dromos: Dromos) -> None:
    nothing = dromos("backup", "b", "--state-dir", "nowhere")
    assert nothing.exit_code == 1 and "there is no state at nowhere/state.db" in str(nothing.exception)
    (tmp_path / "junk").write_text("junk")
    junk = dromos("restore", "junk", "--state-dir", "one", "--yes")
    assert junk.exit_code == 1 and str(junk.exception) == "junk is no backup of dromos"
    assert not (tmp_path / "one").exists()
