"""One file, one writer thread: the store of a single node. Write-ahead log, synchronised at every commit, so that `kill -9` and a power
cut lose nothing that was acknowledged."""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from framework.store.base import SCHEMA_VERSION, StoreError, StoreFull, StoreUnusable, Write

T = TypeVar("T")
_CHUNK = 500  # keys in one SELECT
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


class SqliteStore:
    """`path` is created, with its directory, where it does not exist. `busy_timeout` in seconds: how long to wait for another process
    (a backup) that holds the file."""

    def __init__(self, path: Path, *, busy_timeout: float = 5.0) -> None:
        self._path = path
        self._busy_timeout = busy_timeout
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._db: sqlite3.Connection | None = None

    async def open(self) -> None:
        await self._in_thread(self._open)

    async def load(self, table: str) -> Mapping[str, bytes]:
        return await self._in_thread(
            lambda: dict(self._rows("SELECT key, value FROM entries WHERE tbl = ? ORDER BY key", (table,)))
        )

    async def get(self, table: str, key: str) -> bytes | None:
        return (await self.get_many(table, [key])).get(key)

    async def get_many(self, table: str, keys: Sequence[str]) -> Mapping[str, bytes]:
        def read() -> dict[str, bytes]:
            found: dict[str, bytes] = {}
            for start in range(0, len(keys), _CHUNK):
                part = keys[start : start + _CHUNK]
                marks = ",".join("?" * len(part))
                query = f"SELECT key, value FROM entries WHERE tbl = ? AND key IN ({marks})"  # noqa: S608  marks only
                found.update(self._rows(query, (table, *part)))
            return found

        return await self._in_thread(read)

    async def keys(self, table: str) -> Sequence[str]:
        return await self._in_thread(
            lambda: [row[0] for row in self._rows("SELECT key FROM entries WHERE tbl = ? ORDER BY key", (table,))]
        )

    async def commit(self, writes: Sequence[Write]) -> None:
        if writes:
            await self._in_thread(lambda: self._commit(writes))

    async def close(self) -> None:
        def close() -> None:
            if self._db is not None:
                self._db.close()
                self._db = None

        await self._in_thread(close)
        self._thread.shutdown(wait=True)

    # --- in the store's thread

    def _open(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self._path, timeout=self._busy_timeout, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._db.executescript(
                    "BEGIN; CREATE TABLE IF NOT EXISTS entries (tbl TEXT, key TEXT, value BLOB NOT NULL, PRIMARY KEY (tbl, key))"
                    f" WITHOUT ROWID; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
                )
            elif version != SCHEMA_VERSION:
                raise StoreUnusable(
                    f"state file {self._path} has schema version {version}, this program writes {SCHEMA_VERSION}:"
                    " run the version of dromos that wrote it, or restore a backup"
                )
        except (sqlite3.Error, OSError) as error:
            raise StoreUnusable(
                f"state file {self._path} cannot be opened: {error}; check its directory's permissions and free space"
            ) from None

    def _rows(self, query: str, parameters: Sequence[object]) -> list[tuple[str, bytes]]:
        assert self._db is not None, "the store is not open"
        try:
            return self._db.execute(query, parameters).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"state file {self._path} cannot be read: {error}") from None

    def _commit(self, writes: Sequence[Write]) -> None:
        assert self._db is not None, "the store is not open"
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._write(writes)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            kind = StoreFull if getattr(error, "sqlite_errorcode", 0) & 0xFF in _FULL else StoreError
            raise kind(f"state file {self._path} cannot be written: {error}; free some space on its disk") from None

    def _write(self, writes: Sequence[Write]) -> None:
        assert self._db is not None
        last = {(write.table, write.key): write.value for write in writes}
        gone = [place for place, value in last.items() if value is None]
        kept = [(*place, value) for place, value in last.items() if value is not None]
        self._db.executemany("DELETE FROM entries WHERE tbl = ? AND key = ?", gone)
        self._db.executemany("INSERT OR REPLACE INTO entries (tbl, key, value) VALUES (?, ?, ?)", kept)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
