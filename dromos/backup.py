"""`dromos backup FILE` and `dromos restore FILE`: everything that the framework keeps, in one file, from and to either store.

Both work on the store itself, with the framework running or not. A framework that runs while its state is restored is deposed by the
store, and takes up what was restored (on ZooKeeper by itself, on a state file when it is started again, which `dromos up` does).
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from dromos.context import Context, pass_context
from dromos.errors import CommandError
from framework.engine import records
from framework.leader.zookeeper import nobody_leads
from framework.model.timestamp import to_text
from framework.settings import FrameworkSettings
from framework.store.backup import read_backup, restore_into, write_backup
from framework.store.base import Snapshot, Store
from framework.store.opening import open_store
from framework.store.zookeeper import ZooKeeperStore

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
KINDS = ("apps and pods", "groups", "instances", "deployments")
_TABLES = (records.DECLARED, records.GROUPS, records.INSTANCES, records.DEPLOYMENTS)


@dataclass(frozen=True)
class Place:
    """A store: what to open, and how to speak of it."""

    name: str
    open: Callable[[], Store]
    directory: Path


def _where(command: F) -> F:
    command = click.option("--zk", metavar="URL", help="the state in ZooKeeper: zk://host:2181,…/path")(command)
    text = "the framework's directory  [default: as the framework's settings say, ~/.dromos/framework]"
    return click.option("--state-dir", metavar="DIRECTORY", help=text)(command)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_where
@pass_context
def backup(context: Context, file: Path, state_dir: str | None, zk: str | None) -> None:
    """Write the framework's whole state to FILE; it may run meanwhile."""
    place = _place(state_dir, zk, must_exist=True)
    snapshot = _with_store(place, lambda store: store.snapshot())
    entries = write_backup(file, snapshot, origin=place.name)
    if context.as_json:
        context.show(
            [],
            [],
            {
                "file": str(file),
                "from": place.name,
                "schema": snapshot.version,
                "entries": entries,
                **_counts(snapshot),
            },
        )
    else:
        context.say(f"{place.name} -> {file}: {_summary(snapshot)}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_where
@click.option("--yes", is_flag=True, help="do not ask")
@pass_context
def restore(context: Context, file: Path, state_dir: str | None, zk: str | None, yes: bool) -> None:
    """Make the framework's state what it was when FILE was written.

    What is there now is kept in a backup beside it. Tasks that were started since are ended when the framework has compared them with the
    master's; those that ended since are started again.
    """
    place = _place(state_dir, zk, must_exist=False)
    wanted = read_backup(file)
    present = _with_store(place, lambda store: store.snapshot())
    context.say(f"{place.name} now: {_summary(present)}")
    context.say(f"in {file}: {_summary(wanted)}")
    if not yes:
        click.confirm("Replace the one by the other?", abort=True, err=True)
    copy = place.directory / f"before-restore-{to_text(time.time()).replace(':', '')}.backup"

    def keep(found: Snapshot) -> None:
        if any(found.tables.values()):
            write_backup(copy, found, origin=place.name)

    _with_store(place, lambda store: _restore(store, wanted, str(file), keep))
    kept = copy if copy.exists() else None
    if kept:
        context.say(f"what was there is kept in {kept}")
    context.say(f"{place.name} restored: {_summary(wanted)}")
    if context.as_json:
        context.show([], [], {"file": str(file), "to": place.name, "kept": kept and str(kept), **_counts(wanted)})


async def _restore(store: Store, wanted: Snapshot, origin: str, keep: Callable[[Snapshot], None]) -> None:
    alone = nobody_leads(store.client, store.path) if isinstance(store, ZooKeeperStore) else contextlib.nullcontext()
    async with alone:
        await restore_into(store, wanted, origin=origin, keep=keep)


def _place(state_dir: str | None, zk: str | None, *, must_exist: bool) -> Place:
    settings = FrameworkSettings.load({"state_dir": state_dir, "zk": zk})
    directory = settings.state_dir.expanduser()
    address = settings.zookeeper
    if address is not None:
        return Place(str(address), lambda: open_store(settings), directory)
    if settings.store == "memory":
        raise CommandError("setting store: memory keeps nothing that could be saved; give --state-dir or --zk")
    path = directory / "state.db"
    if must_exist and not path.exists():
        raise CommandError(f"there is no state at {path}; give --state-dir or --zk")
    return Place(str(path), lambda: open_store(settings), directory)


def _with_store(place: Place, work: Callable[[Store], Awaitable[T]]) -> T:
    async def run() -> T:
        store = place.open()
        try:
            await store.open()
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def _counts(snapshot: Snapshot) -> dict[str, int]:
    return {kind: len(snapshot.tables.get(table, {})) for kind, table in zip(KINDS, _TABLES, strict=True)}


def _summary(snapshot: Snapshot) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in _counts(snapshot).items()) + f" (schema {snapshot.version})"
