"""Counters -> rates. A sample says how good it is; only a good one may lower an instance count."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

SAME_RUN = 2.0  # seconds by which a start time that is computed from an uptime may be off
FELL_TOGETHER = (
    3  # so many apps whose traffic ends at one moment are rather a source that has lost it than users who have left
)


class Quality(Enum):
    FRESH = "fresh"
    TRUE_ZERO = "true zero"  # no request, and the counter that says so is there and did not fall
    UNPROVEN_ZERO = "unproven zero"  # reads zero, and nothing tells that from a source that has lost its data
    PARTIAL = "partial"  # some of the sources answered: there is at least as much as this
    STALE = "stale"  # the source did not answer, or its counter was reset in the window: the rate is not known

    @property
    def may_lower(self) -> bool:
        return self in (Quality.FRESH, Quality.TRUE_ZERO)


Numbers = Mapping[str, float]
NONE: Numbers = {}


@dataclass(frozen=True)
class Reading:
    """One look at a load balancer at `at` (epoch seconds). What it counted by app since it was `started`:

    totals  requests                errors    those answered with 5xx
    seconds their time, summed up   answered  how many were timed
    And what it is like at that moment: `active` requests under way, `queued` ones, `mean` time of the last ones in seconds.
    `beat` moves with every moment while the source lives: one that stands still is a frozen source.
    """

    at: float
    started: float
    totals: Numbers
    errors: Numbers = field(default_factory=dict)
    seconds: Numbers = field(default_factory=dict)
    answered: Numbers = field(default_factory=dict)
    active: Numbers = field(default_factory=dict)
    queued: Numbers = field(default_factory=dict)
    mean: Numbers = field(default_factory=dict)
    beat: float | None = None


@dataclass(frozen=True)
class Sample:
    """Requests a second over the window that ended at `at`."""

    at: float
    rate: float
    quality: Quality


@dataclass(frozen=True)
class Traffic:
    """An app's traffic over a window. `latency` (seconds) is None where nothing was answered or timed."""

    sample: Sample
    active: float = 0.0
    queued: float = 0.0
    error_rate: float = 0.0
    latency: float | None = None


@dataclass(frozen=True)
class Readings:
    """The readings of the last `window` seconds of one load balancer, oldest first, all from the same run of it."""

    window: float
    readings: tuple[Reading, ...] = ()
    lost_at: float | None = None  # when the traffic of several apps ended at one moment, until there is some again

    def with_reading(self, reading: Reading) -> "Readings":
        """A restart of the load balancer resets its counters: what was read before it says nothing any more."""
        kept = [
            old
            for old in self.readings
            # One that is later than this one was read before the clock was set back.
            if reading.at - self.window <= old.at < reading.at and abs(old.started - reading.started) <= SAME_RUN
        ]
        after = Readings(self.window, (*kept, reading), self.lost_at)
        if after._moved:
            lost_at = None
        elif len(self._moved) >= FELL_TOGETHER:
            lost_at = reading.at
        else:
            lost_at = self.lost_at
        return Readings(self.window, after.readings, lost_at)

    @cached_property
    def _moved(self) -> frozenset[str]:
        """The apps that had a request in the window."""
        if len(self.readings) < 2:
            return frozenset()
        before, after = self.readings[0].totals, self.readings[-1].totals
        return frozenset(app for app, total in after.items() if total > before.get(app, 0.0))

    @cached_property
    def _frozen(self) -> bool:
        """Whether the newest reading is a picture of a moment that is over."""
        first, last = self.readings[0], self.readings[-1]
        return first.beat is not None and first.beat == last.beat and last.at - first.at >= self.window / 2

    def sample(self, app: str, now: float, *, fresh_for: float) -> Sample:
        """The rate over the window. Needs two readings, the last of them not older than `fresh_for` seconds.

        Zero is true where the counter is still there and stands still, and other apps' traffic did not end at the same moment.
        """
        if len(self.readings) < 2 or not 0 <= now - self.readings[-1].at <= fresh_for or self._frozen:
            return Sample(now, 0.0, Quality.STALE)
        first, last = self.readings[0], self.readings[-1]
        delta = last.totals.get(app, 0.0) - first.totals.get(app, 0.0)
        if delta < 0 or last.at <= first.at:
            return Sample(now, 0.0, Quality.STALE)
        if delta == 0:
            proven = app in last.totals and app in first.totals and self.lost_at is None
            return Sample(now, 0.0, Quality.TRUE_ZERO if proven else Quality.UNPROVEN_ZERO)
        return Sample(now, delta / (last.at - first.at), Quality.FRESH)

    def traffic(self, app: str, now: float, *, fresh_for: float) -> Traffic:
        sample = self.sample(app, now, fresh_for=fresh_for)
        if sample.quality is Quality.STALE:
            return Traffic(sample)
        first, last = self.readings[0], self.readings[-1]
        passed = last.at - first.at
        answered = _grown(first.answered, last.answered, app)
        latency = _grown(first.seconds, last.seconds, app) / answered if answered > 0 else last.mean.get(app)
        active = sum(reading.active.get(app, 0.0) for reading in self.readings) / len(self.readings)
        errors = _grown(first.errors, last.errors, app) / passed
        return Traffic(sample, active, last.queued.get(app, 0.0), errors, latency if sample.rate > 0 else None)


def _grown(before: Numbers, after: Numbers, app: str) -> float:
    return max(0.0, after.get(app, 0.0) - before.get(app, 0.0))


def together(parts: Sequence[Traffic], now: float, *, quorum: int) -> Traffic:
    """The traffic over all load balancers that are to answer.

    Fewer than `quorum` good ones: nothing is known. Not all of them: there is at least that much. A zero is true where all prove it.
    """
    good = [part for part in parts if part.sample.quality is not Quality.STALE]
    rate = sum(part.sample.rate for part in good)
    if len(good) < max(1, quorum):
        quality = Quality.STALE
    elif len(good) < len(parts):
        quality = Quality.PARTIAL
    elif rate > 0:
        quality = Quality.FRESH
    elif all(part.sample.quality is Quality.TRUE_ZERO for part in good):
        quality = Quality.TRUE_ZERO
    else:
        quality = Quality.UNPROVEN_ZERO
    timed = [(part.latency, part.sample.rate) for part in good if part.latency is not None]
    weight = sum(share for _, share in timed)
    return Traffic(
        Sample(now, rate if quality is not Quality.STALE else 0.0, quality),
        sum(part.active for part in good),
        sum(part.queued for part in good),
        sum(part.error_rate for part in good),
        sum(latency * share for latency, share in timed) / weight if weight > 0 else None,
    )
