"""A store that an older version wrote is taken up whole, after a copy of it was made; a newer one is left alone."""

import contextlib
import re
import sqlite3
from pathlib import Path

import pytest

from framework.engine.ledger import load_ledger
from framework.store.backup import read_backup, restore_into
from framework.store.base import StoreUnusable
from framework.store.memory import MemoryStore
from framework.store.schema import CURRENT, Schema
from framework.store.sqlite import SqliteStore

RECORDED = Path(__file__).parent / "recorded"


@pytest.fixture(params=sorted(path.stem for path in RECORDED.glob("state-v*.sql")))
def recorded(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, int]:
    """A state file as the dromos of that version left it, in the middle of a deployment; and the version."""
    path = tmp_path / "state.db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript((RECORDED / f"{request.param}.sql").read_text())
    match = re.fullmatch(r"state-v(\d+)", request.param)
    assert match
    return path, int(match[1])


async def test_a_recorded_state_of_an_older_version_is_led_on(recorded: tuple[Path, int], tmp_path: Path) -> None:
    path, version = recorded
    store = SqliteStore(path)
    await store.open()
    before = await store.snapshot()
    assert before.version == version
    await store.claim("a:1")
    after = await store.snapshot()
    assert after.version == CURRENT.version
    ledger = await load_ledger(store)
    await store.close()
    assert ledger.framework_id == "framework-1"
    assert sorted(ledger.declared.apps) == ["/shop/web", "/stuck"] and list(ledger.declared.pods) == ["/pod"]
    assert dict(ledger.declared.apps["/shop/web"].labels) == {"team": "shop", "ä": "ö"}
    assert [d.changes["/stuck"].after for d in ledger.deployments.values()] == [ledger.declared.apps["/stuck"]]
    assert ledger.failures["/shop/web"].state == "TASK_FAILED"
    assert len(ledger.instances) == 3 and len(ledger.versions["/shop/web"]) == 2
    (copy,) = tmp_path.glob(f"before-migration-from-{version}-*.backup")
    assert read_backup(copy) == before


async def test_the_copy_made_before_a_migration_can_be_restored(recorded: tuple[Path, int], tmp_path: Path) -> None:
    path, _ = recorded
    store = SqliteStore(path)
    await store.open()
    await store.claim("a:1")
    await store.close()
    (copy,) = tmp_path.glob("before-migration-*.backup")
    empty = MemoryStore()
    await restore_into(empty, read_backup(copy), origin=str(copy))
    assert sorted((await load_ledger(empty)).declared.apps) == ["/shop/web", "/stuck"]


async def test_a_migration_happens_once_and_step_by_step(recorded: tuple[Path, int], tmp_path: Path) -> None:
    path, version = recorded
    seen: list[int] = []

    def step(number: int) -> Schema:
        def migrate(tables):
            seen.append(number)
            return {**tables, "steps": {**tables.get("steps", {}), str(number): b"done"}}

        return Schema(CURRENT.version + 2, {**CURRENT.migrations, number: migrate, number + 1: migrate})

    for _ in range(2):
        store = SqliteStore(path, schema=step(CURRENT.version))
        await store.open()
        await store.claim("a:1")
        assert (await store.snapshot()).version == CURRENT.version + 2
        await store.close()
    assert len(seen) == 2


async def test_a_migration_that_fails_leaves_the_file_as_it_was(recorded: tuple[Path, int]) -> None:
    path, version = recorded

    def broken(tables):
        raise ValueError("cannot be done")

    store = SqliteStore(path, schema=Schema(version + 1, {version: broken}))
    await store.open()
    with pytest.raises(ValueError, match="cannot be done"):
        await store.claim("a:1")
    assert (await store.snapshot()).version == version
    await store.close()
    again = SqliteStore(path)
    await again.open()
    await again.claim("a:1")
    assert len((await load_ledger(again)).instances) == 3
    await again.close()


async def test_a_newer_schema_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = SqliteStore(path, schema=Schema(CURRENT.version + 1, {}))
    await store.open()
    await store.close()
    older = SqliteStore(path)
    with pytest.raises(
        StoreUnusable, match=f"schema version {CURRENT.version + 1}, this program knows {CURRENT.version}"
    ):
        await older.open()
    await older.close()
