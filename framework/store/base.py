"""What the engine asks of durable state: tables of keys and bytes, read as a whole at the start, written in batches that hold or fail
as one, by one leader at a time.

Fencing: whoever is to write begins an epoch with `claim`. Every commit carries the epoch of the object that it is called on and is
compared with the newest one in the same transaction as its writes, so that the late write of a deposed leader is refused, however late.

StoreError              what, where, how to mend; nothing of the batch is kept
├── StoreFull           no space; writes are refused until there is some
├── StoreFenced         this object's epoch is over (or never began): its writes are refused until it claims anew. Also raised where
│                       it cannot be known whether the batch was kept: what is in memory is void, and is to be read again
└── StoreUnusable       cannot be opened or read: wrong version, corrupt, no access; the daemon does not start
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from daemonkit.errors import OperatorError

Tables = Mapping[str, Mapping[str, bytes]]


class StoreError(OperatorError):
    pass


class StoreFull(StoreError):  # noqa: N818
    pass


class StoreFenced(StoreError):  # noqa: N818
    pass


class StoreUnusable(StoreError):  # noqa: N818
    pass


@dataclass(frozen=True, slots=True)
class Write:
    """`value` None deletes; deleting what is not there is no error. Keys sort as text."""

    table: str
    key: str
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything as of one moment. `version` is the schema's that the entries are written in."""

    version: int
    tables: Tables


class Store(Protocol):
    """One object for each process; several may stand on the same medium. Reads need no epoch."""

    async def open(self) -> None:
        """Raises StoreUnusable."""

    async def claim(self, owner: str) -> int:
        """Begins a new epoch and gives its number, greater than all before: from now on this object writes, and no other that stands
        on the medium. `owner` says who (host:port), for operators. Brings the contents to the schema of this program, after a backup.

        Raises StoreError; then the object may or may not have the epoch, and may claim again.
        """

    async def holds(self) -> bool:
        """Whether this object's epoch is the newest, as far as can be told now. A leader that has nothing to write learns by it that
        another one took over; only a commit is a proof."""

    async def snapshot(self) -> Snapshot: ...

    async def load(self, table: str) -> Mapping[str, bytes]:
        """All of a table."""

    async def get(self, table: str, key: str) -> bytes | None: ...

    async def get_many(self, table: str, keys: Sequence[str]) -> Mapping[str, bytes]:
        """Those that exist."""

    async def keys(self, table: str) -> Sequence[str]: ...

    async def commit(self, writes: Sequence[Write]) -> None:
        """All or nothing, in this order (the last write of a key counts), durable when it returns. Raises StoreError.

        An error leaves what was before; the same batch may be tried again. StoreFenced: see above.
        """

    async def close(self) -> None: ...
