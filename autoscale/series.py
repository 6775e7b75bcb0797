"""Demand against supply, a minute each, for charts: rows of numbers that stay as small as the hours that they cover."""

import math
from array import array
from dataclasses import dataclass
from threading import Lock

MINUTE = 60.0
SURPLUS = 8  # a row may grow by an eighth before its old end is cut off: a cut moves the whole
ROWS = 4
Rows = tuple["array[float]", ...]


@dataclass(frozen=True)
class Point:
    """The highest of each in the minute that began at `at` (epoch seconds); None where nothing was known.

    `rate` in the unit of the first signal; `needed`: instances that the demand asks for, before any policy.
    """

    at: float
    rate: float | None
    needed: float | None
    instances: float | None
    in_rotation: float | None


class Series:
    """One app's last `minutes` minutes, without gaps: a minute that was not seen is a minute of unknowns."""

    def __init__(self, minutes: int, *, end: int = 0, rows: Rows | None = None) -> None:
        """`end`: the minute after the newest; `rows`: of the fields of Point, one number a minute."""
        self._minutes = minutes
        self._lock = Lock()  # one thread notes, others draw
        self.end = end
        self.rows = rows or tuple(array("f") for _ in range(ROWS))

    def note(
        self, at: float, rate: float | None, needed: float | None, instances: float, in_rotation: float | None
    ) -> None:
        with self._lock:
            self._note(int(at // MINUTE), (rate, needed, instances, in_rotation))

    def _note(self, minute: int, values: tuple[float | None, ...]) -> None:
        length = len(self.rows[0])
        if length and not 0 <= minute + 1 - self.end <= self._minutes:
            if minute + 1 < self.end:  # a clock that was set back: what it says now belongs to the newest minute
                minute = self.end - 1
            else:
                for row in self.rows:
                    del row[:]
                length = 0
        missing = minute + 1 - self.end if length else 1
        for row, value in zip(self.rows, values, strict=True):
            row.extend([math.nan] * missing)
            if value is not None:
                row[-1] = value if math.isnan(row[-1]) else max(row[-1], value)
            if len(row) > self._minutes + self._minutes // SURPLUS:
                del row[: len(row) - self._minutes]
        self.end = minute + 1

    def points(self) -> list[Point]:
        """Oldest first."""
        with self._lock:
            columns = [row[-self._minutes :] for row in self.rows]
            begin = self.end - len(columns[0])
        return [
            Point((begin + index) * MINUTE, *(None if math.isnan(value) else value for value in values))
            for index, values in enumerate(zip(*columns, strict=True))
        ]
