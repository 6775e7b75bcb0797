"""The order of commands, as consul-template has it: first all files of a pass are in place, then its commands run, one after the other,
in the order of the configuration.

Targets work side by side, so each of them gets a `Place` in the pass's line. One that has nothing to do now (it is throttled, waits to
try again, or something newer is wanted of it) leaves the line, so that nobody waits for it; and each command has a time-out.
"""

import asyncio
from collections.abc import Sequence


class Place:
    """In a line. `next()` waits until all others have their files in place, and those before have left."""

    def __init__(self, line: "Sequence[Place]" = (), number: int = 0) -> None:
        self._line, self._number = line, number
        self._placed, self._left = asyncio.Event(), asyncio.Event()

    async def next(self) -> None:
        self._placed.set()
        for other in self._line:
            await other._placed.wait()
        for before in self._line[: self._number]:
            await before._left.wait()

    def leave(self) -> None:
        """Any number of times."""
        self._placed.set()
        self._left.set()


ALONE = Place()


def line(length: int) -> list[Place]:
    places: list[Place] = []
    places += [Place(places, number) for number in range(length)]
    return places
