"""The store of several nodes, in ZooKeeper: a log of batches on a snapshot.

    <path>/epoch         its version is the newest epoch, its data says who has it
    <path>/snapshot      {"schema", "upto", "blob", "pieces"}: everything up to the log's entry `upto` is in the pieces of the blob
    <path>/log/<number>  one commit: a mark of 16 bytes, then the batch; or, where it is too large for a znode, the number of its pieces
    <path>/blobs/<blob>-<piece>

A commit is one transaction: the check of the epoch and the entry of the log. The pieces of a large batch are written before, each
with the same check; nobody sees them before the entry is there. When the log has grown longer than the snapshot, a new snapshot takes
its place. The leader reads everything once, when it claims; its own copy in memory then answers.

Where the connection breaks under a commit the same transaction is sent again: the mark in the entry tells whether the first one
arrived. Where that cannot be found out in time, the leader is to give up (StoreFenced).
"""

import asyncio
import contextlib
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import orjson
from kazoo.client import KazooClient
from kazoo.exceptions import (
    BadVersionError,
    ConnectionLoss,
    KazooException,
    NodeExistsError,
    NoNodeError,
    OperationTimeoutError,
    RolledBackError,
    RuntimeInconsistency,
    SessionExpiredError,
)
from kazoo.handlers.threading import KazooTimeoutError

from daemonkit.logs import get_logger
from framework.store import log_format
from framework.store.backup import backup_before_migration
from framework.store.base import Snapshot, StoreError, StoreFenced, StoreUnusable, Write
from framework.store.schema import CURRENT, Schema

log = get_logger(__name__)

T = TypeVar("T")
PIECE = 512 * 1024  # bytes in one znode, well below ZooKeeper's 1 MB for a whole request
MOST_ENTRIES = 1000  # in the log before a snapshot takes its place
LEAST_BYTES = 1024 * 1024  # a log smaller than this is left alone for its size
_AT_A_TIME = 200  # requests on their way
_MARK = 16
_WHOLE, _PIECES = b"W", b"P"
_AGAIN = (ConnectionLoss, SessionExpiredError, OperationTimeoutError, KazooTimeoutError)


class ZooKeeperStore:
    """`client` is started by `open` and stopped by `close`. `patience`: how long a request may take, in seconds, reconnects included.
    `backups`: the directory for a copy before a migration."""

    def __init__(
        self,
        client: KazooClient,
        path: str,
        *,
        backups: Path,
        patience: float = 6.0,
        schema: Schema = CURRENT,
        most_entries: int = MOST_ENTRIES,
        piece: int = PIECE,
        start_timeout: float = 15.0,
    ) -> None:
        self.client, self.path = client, path
        self._backups, self._patience = backups, patience
        self._schema, self._most_entries, self._piece = schema, most_entries, piece
        self._start_timeout = start_timeout
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._epoch: int | None = None
        self._tables: dict[str, dict[str, bytes]] = {}
        self._last = 0  # the number of the last entry
        self._upto = 0
        self._blob: tuple[str, int] = ("", 0)  # the snapshot's, and how many pieces it has
        self._snapshot_bytes = self._log_bytes = 0
        self._spent: list[str] = []  # blobs of entries of the log

    # --- the store

    async def open(self) -> None:
        await self._in_thread(self._open)

    async def claim(self, owner: str) -> int:
        return await self._in_thread(lambda: self._claim(owner))

    async def holds(self) -> bool:
        return await self._in_thread(lambda: self._newest() in (None, self._epoch))

    async def snapshot(self) -> Snapshot:
        return await self._in_thread(self._fresh_snapshot)

    async def load(self, table: str) -> Mapping[str, bytes]:
        return dict(sorted((await self._read()).get(table, {}).items()))

    async def get(self, table: str, key: str) -> bytes | None:
        return (await self._read()).get(table, {}).get(key)

    async def get_many(self, table: str, keys: Sequence[str]) -> Mapping[str, bytes]:
        rows = (await self._read()).get(table, {})
        return {key: rows[key] for key in keys if key in rows}

    async def keys(self, table: str) -> Sequence[str]:
        return sorted((await self._read()).get(table, {}))

    async def commit(self, writes: Sequence[Write]) -> None:
        if writes:
            await self._in_thread(lambda: self._commit(writes))
            if self._is_long():
                # Nobody waits for it; the next commit does, in the same thread.
                self._thread.submit(self._compact_or_leave_it)

    async def close(self) -> None:
        def close() -> None:
            self.client.stop()
            self.client.close()

        await self._in_thread(close)
        self._thread.shutdown(wait=True)

    async def _read(self) -> Mapping[str, Mapping[str, bytes]]:
        return self._tables if self._epoch is not None else (await self.snapshot()).tables

    # --- in the store's thread

    @property
    def _name(self) -> str:
        return f"ZooKeeper at {','.join(f'{host}:{port}' for host, port in self.client.hosts)}{self.path}"

    def _open(self) -> None:
        try:
            self.client.start(timeout=self._start_timeout)
            for node in ("epoch", "log", "blobs"):
                self.client.ensure_path(f"{self.path}/{node}")
        except KazooTimeoutError:
            if self.client.use_ssl:
                raise StoreUnusable(
                    f"{self._name} does not answer over TLS: check that setting zk names its secureClientPort, settings zk-ca and"
                    " zk-certificate, and that a majority of it runs"
                ) from None
            raise StoreUnusable(
                f"{self._name} does not answer: check setting zk, and that a majority of it runs"
            ) from None
        except KazooException as error:
            raise StoreUnusable(f"{self._name} cannot be used: {_words(error)}; check its rights") from None
        version = self._manifest().get("schema")
        if version is not None:
            self._schema.check(version, self._name)

    def _claim(self, owner: str) -> int:
        self._epoch = None
        node = f"{self.path}/epoch"

        def begin() -> int | None:
            try:
                return int(self.client.set(node, owner.encode(), version=self.client.get(node)[1].version).version)
            except BadVersionError:
                return None  # another one was faster; the later one has it

        epoch: int | None = None
        while epoch is None:
            epoch = self._patiently(begin)
        manifest = self._load()
        version = manifest.get("schema")
        self._epoch = epoch
        try:
            if version is not None and version != self._schema.version:
                self._migrate(version)
            elif version is None:
                self._compact()
            self._sweep()
        except BaseException:
            self._epoch = None
            raise
        return epoch

    def _newest(self) -> int | None:
        """The newest epoch; None where that cannot be told."""
        try:
            return int(self.client.get_async(f"{self.path}/epoch").get(timeout=self._patience)[1].version)
        except (KazooException, KazooTimeoutError):
            return None

    def _commit(self, writes: Sequence[Write]) -> None:
        body, mark = log_format.pack(writes), os.urandom(_MARK)
        entry = mark + _WHOLE + body
        if len(entry) > self._piece:
            pieces = log_format.cut(body, self._piece)
            self._write_blob(mark.hex(), pieces)
            entry = mark + _PIECES + struct.pack(">I", len(pieces))
            self._spent += [_piece(mark.hex(), number) for number in range(len(pieces))]
        place = f"{self.path}/log/{self._last + 1:010d}"

        def append() -> None:
            try:
                self._fenced(lambda transaction: transaction.create(place, entry))
            except NodeExistsError:
                if self.client.get(place)[0][:_MARK] != mark:
                    raise StoreFenced(f"{self._name}: entry {place} was written by another") from None

        self._patiently(append)
        self._last += 1
        self._log_bytes += len(body)
        log_format.apply(self._tables, writes)

    def _fenced(self, *operations: Callable[[Any], None]) -> None:
        """One transaction that holds only in this object's epoch. Raises StoreFenced, or what the first failed operation failed with."""
        if self._epoch is None:
            raise StoreFenced(f"{self._name} refuses the write: it was not claimed")
        transaction = self.client.transaction()
        transaction.check(f"{self.path}/epoch", version=self._epoch)
        for operation in operations:
            operation(transaction)
        outcomes = transaction.commit_async().get(timeout=self._patience)
        if isinstance(outcomes[0], BadVersionError | NoNodeError):
            raise StoreFenced(f"{self._name} refuses writes of epoch {self._epoch}: another leader has taken over")
        for outcome in outcomes:
            if isinstance(outcome, Exception) and not isinstance(outcome, RolledBackError | RuntimeInconsistency):
                raise outcome

    def _patiently(self, work: Callable[[], T]) -> T:
        """Again while the connection breaks, until patience ends. What then became of the work is not known."""
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return work()
            except _AGAIN as error:
                if time.monotonic() > deadline:
                    raise StoreFenced(
                        f"{self._name} did not answer for {self._patience:g} s: {_words(error)}"
                    ) from None
                time.sleep(0.05)
            except KazooException as error:
                raise StoreError(f"{self._name}: {_words(error)}") from None

    # --- snapshots

    def _is_long(self) -> bool:
        return self._last - self._upto >= self._most_entries or self._log_bytes > max(LEAST_BYTES, self._snapshot_bytes)

    def _compact_or_leave_it(self) -> None:
        try:
            if self._is_long():
                self._compact()
        except StoreError as error:
            log.warning("the log in ZooKeeper was not compacted", error=str(error))
        except Exception:
            log.exception("the log in ZooKeeper was not compacted")

    def _compact(self) -> None:
        data = log_format.pack_tables(self._tables)
        pieces, blob = log_format.cut(data, self._piece), os.urandom(_MARK).hex()
        self._write_blob(blob, pieces)
        manifest = {"schema": self._schema.version, "upto": self._last, "blob": blob, "pieces": len(pieces)}
        node, content = f"{self.path}/snapshot", orjson.dumps(manifest)
        if not self._patiently(lambda: self.client.exists(node)):
            self._patiently(lambda: self._create_once(node, content))
        self._patiently(lambda: self._fenced(lambda transaction: transaction.set_data(node, content)))
        old_log = [f"log/{number:010d}" for number in range(self._upto + 1, self._last + 1)]
        old = [f"blobs/{_piece(self._blob[0], number)}" for number in range(self._blob[1])]
        old += [f"blobs/{name}" for name in self._spent]
        self._upto, self._blob, self._spent = self._last, (blob, len(pieces)), []
        self._snapshot_bytes, self._log_bytes = len(data), 0
        # What the snapshot replaces; whoever leads, nobody reads it any more.
        deletes = (self.client.delete_async(f"{self.path}/{name}") for name in [*old_log, *old])
        self._gather(deletes, gone_is_fine=True)

    def _create_once(self, node: str, content: bytes) -> None:
        with contextlib.suppress(NodeExistsError):
            self._fenced(lambda transaction: transaction.create(node, content))

    def _write_blob(self, name: str, pieces: Sequence[bytes]) -> None:
        for number, piece in enumerate(pieces):
            place = f"{self.path}/blobs/{_piece(name, number)}"
            self._patiently(lambda place=place, piece=piece: self._create_once(place, piece))  # type: ignore[misc]

    def _sweep(self) -> None:
        """Pieces that no entry and no snapshot names: of batches and snapshots that were not finished."""
        used = {_piece(self._blob[0], number) for number in range(self._blob[1])} | set(self._spent)
        for name in self._patiently(lambda: self.client.get_children(f"{self.path}/blobs")):
            if name not in used:
                place = f"{self.path}/blobs/{name}"
                self._patiently(lambda place=place: self._delete(place))  # type: ignore[misc]
        entries = self._patiently(lambda: self.client.get_children(f"{self.path}/log"))
        stale = [name for name in entries if int(name) <= self._upto]
        self._gather((self.client.delete_async(f"{self.path}/log/{name}") for name in stale), gone_is_fine=True)

    def _delete(self, place: str) -> None:
        with contextlib.suppress(NoNodeError):
            self._fenced(lambda transaction: transaction.delete(place))

    def _migrate(self, version: int) -> None:
        before = Snapshot(version, self._tables)
        after = self._schema.migrate(before, self._name)
        copy = backup_before_migration(self._backups, before, origin=self._name)
        self._tables = {table: dict(rows) for table, rows in after.tables.items()}
        self._compact()
        log.info("the state is brought to a newer schema", before=version, after=after.version, backup=str(copy))

    # --- reading

    def _fresh_snapshot(self) -> Snapshot:
        """As of now, whoever leads; what this object wrote or claimed is left as it is."""
        if self._epoch is not None:
            return Snapshot(self._schema.version, {table: dict(rows) for table, rows in self._tables.items() if rows})
        self._patiently(lambda: self.client.sync(self.path))
        deadline = time.monotonic() + self._patience
        while True:
            before = self._manifest()
            problem: Exception | None = None
            try:
                self._load()
            except (NoNodeError, StoreUnusable) as error:
                problem = error
            if self._manifest() == before:
                if problem is None:
                    return Snapshot(before.get("schema", self._schema.version), self._tables)
                raise StoreUnusable(f"{self._name} is not whole: {_words(problem)}; restore a backup")
            # A new snapshot has taken the place of what was read.
            if time.monotonic() > deadline:
                raise StoreError(f"{self._name} changes faster than it can be read")

    def _manifest(self) -> dict[str, Any]:
        def read() -> dict[str, Any]:
            try:
                found: dict[str, Any] = orjson.loads(self.client.get(f"{self.path}/snapshot")[0])
                return found
            except NoNodeError:
                return {}

        return self._patiently(read)

    def _load(self) -> dict[str, Any]:
        """Everything into memory; gives the manifest."""
        manifest = self._manifest()
        blob, pieces, upto = manifest.get("blob", ""), manifest.get("pieces", 0), manifest.get("upto", 0)
        tables: dict[str, dict[str, bytes]] = {}
        spent: list[str] = []
        data = b"".join(self._pieces(blob, pieces))
        numbers = sorted(int(name) for name in self._patiently(lambda: self.client.get_children(f"{self.path}/log")))
        numbers = [number for number in numbers if number > upto]
        if numbers != list(range(upto + 1, upto + 1 + len(numbers))):
            raise StoreUnusable(f"{self._name} lacks entries of its log after {upto}: restore a backup")
        entries = self._gather(self.client.get_async(f"{self.path}/log/{number:010d}") for number in numbers)
        log_bytes = 0
        try:
            if data:
                log_format.apply(tables, log_format.unpack(data))
            for entry, _ in entries:
                mark, kind, body = entry[:_MARK], entry[_MARK : _MARK + 1], entry[_MARK + 1 :]
                if kind == _PIECES:
                    count = struct.unpack(">I", body)[0]
                    spent += [_piece(mark.hex(), number) for number in range(count)]
                    body = b"".join(self._pieces(mark.hex(), count))
                log_bytes += len(body)
                log_format.apply(tables, log_format.unpack(body))
        except (zlib.error, struct.error, UnicodeDecodeError) as error:
            raise StoreUnusable(
                f"{self._name} holds what this program did not write: {error}; restore a backup"
            ) from None
        self._tables, self._spent, self._blob, self._upto = tables, spent, (blob, pieces), upto
        self._last = upto + len(numbers)
        self._snapshot_bytes, self._log_bytes = len(data), log_bytes
        return manifest

    def _pieces(self, blob: str, count: int) -> list[bytes]:
        places = (f"{self.path}/blobs/{_piece(blob, number)}" for number in range(count))
        return [data for data, _ in self._gather(self.client.get_async(place) for place in places)]

    def _gather(self, requests: Iterable[Any], *, gone_is_fine: bool = False) -> list[Any]:
        """The results, in order, with a bounded number of requests on their way."""
        results: list[Any] = []
        waiting: list[Any] = []

        def settle() -> None:
            for request in waiting:
                try:
                    results.append(request.get(timeout=self._patience))
                except NoNodeError:
                    if not gone_is_fine:
                        raise
            waiting.clear()

        try:
            for request in requests:
                waiting.append(request)
                if len(waiting) >= _AT_A_TIME:
                    settle()
            settle()
        except _AGAIN as error:
            raise StoreError(f"{self._name} did not answer: {_words(error)}") from None
        return results

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _piece(blob: str, number: int) -> str:
    return f"{blob}-{number:05d}"


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
