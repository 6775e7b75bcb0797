"""One file, one writer thread: the store of a single node. Write-ahead log, synchronised at every commit, so that `kill -9` and a power
cut lose nothing that was acknowledged.

The file's `user_version` is the schema's; the table `leadership` holds the newest epoch.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from daemonkit.logs import get_logger
from framework.store.backup import backup_before_migration
from framework.store.base import Snapshot, StoreError, StoreFenced, StoreFull, StoreUnusable, Write
from framework.store.schema import CURRENT, Schema, difference

log = get_logger(__name__)

T = TypeVar("T")
_CHUNK = 500  # keys in one SELECT
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
_ENTRIES = (
    "CREATE TABLE IF NOT EXISTS entries (tbl TEXT, key TEXT, value BLOB NOT NULL, PRIMARY KEY (tbl, key)) WITHOUT ROWID"
)
_LEADERSHIP = "CREATE TABLE IF NOT EXISTS leadership (epoch INTEGER NOT NULL, owner TEXT NOT NULL)"


class SqliteStore:
    """`path` is created, with its directory, where it does not exist. `busy_timeout` in seconds: how long to wait for another process
    (a backup) that holds the file. `backups`: where a copy goes before a migration; beside the file by default."""

    def __init__(
        self, path: Path, *, busy_timeout: float = 5.0, schema: Schema = CURRENT, backups: Path | None = None
    ) -> None:
        self._path = path
        self._busy_timeout = busy_timeout
        self._schema = schema
        self._backups = backups or path.parent
        self._epoch = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._db: sqlite3.Connection | None = None

    async def open(self) -> None:
        await self._in_thread(self._open)

    async def claim(self, owner: str) -> int:
        self._epoch = await self._in_thread(lambda: self._claim(owner))
        return self._epoch

    async def holds(self) -> bool:
        return await self._in_thread(lambda: self._newest() in (None, self._epoch))

    async def snapshot(self) -> Snapshot:
        return await self._in_thread(self._snapshot)

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
            if self._version() == 0:
                self._db.executescript(
                    f"BEGIN; {_ENTRIES}; {_LEADERSHIP}; PRAGMA user_version = {self._schema.version}; COMMIT;"
                )
            self._schema.check(self._version(), self._name)
        except (sqlite3.Error, OSError) as error:
            raise StoreUnusable(
                f"state file {self._path} cannot be opened: {error}; check its directory's permissions and free space"
            ) from None

    @property
    def _name(self) -> str:
        return f"state file {self._path}"

    def _version(self) -> int:
        assert self._db is not None, "the store is not open"
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def _claim(self, owner: str) -> int:
        with self._transaction() as db:
            if self._version() != self._schema.version:
                self._migrate(db)
            found = db.execute("SELECT max(epoch) FROM leadership").fetchone()[0]
            epoch = (found or 0) + 1
            db.execute("DELETE FROM leadership")
            db.execute("INSERT INTO leadership (epoch, owner) VALUES (?, ?)", (epoch, owner))
        return epoch

    def _newest(self) -> int | None:
        """The newest epoch; None where that cannot be told."""
        assert self._db is not None, "the store is not open"
        try:
            row = self._db.execute("SELECT max(epoch) FROM leadership").fetchone()
        except sqlite3.Error:
            return None
        return int(row[0]) if row[0] is not None else None

    def _migrate(self, db: sqlite3.Connection) -> None:
        before = self._snapshot()
        after = self._schema.migrate(before, self._name)
        copy = backup_before_migration(self._backups, before, origin=str(self._path))
        db.execute(_LEADERSHIP)
        self._write(difference(before.tables, after.tables))
        db.execute(f"PRAGMA user_version = {after.version}")
        log.info("the state is brought to a newer schema", before=before.version, after=after.version, backup=str(copy))

    def _snapshot(self) -> Snapshot:
        assert self._db is not None, "the store is not open"
        own = not self._db.in_transaction
        if own:
            self._db.execute("BEGIN")  # the reads are of one moment, whoever writes meanwhile
        try:
            tables: dict[str, dict[str, bytes]] = {}
            for table, key, value in self._db.execute("SELECT tbl, key, value FROM entries"):
                tables.setdefault(table, {})[key] = value
            return Snapshot(self._version(), tables)
        except sqlite3.Error as error:
            raise StoreError(f"{self._name} cannot be read: {error}") from None
        finally:
            if own:
                self._db.execute("COMMIT")

    def _rows(self, query: str, parameters: Sequence[object]) -> list[tuple[str, bytes]]:
        assert self._db is not None, "the store is not open"
        try:
            return self._db.execute(query, parameters).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"state file {self._path} cannot be read: {error}") from None

    def _commit(self, writes: Sequence[Write]) -> None:
        with self._transaction() as db:
            row = db.execute("SELECT epoch, owner FROM leadership").fetchone() if self._epoch else None
            if row is None or row[0] != self._epoch:
                who = f"{row[1]} has taken it over" if row else "it was not claimed"
                raise StoreFenced(f"{self._name} refuses writes of epoch {self._epoch}: {who}")
            self._write(writes)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = self._db
        assert db is not None, "the store is not open"
        try:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            kind = StoreFull if getattr(error, "sqlite_errorcode", 0) & 0xFF in _FULL else StoreError
            raise kind(f"{self._name} cannot be written: {error}; free some space on its disk") from None

    def _write(self, writes: Sequence[Write]) -> None:
        assert self._db is not None
        last = {(write.table, write.key): write.value for write in writes}
        gone = [place for place, value in last.items() if value is None]
        kept = [(*place, value) for place, value in last.items() if value is not None]
        self._db.executemany("DELETE FROM entries WHERE tbl = ? AND key = ?", gone)
        self._db.executemany("INSERT OR REPLACE INTO entries (tbl, key, value) VALUES (?, ?, ?)", kept)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
