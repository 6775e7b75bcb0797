"""Simulated time: things happen when they are due, in an order that the seed alone decides."""

import heapq
import random
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Violation(BaseException):
    """An invariant does not hold. Not an Exception: the engine survives those."""


class World:
    """`log` is the story of the run, shown with a violation."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.now = 1_600_000_000.0
        self.started = self.now
        self.calm = False  # no more faults
        self.log: list[str] = []
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    @property
    def elapsed(self) -> float:
        return self.now - self.started

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._agenda, (self.now + max(0.0, seconds), self._count, do))

    def at(self, when: float, do: Callable[[], None]) -> None:
        self.after(when - self.now, do)

    def note(self, text: str) -> None:
        self.log.append(f"{self.elapsed:9.3f} {text}")

    def violated(self, what: str) -> Violation:
        story = "\n".join(self.log[-120:])
        return Violation(f"seed {self.seed}, after {self.elapsed:.3f} s: {what}\n{story}")

    def run(self, seconds: float, after_each: Callable[[], None]) -> None:
        end = self.now + seconds
        while self._agenda and self._agenda[0][0] <= end:
            self.now, _, do = heapq.heappop(self._agenda)
            do()
            after_each()
        self.now = end

    def chance(self, probability: float) -> bool:
        """A fault's chance; none when all is calm."""
        return not self.calm and self.random.random() < probability


def run_now(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine that never really waits."""
    try:
        while True:
            work.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
