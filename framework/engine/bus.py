"""The event stream to the world: Marathon's events, numbered, the last ones kept for replay, bounded for every listener.

    async with bus.subscribe({"deployment_success"}, after=last_event_id) as announcements:
        async for announcement in announcements: ...

The engine announces after the commit, so that nobody hears of what may yet be undone. Values in `fields` are plain JSON or model values
(Deployment as `plan`, StepActions as `currentStep`, HealthCheck as `healthCheck`, App as `appDefinition`): the API spells them.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Set
from dataclasses import dataclass
from types import TracebackType

from framework.model.timestamp import to_text

IDS_OF_AN_EPOCH = 1 << 32  # both fit into the 53 bits of a JavaScript number


class TooSlow(Exception):  # noqa: N818  it says what happened
    """The listener did not keep up with its buffer; it is to be disconnected."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """`fields` without eventType and timestamp. `id` grows, from one leader to the next too."""

    id: int
    type: str
    timestamp: str
    fields: Mapping[str, object]


class Bus:
    """`history` announcements are kept for replay; a listener may lag by `buffer`."""

    def __init__(self, *, history: int = 1024, buffer: int = 1024) -> None:
        self._history: deque[Announcement] = deque(maxlen=history)
        self._buffer = buffer
        self._listeners: set[Subscription] = set()
        self._last_id = 0

    def begin(self, epoch: int) -> None:
        """A leader begins: its ids are greater than those of all leaders before."""
        self._last_id = max(self._last_id, epoch * IDS_OF_AN_EPOCH)

    @property
    def last_id(self) -> int:
        return self._last_id

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    def publish(self, type: str, now: float, fields: Mapping[str, object]) -> None:
        self._last_id += 1
        if not self._listeners and not self._history.maxlen:
            return
        announcement = Announcement(self._last_id, type, to_text(now), fields)
        self._history.append(announcement)
        for listener in list(self._listeners):
            listener.offer(announcement)

    def subscribe(self, types: Set[str] = frozenset(), *, after: int | None = None) -> "Subscription":
        """`types` empty means all. `after`: first everything kept with a greater id."""
        return Subscription(self, types, after, self._buffer)

    def attach(self, subscription: "Subscription", after: int | None) -> None:
        if after is not None:
            # An id from the future is of a store that was lost: all that is kept is news to that listener.
            start = after if after <= self._last_id else 0
            for announcement in self._history:
                if announcement.id > start:
                    subscription.offer(announcement)
        self._listeners.add(subscription)

    def detach(self, subscription: "Subscription") -> None:
        self._listeners.discard(subscription)

    def close(self) -> None:
        """Ends all subscriptions, after what they have buffered."""
        for listener in list(self._listeners):
            listener.end()


class Subscription:
    def __init__(self, bus: Bus, types: Set[str], after: int | None, buffer: int) -> None:
        self._bus, self._types, self._after, self._bound = bus, types, after, buffer
        self._waiting: deque[Announcement] = deque()
        self._news = asyncio.Event()
        self._overrun = False
        self._ended = False

    async def __aenter__(self) -> "Subscription":
        self._bus.attach(self, self._after)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bus.detach(self)

    def offer(self, announcement: Announcement) -> None:
        if self._types and announcement.type not in self._types:
            return
        if len(self._waiting) >= self._bound:
            self._overrun = True
            self._bus.detach(self)
        else:
            self._waiting.append(announcement)
        self._news.set()

    def end(self) -> None:
        self._ended = True
        self._bus.detach(self)
        self._news.set()

    async def __aiter__(self) -> AsyncIterator[Announcement]:
        """Raises TooSlow after the last buffered announcement of a listener that fell behind."""
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if self._overrun:
                raise TooSlow
            if self._ended:
                return
            self._news.clear()
            await self._news.wait()
