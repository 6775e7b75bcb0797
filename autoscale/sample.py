"""Counters -> rates. A sample says how good it is; only a good one may lower an instance count."""

from dataclasses import dataclass
from enum import Enum


class Quality(Enum):
    FRESH = "fresh"
    TRUE_ZERO = "true zero"  # no request, and the counter that says so is there and did not fall
    UNPROVEN_ZERO = "unproven zero"  # reads zero, and nothing tells that from a source that has lost its data
    STALE = "stale"  # the source did not answer, or its counter was reset in the window: the rate is not known


@dataclass(frozen=True)
class Reading:
    """One look at a load balancer: `at` (epoch seconds), when it was started, and requests served so far, by app."""

    at: float
    started: float
    totals: dict[str, float]


@dataclass(frozen=True)
class Sample:
    """Requests a second over the window that ended at `at`."""

    at: float
    rate: float
    quality: Quality


@dataclass(frozen=True)
class Readings:
    """The readings of the last `window` seconds, oldest first, all from the same run of the load balancer."""

    window: float
    readings: tuple[Reading, ...] = ()

    def with_reading(self, reading: Reading) -> "Readings":
        """A restart of the load balancer resets its counters: what was read before it says nothing any more."""
        kept = [old for old in self.readings if old.at >= reading.at - self.window and old.started == reading.started]
        return Readings(self.window, (*kept, reading))

    def sample(self, app_id: str, now: float, *, fresh_for: float) -> Sample:
        """The rate over the window. Needs two readings, the last of them not older than `fresh_for` seconds.

        Zero is true where the counter is still there and stands still; where it is gone, nothing proves that traffic is.
        """
        if len(self.readings) < 2 or now - self.readings[-1].at > fresh_for:
            return Sample(now, 0.0, Quality.STALE)
        first, last = self.readings[0], self.readings[-1]
        delta = last.totals.get(app_id, 0.0) - first.totals.get(app_id, 0.0)
        if delta < 0 or last.at <= first.at:
            return Sample(now, 0.0, Quality.STALE)
        if delta == 0:
            return Sample(now, 0.0, Quality.TRUE_ZERO if app_id in last.totals else Quality.UNPROVEN_ZERO)
        return Sample(now, delta / (last.at - first.at), Quality.FRESH)
