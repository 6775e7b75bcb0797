"""The order of all writes: each gets the next index, and leaves it as the index of all that it changed.

A topic is a table (`nodes`), or a part of one (`("service", "web")`). The index of a blocking query is the highest one of its
topics; what a topic's change wakes is in `watches`.
"""

from collections.abc import Callable
from typing import Any

from embedded.consul.watch import Topic, Watches

NODES, SERVICES, CHECKS = "nodes", "services", "checks"
EXTINCT = "the last service that lost its last instance"
KEYS, TOMBSTONES = "keys", "tombstones"
SESSIONS, POLICIES, TOKENS = "sessions", "policies", "tokens"

Save = Callable[[str, str, Any], None]  # table, key, and the row; None for a row that is gone


def service_topic(name: str) -> tuple[str, str]:
    return "service", name.lower()


def _keep_nothing(table: str, key: str, row: Any) -> None:
    """For a state that lives in memory alone."""


class Ledger:
    def __init__(self, index: int = 0, save: Save = _keep_nothing) -> None:
        self.index = index
        self.floor = index  # what was before a restart counts as changed at the restart
        self.watches = Watches()
        self.save = save
        self._indexes: dict[Topic, int] = {}

    def next(self) -> int:
        """A write begins: its index."""
        self.index += 1
        return self.index

    def bump(self, *topics: Topic) -> None:
        """These were changed by the write that is under way."""
        for topic in topics:
            self._indexes[topic] = self.index
            self.watches.wake(topic)

    def forget(self, topic: Topic) -> None:
        """The topic is no more; who waits for it looks again."""
        self._indexes.pop(topic, None)
        self.watches.wake(topic)

    def index_of(self, *topics: Topic) -> int:
        return max((self._indexes.get(topic, self.floor) for topic in topics), default=0)

    def has(self, topic: Topic) -> bool:
        return topic in self._indexes
