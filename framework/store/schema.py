"""The versions of what is in the store, and the way from each to the next.

A migration is a function of all tables to all tables. It runs when a leader first claims a store of an older version (after a backup),
and when an older backup is restored. A newer version is left alone: an older program would lose what it does not know.

| Version | What is new in it |
|---|---|
| 1 | |
| 2 | the store knows the leader's epoch; entries are as in 1 |
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from framework.store.base import Snapshot, StoreUnusable, Tables, Write

Migration = Callable[[Tables], Tables]


@dataclass(frozen=True, slots=True)
class Schema:
    """`migrations[n]` leads from version n to n + 1."""

    version: int
    migrations: Mapping[int, Migration]

    def check(self, version: int, where: str) -> None:
        """Raises StoreUnusable for a version that this program cannot read."""
        if version > self.version or any(step not in self.migrations for step in range(version, self.version)):
            raise StoreUnusable(
                f"{where} has schema version {version}, this program knows {self.version}:"
                " run the version of dromos that wrote it, or restore a backup"
            )

    def migrate(self, snapshot: Snapshot, where: str) -> Snapshot:
        self.check(snapshot.version, where)
        tables = snapshot.tables
        for version in range(snapshot.version, self.version):
            tables = self.migrations[version](tables)
        return Snapshot(self.version, tables)


CURRENT = Schema(2, {1: lambda tables: tables})


def difference(before: Tables, after: Tables) -> list[Write]:
    """The writes that make `after` of `before`."""
    gone = [
        Write(table, key, None) for table, rows in before.items() for key in rows if key not in after.get(table, {})
    ]
    new = [
        Write(table, key, value)
        for table, rows in after.items()
        for key, value in rows.items()
        if before.get(table, {}).get(key) != value
    ]
    return [*gone, *new]
