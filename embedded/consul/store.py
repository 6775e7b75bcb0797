"""The state on disk: one SQLite file in the state directory, one writer, one transaction per batch of changes.

What was answered is in the operating system's hands before the answer leaves, so `kill -9` loses nothing; the disk is made to write
(fsync) at checkpoints, in a thread, so a power cut can lose the last seconds, and never more than that or the file's sanity.
"""

import base64
import fcntl
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import orjson

from daemonkit.errors import OperatorError

_FILE = "consul.sqlite"
_INDEX = "index"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS rows (kind TEXT NOT NULL, key TEXT NOT NULL, row BLOB NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


class StoreError(OperatorError):
    """The state cannot be written, now; the changes are kept, and written with the next batch."""


class Store:
    """`save` notes changes, `flush` writes them. `row_types` are the dataclasses of the rows, by kind."""

    def __init__(self, directory: Path, row_types: Mapping[str, type[Any]]) -> None:
        """Raises OperatorError if the directory cannot be used."""
        self._path = directory / _FILE
        self._row_types = row_types
        self._pending: dict[tuple[str, str], Any] = {}
        self._index = 0  # the one on disk
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = self._locked(directory)
            self._path.touch(mode=0o600)
            self._db = self._connect()
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise OperatorError(
                f"the state directory {directory} cannot be used: {error}; give another one with --state-dir"
            ) from None

    def load(self) -> tuple[int, dict[str, list[Any]]]:
        """The last index, and all rows by kind. Rows of a kind that is not known are left alone."""
        rows: dict[str, list[Any]] = {}
        for kind, row in self._db.execute("SELECT kind, row FROM rows"):
            if kind in self._row_types:
                rows.setdefault(kind, []).append(_value(self._row_types[kind], orjson.loads(row)))
        self._index = int(self.fact(_INDEX) or 0)
        return self._index, rows

    def fact(self, name: str) -> str | None:
        """A single text that outlives restarts."""
        found = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return found[0] if found else None

    def set_fact(self, name: str, value: str) -> None:
        with self._db:
            self._db.execute("REPLACE INTO facts VALUES (?, ?)", (name, value))

    def save(self, kind: str, key: str, row: Any) -> None:
        self._pending[kind, key] = row

    def flush(self, index: int) -> None:
        """Writes what was saved, in one transaction. Raises StoreError."""
        if not self._pending and index == self._index:
            return
        gone = [key for key, row in self._pending.items() if row is None]
        kept = [(*key, _row(row)) for key, row in self._pending.items() if row is not None]
        try:
            with self._db:
                self._db.executemany("DELETE FROM rows WHERE kind = ? AND key = ?", gone)
                self._db.executemany("REPLACE INTO rows VALUES (?, ?, ?)", kept)
                self._db.execute("REPLACE INTO facts VALUES (?, ?)", (_INDEX, str(index)))
        except sqlite3.Error as error:
            raise StoreError(f"the state cannot be written to {self._path}: {error}") from None
        self._pending.clear()
        self._index = index

    def checkpoint(self) -> None:
        """Moves what is in the log into the file, and makes the disk write it. May be called from another thread."""
        connection = self._connect()
        try:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        finally:
            connection.close()

    def close(self) -> None:
        self._db.close()
        self._lock.close()

    @staticmethod
    def _locked(directory: Path) -> TextIO:
        lock = (directory / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise OperatorError(
                f"the state directory {directory} is in use by another consul; stop that, or give another one with --state-dir"
            ) from None
        return lock

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=5.0)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        return connection


def _row(value: Any) -> bytes:
    return orjson.dumps(value, default=_text_of_bytes)


def _text_of_bytes(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(type(value).__name__)


def _value(row_type: type[Any], row: dict[str, Any]) -> Any:
    """The dataclass of a row. Fields that it no longer has are passed over."""
    fields = row_type.__dataclass_fields__
    values = {name: item for name, item in row.items() if name in fields}
    for name, item in values.items():
        if isinstance(item, list):
            values[name] = tuple(item)
        elif fields[name].type in (bytes, "bytes") and isinstance(item, str):
            values[name] = base64.b64decode(item)
    return row_type(**values)
