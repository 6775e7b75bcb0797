"""What the engine asks of durable state: tables of keys and bytes, read as a whole at the start, written in batches that hold or fail
as one.

StoreError              what, where, how to mend; nothing of the batch is kept
├── StoreFull           no space; writes are refused until there is some
├── StoreFenced         another leader has taken over: this one's writes are refused for good
└── StoreUnusable       cannot be opened or read: wrong version, corrupt, no access; the daemon does not start
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from daemonkit.errors import OperatorError

SCHEMA_VERSION = 1


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


class Store(Protocol):
    async def open(self) -> None:
        """Raises StoreUnusable."""

    async def load(self, table: str) -> Mapping[str, bytes]:
        """All of a table."""

    async def get(self, table: str, key: str) -> bytes | None: ...

    async def get_many(self, table: str, keys: Sequence[str]) -> Mapping[str, bytes]:
        """Those that exist."""

    async def keys(self, table: str) -> Sequence[str]: ...

    async def commit(self, writes: Sequence[Write]) -> None:
        """All or nothing, in this order (the last write of a key counts), durable when it returns. Raises StoreError.

        An error leaves what was before; the same batch may be tried again.
        """

    async def close(self) -> None: ...
