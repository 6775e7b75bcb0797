"""Deadlines by name: `set` replaces, `due` gives those that have come, in order."""

import heapq

Name = tuple[str, str]  # (what, of whom)


class Timers:
    def __init__(self) -> None:
        self._at: dict[Name, float] = {}
        self._heap: list[tuple[float, Name]] = []

    def set(self, what: str, whom: str, at: float) -> None:
        self._at[what, whom] = at
        heapq.heappush(self._heap, (at, (what, whom)))

    def set_unless_sooner(self, what: str, whom: str, at: float) -> None:
        if self._at.get((what, whom), float("inf")) > at:
            self.set(what, whom, at)

    def cancel(self, what: str, whom: str) -> None:
        self._at.pop((what, whom), None)

    def __contains__(self, name: Name) -> bool:
        return name in self._at

    def next(self) -> float | None:
        heap, at = self._heap, self._at
        while heap:
            when, name = heap[0]
            if at.get(name) == when:
                return when
            heapq.heappop(heap)
        return None

    def due(self, now: float) -> list[Name]:
        found: list[Name] = []
        while (at := self.next()) is not None and at <= now:
            name = heapq.heappop(self._heap)[1]
            del self._at[name]
            found.append(name)
        return found

    def clear(self) -> None:
        self._at.clear()
        self._heap.clear()
