"""A store that lives as long as the process: for tests, and for trying things out."""

from collections.abc import Mapping, Sequence

from framework.store.base import StoreError, Write


class MemoryStore:
    def __init__(self) -> None:
        self.tables: dict[str, dict[str, bytes]] = {}
        self.commits = 0
        self.failure: StoreError | None = None  # raised by every commit while set

    async def open(self) -> None:
        pass

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
        self.commits += 1
        for write in writes:
            rows = self.tables.setdefault(write.table, {})
            if write.value is None:
                rows.pop(write.key, None)
            else:
                rows[write.key] = write.value

    async def close(self) -> None:
        pass
