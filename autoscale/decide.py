"""The decision: pure, from samples, policy, history and now to an instance count and the reason for it.

Bad data may hold or raise, never lower: that is the one law of this room.
"""

import math
from dataclasses import dataclass

from autoscale.policy import Policy
from autoscale.sample import Quality, Sample


@dataclass(frozen=True)
class Situation:
    """An app as the API shows it."""

    instances: int
    deploying: bool


@dataclass(frozen=True)
class History:
    """How many instances the demand of each moment asked for: `(epoch seconds, count)`, oldest first."""

    wanted: tuple[tuple[float, int], ...] = ()

    def with_wanted(self, at: float, count: int, keep: float) -> "History":
        return History((*(entry for entry in self.wanted if entry[0] > at - keep), (at, count)))

    def covers(self, now: float, seconds: float) -> bool:
        """Whether the demand of the last `seconds` is known; a gap at the start of the window means it is not."""
        return bool(self.wanted) and self.wanted[0][0] <= now - seconds


@dataclass(frozen=True)
class Decision:
    """`instances` is what is to be; equal to the current count when nothing is to be done."""

    instances: int
    reason: str
    history: History


def decide(policy: Policy, situation: Situation, sample: Sample, history: History, now: float) -> Decision:
    current = situation.instances
    bounded = _clamp(current, policy)
    if bounded != current and not (situation.deploying and bounded < current):
        return Decision(bounded, f"{current} is outside the bounds {policy.min} to {policy.max}", history)
    if sample.quality is not Quality.FRESH:
        # The time without data must not count as time in which few instances were enough.
        return Decision(current, "no fresh sample: held", History())

    wanted = _clamp(_needed(policy, current, sample.rate), policy)
    # Twice the window is kept, so that what is one step older than it still proves that the window is covered.
    history = history.with_wanted(now, wanted, 2 * policy.down_after + 60)
    measured = f"{sample.rate:.1f} requests/s of {policy.target:g} an instance"
    if wanted > current:
        return Decision(wanted, f"{measured}: {wanted} needed", history)
    if wanted == current:
        return Decision(current, f"{measured}: {current} is right", history)
    if situation.deploying:
        return Decision(current, f"{measured}: {wanted} would do, but a deployment is running", history)
    if not history.covers(now, policy.down_after):
        return Decision(current, f"{measured}: {wanted} would do, but not yet for {policy.down_after:g} s", history)
    peak = max(count for at, count in history.wanted if at >= now - policy.down_after)
    if peak < current:
        return Decision(peak, f"{measured}: no more than {peak} needed for {policy.down_after:g} s", history)
    return Decision(current, f"{measured}: {peak} were needed within {policy.down_after:g} s", history)


def _needed(policy: Policy, current: int, rate: float) -> int:
    """Rate over target, rounded up; the current count while the rate is within the tolerance of it."""
    if current > 0 and abs(rate / (current * policy.target) - 1) <= policy.tolerance:
        return current
    return math.ceil(rate / policy.target - 1e-9)


def _clamp(count: int, policy: Policy) -> int:
    return max(policy.min, min(policy.max, count))
