"""Who waits for what. A waiter names its topics; a change wakes the waiters of its topic and no others."""

import asyncio
import contextlib
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass

Topic = Hashable


@dataclass(frozen=True, slots=True)
class KeyTopic:
    """One key of the key-value store."""

    key: str


@dataclass(frozen=True, slots=True)
class PrefixTopic:
    """All keys that begin so."""

    prefix: str


class Watches:
    """Waiters by topic. It is used from one event loop alone."""

    def __init__(self) -> None:
        self._waiters: dict[Topic, set[asyncio.Future[None]]] = {}
        self._prefixes: set[str] = set()
        self.closed = False

    @property
    def waiting(self) -> int:
        """How many pairs of waiter and topic there are."""
        return sum(len(waiters) for waiters in self._waiters.values())

    @contextlib.contextmanager
    def waiter(self, topics: Iterable[Topic]) -> Iterator[asyncio.Future[None]]:
        """A future that is done at the first change of any of the topics."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        wanted = list(topics)
        for topic in wanted:
            self._waiters.setdefault(topic, set()).add(future)
            if isinstance(topic, PrefixTopic):
                self._prefixes.add(topic.prefix)
        try:
            yield future
        finally:
            for topic in wanted:
                self._leave(topic, future)

    def wake(self, topic: Topic) -> None:
        for future in self._waiters.get(topic, ()):
            if not future.done():
                future.set_result(None)

    def wake_key(self, key: str) -> None:
        """Wakes the waiters of this key and of all prefixes of it."""
        self.wake(KeyTopic(key))
        for prefix in self._prefixes:
            if key.startswith(prefix):
                self.wake(PrefixTopic(prefix))

    def close(self) -> None:
        """Wakes everybody: there will be no more changes."""
        self.closed = True
        for topic in self._waiters:
            self.wake(topic)

    def _leave(self, topic: Topic, future: asyncio.Future[None]) -> None:
        waiters = self._waiters.get(topic)
        if waiters is None:
            return
        waiters.discard(future)
        if not waiters:
            del self._waiters[topic]
            if isinstance(topic, PrefixTopic):
                self._prefixes.discard(topic.prefix)
