"""A store that lives as long as the process: for tests, and for trying things out.

Several stores may stand on one medium, as the processes of several nodes do: `MemoryStore(other.medium)`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from framework.store.base import Snapshot, StoreError, StoreFenced, Write
from framework.store.schema import CURRENT


@dataclass(slots=True)
class Medium:
    tables: dict[str, dict[str, bytes]] = field(default_factory=dict)
    epoch: int = 0
    owner: str = ""


class MemoryStore:
    def __init__(self, medium: Medium | None = None) -> None:
        self.medium = medium or Medium()
        self.epoch = 0  # of this object; 0 before it claims
        self.commits = 0
        self.failure: StoreError | None = None  # raised by every commit while set

    @property
    def tables(self) -> dict[str, dict[str, bytes]]:
        return self.medium.tables

    async def open(self) -> None:
        pass

    async def claim(self, owner: str) -> int:
        self.medium.epoch += 1
        self.medium.owner = owner
        self.epoch = self.medium.epoch
        return self.epoch

    async def holds(self) -> bool:
        return self.epoch == self.medium.epoch

    async def snapshot(self) -> Snapshot:
        return Snapshot(CURRENT.version, {table: dict(rows) for table, rows in self.tables.items() if rows})

    async def load(self, table: str) -> Mapping[str, bytes]:
        return dict(self.tables.get(table, {}))

    async def get(self, table: str, key: str) -> bytes | None:
        return self.tables.get(table, {}).get(key)

    async def get_many(self, table: str, keys: Sequence[str]) -> Mapping[str, bytes]:
        rows = self.tables.get(table, {})
        return {key: rows[key] for key in keys if key in rows}

    async def keys(self, table: str) -> Sequence[str]:
        return sorted(self.tables.get(table, {}))

    async def commit(self, writes: Sequence[Write]) -> None:
        if self.failure is not None:
            raise self.failure
        if self.epoch != self.medium.epoch or not self.epoch:
            raise StoreFenced(
                f"epoch {self.epoch} is over: {self.medium.owner or 'nobody'} leads in {self.medium.epoch}"
            )
        self.commits += 1
        for write in writes:
            rows = self.tables.setdefault(write.table, {})
            if write.value is None:
                rows.pop(write.key, None)
            else:
                rows[write.key] = write.value

    async def close(self) -> None:
        pass
