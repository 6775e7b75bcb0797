"""What the demand is, made out of noisy samples: a fast and a slow average, the slope between them, and the peak of late.

A forecast, where there is one, may raise the level and never lowers it. All times follow from one number, the policy's `down_after`
("calm"): how long fewer instances must have been enough. The slow average is corrected for its own delay by the slope, so that it
follows a long climb or fall without lagging behind; the fast one takes over where the two disagree, which is what a burst looks like.
"""

import math
from dataclasses import dataclass

from autoscale.forecast import STEEPEST

BURST = 0.2  # the fast average takes over where it differs from the level by more than this share
PEAKS = (
    120  # how many of the highest levels of late are kept; one that would be closer to the one before it is left out
)
MARKS = 30  # how many points of the slow average are kept for the slope


@dataclass(frozen=True)
class Estimate:
    """`level`: requests a second to be ready for; `reactive`: the same without a forecast. `peak`: the highest level of late.
    `known_since`: no gap since then."""

    at: float
    fast: float
    slow: float
    reactive: float
    level: float
    peaks: tuple[tuple[float, float], ...]
    marks: tuple[tuple[float, float], ...]
    known_since: float

    @property
    def peak(self) -> float:
        return self.peaks[0][1]


def first(rate: float, now: float) -> Estimate:
    return Estimate(now, rate, rate, rate, rate, ((now, rate),), ((now, rate),), now)


def slow_constant(calm: float) -> float:
    """The slow average's time constant, which is also how far it lags behind, in seconds."""
    return 2 * calm


def follow(
    before: Estimate, rate: float, now: float, *, calm: float, lead: float, expected: float | None = None
) -> Estimate:
    """The estimate after one more sample. `lead`: how far ahead a climb is looked at, in seconds. `expected`: a forecast."""
    passed = max(0.0, now - before.at)
    fast = _towards(before.fast, rate, passed, calm / 4)
    slow = _towards(before.slow, rate, passed, slow_constant(calm))
    marks = before.marks
    if now - marks[-1][0] >= 6 * calm / MARKS:
        marks = (*(mark for mark in marks if mark[0] >= now - 6 * calm), (now, slow))
    span = now - marks[0][0]
    slope = (slow - marks[0][1]) / span if span > 0 and span >= 2 * calm else 0.0
    trend = max(0.0, slow + slope * (slow_constant(calm) + (lead if slope > 0 else 0.0)))
    reactive = max(trend, fast) if abs(fast - trend) > BURST * trend else trend
    level = reactive if expected is None else max(reactive, min(expected, STEEPEST * reactive))
    # Only levels that no later one has reached can still be the window's peak.
    peaks = tuple(entry for entry in before.peaks if entry[0] >= now - 0.6 * calm and entry[1] > level)
    if not peaks or now - peaks[-1][0] >= 0.6 * calm / PEAKS:
        peaks = (*peaks, (now, level))
    return Estimate(now, fast, slow, reactive, level, peaks, marks, before.known_since)


def _towards(value: float, rate: float, seconds: float, constant: float) -> float:
    return rate if constant <= 0 else value + (1 - math.exp(-seconds / constant)) * (rate - value)
