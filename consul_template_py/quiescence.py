"""When is a burst of changes over? Pure: the time comes in, the time to act goes out.

`min` is a quiet period, started again by each change; `max` is the longest that the first change of a burst waits.
"""

from dataclasses import dataclass

from daemonkit.settings import parse_seconds


@dataclass(frozen=True, slots=True)
class Wait:
    """Seconds. `Wait(0, 0)` acts at once."""

    min: float = 0.0
    max: float = 0.0

    def __post_init__(self) -> None:
        if self.min < 0 or self.max < self.min:
            raise ValueError(f"wait: min {self.min} and max {self.max} must be 0 <= min <= max")


def parse_wait(text: str) -> Wait:
    """`"2s"` or `"2s:10s"`; max is 4 × min where it is not given, as in consul-template. Raises ValueError."""
    parts = [parse_seconds(part.strip()) for part in text.split(":")]
    try:
        values = [float(part) for part in parts]  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ValueError(f"{text!r} is not min[:max], such as 2s:10s") from None
    if len(values) not in (1, 2):
        raise ValueError(f"{text!r} is not min[:max], such as 2s:10s")
    return Wait(values[0], values[1] if len(values) == 2 else values[0] * 4)


@dataclass(frozen=True, slots=True)
class Burst:
    """Changes not yet acted on: when the first and the last of them came."""

    first: float
    last: float


def changed(burst: Burst | None, now: float) -> Burst:
    return Burst(now, now) if burst is None else Burst(burst.first, now)


def due(burst: Burst, wait: Wait) -> float:
    """The time at which to act."""
    return min(burst.last + wait.min, burst.first + wait.max)
