"""User events: what was fired last, for those whom it is for."""

import re
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from embedded.consul.errors import FailedError
from embedded.consul.model import Service
from embedded.consul.watch import Topic, Watches

EVENTS: Topic = "events"


@dataclass(frozen=True, slots=True)
class Event:
    name: str
    payload: bytes | None = None
    node_filter: str = ""
    service_filter: str = ""
    tag_filter: str = ""
    id: str = ""
    time: int = 0  # Lamport time: how many there have been


class Events:
    """The last `most` events that this node's filters let in. `services()` are the agent's."""

    def __init__(
        self, watches: Watches, node: str, services: Callable[[], Iterable[Service]], *, most: int = 256
    ) -> None:
        self._watches = watches
        self._node = node
        self._services = services
        self._last: deque[Event] = deque(maxlen=most)
        self._time = 1

    def fire(self, event: Event) -> Event:
        """Raises FailedError for a filter that is none."""
        if event.tag_filter and not event.service_filter:
            raise FailedError("Cannot provide tag filter without service filter")
        for name, pattern in (
            ("node", event.node_filter),
            ("service", event.service_filter),
            ("tag", event.tag_filter),
        ):
            try:
                re.compile(pattern)
            except re.error as error:
                raise FailedError(f"Invalid {name} filter: {error}") from None
        self._time += 1
        event = replace(event, id=str(uuid.uuid4()), time=self._time)
        if self._is_for_us(event):
            self._last.append(event)
            self._watches.wake(EVENTS)
        return event

    def list(self, name: str = "") -> list[Event]:
        return [event for event in self._last if not name or event.name == name]

    def _is_for_us(self, event: Event) -> bool:
        if event.node_filter and not re.search(event.node_filter, self._node):
            return False
        if not event.service_filter:
            return True
        return any(
            re.search(event.service_filter, service.name)
            and (not event.tag_filter or any(re.search(event.tag_filter, tag) for tag in service.tags))
            for service in self._services()
        )


def index_of(events: list[Event]) -> int:
    """The index of a list of events: made of the last one's id."""
    if not events:
        return 1
    digits = events[-1].id.replace("-", "")
    return int(digits[:16], 16) ^ int(digits[16:], 16)
