"""A backup: one file with everything that a store held at one moment, whichever store it was.

    {"dromos-backup": 1, "schema": 2, "entries": 1234, "sha256": "…", "taken": "2026-01-31T12:00:00.000Z", "from": "…"}\\n
    <gzip of one JSON line [table, key, base64 of the value] for each entry>

The checksum is of the compressed part. The file appears under its name only when all of it is on the disk.
"""

import base64
import contextlib
import gzip
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from framework.model.timestamp import to_text
from framework.store.base import Snapshot, Store, StoreFenced, StoreUnusable
from framework.store.schema import CURRENT, Schema, difference

FORMAT = 1
RESTORE_ATTEMPTS = 5  # a leader that was about to claim the store may do so once more


def write_backup(path: Path, snapshot: Snapshot, *, origin: str, now: float | None = None) -> int:
    """Gives the number of entries. Raises StoreUnusable where the file cannot be written."""
    lines = list(_lines(snapshot))
    body = gzip.compress(b"".join(lines), compresslevel=6, mtime=0)
    header = {
        "dromos-backup": FORMAT,
        "schema": snapshot.version,
        "entries": len(lines),
        "sha256": hashlib.sha256(body).hexdigest(),
        "taken": to_text(time.time() if now is None else now),
        "from": origin,
    }
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The definitions may hold secrets: for the owner alone.
        unfinished.touch(mode=0o600)
        with unfinished.open("wb") as file:
            file.write(orjson.dumps(header) + b"\n" + body)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise StoreUnusable(f"backup {path} cannot be written: {error}; give a place with space") from None
    return len(lines)


def _lines(snapshot: Snapshot) -> Iterator[bytes]:
    for table, rows in sorted(snapshot.tables.items()):
        for key, value in sorted(rows.items()):
            yield orjson.dumps([table, key, base64.b64encode(value).decode()]) + b"\n"


def _sync_directory(directory: Path) -> None:
    number = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def read_backup(path: Path) -> Snapshot:
    """Raises StoreUnusable for what is no backup, is damaged, or is of a newer format."""
    try:
        head, _, body = path.read_bytes().partition(b"\n")
    except OSError as error:
        raise StoreUnusable(f"backup {path} cannot be read: {error.strerror}") from None
    try:
        header: dict[str, Any] = orjson.loads(head)
        kind, schema, entries, checksum = (header[name] for name in ("dromos-backup", "schema", "entries", "sha256"))
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise StoreUnusable(f"{path} is no backup of dromos") from None
    if kind != FORMAT:
        raise StoreUnusable(
            f"backup {path} has format {kind}, this program reads {FORMAT}: use the dromos that wrote it"
        )
    if hashlib.sha256(body).hexdigest() != checksum:
        raise StoreUnusable(f"backup {path} is damaged: its checksum does not fit; use another copy")
    tables: dict[str, dict[str, bytes]] = {}
    lines = gzip.decompress(body).splitlines()
    for line in lines:
        table, key, value = orjson.loads(line)
        tables.setdefault(table, {})[key] = base64.b64decode(value)
    if len(lines) != entries:
        raise StoreUnusable(f"backup {path} is damaged: it has {len(lines)} entries of {entries}; use another copy")
    return Snapshot(int(schema), tables)


async def restore_into(
    store: Store,
    snapshot: Snapshot,
    *,
    origin: str,
    schema: Schema = CURRENT,
    keep: Callable[[Snapshot], object] = lambda present: None,
) -> int:
    """Makes the (open) store hold what the snapshot holds, and nothing else, in one commit; gives the number of entries.

    It claims the store: a leader that runs on it is deposed. Where that one leads again before the commit, the restore claims anew.
    `keep` is given what is there, once nobody else writes any more: all that was ever promised is in it.
    """
    wanted = schema.migrate(snapshot, origin)
    for attempt in range(1, RESTORE_ATTEMPTS + 1):
        await store.claim(f"restore of {origin}")
        present = await store.snapshot()
        keep(present)
        writes = difference(present.tables, wanted.tables)
        try:
            if writes:
                await store.commit(writes)
            break
        except StoreFenced:
            if attempt == RESTORE_ATTEMPTS:
                raise
    return sum(len(rows) for rows in wanted.tables.values())


def backup_before_migration(directory: Path, snapshot: Snapshot, *, origin: str) -> Path:
    """The copy that is made before a store is brought to a newer schema."""
    stamp = to_text(time.time()).replace(":", "")
    path = directory / f"before-migration-from-{snapshot.version}-{stamp}.backup"
    write_backup(path, snapshot, origin=origin)
    return path
