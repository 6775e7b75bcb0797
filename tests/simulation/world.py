"""Simulated time: things happen when they are due, in an order that the seed alone decides."""

import heapq
import random
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


class Violation(BaseException):
    """An invariant does not hold. Not an Exception: the engine survives those."""


class Wait:
    """What a coroutine of the simulation awaits to let time pass."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __await__(self) -> Generator[float, None, None]:
        yield self._seconds


async def sleep(seconds: float) -> None:
    await Wait(seconds)


class World:
    """`log` is the story of the run, shown with a violation. `news`: something happened that the invariants speak of."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self._fraction = self.random.random
        self.later_faults = random.Random(
            -1 - seed
        )  # of faults that were added later: seeds keep the meaning that they had
        self.now = 1_600_000_000.0
        self.started = self.now
        self.calm = False  # no more faults
        self.news = False
        self._log: list[tuple[float, str]] = []
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    @property
    def elapsed(self) -> float:
        return self.now - self.started

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._agenda, (self.now + seconds, self._count, do))

    def at(self, when: float, do: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._agenda, (when if when > self.now else self.now, self._count, do))

    def note(self, text: str) -> None:
        self._log.append((self.now, text))

    @property
    def log(self) -> list[str]:
        return [f"{at - self.started:9.3f} {text}" for at, text in self._log]

    def violated(self, what: str) -> Violation:
        story = "\n".join(self.log[-120:])
        again = f"make simulate SEED={self.seed} tells all of it; its end:"
        return Violation(f"seed {self.seed}, after {self.elapsed:.3f} s: {what}\n{again}\n{story}")

    def run(self, seconds: float, on_news: Callable[[], None]) -> None:
        end = self.now + seconds
        agenda = self._agenda
        while agenda and agenda[0][0] <= end:
            when, _, do = heapq.heappop(agenda)
            # The clock may have been moved past it meanwhile.
            if when > self.now:
                self.now = when
            do()
            if self.news:
                self.news = False
                on_news()
        self.now = max(self.now, end)

    def chance(self, probability: float) -> bool:
        """A fault's chance; none when all is calm."""
        return not self.calm and self._fraction() < probability

    def between(self, least: float, most: float) -> float:
        return least + (most - least) * self._fraction()


def run_now(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine that never really waits."""
    try:
        while True:
            work.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
