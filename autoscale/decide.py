"""The decision: pure, from a sample, the policy, history, deployment state and now to an instance count and the reason for it.

The laws of this room: bad data may hold or raise, never lower; nothing is taken away during a deployment; bounds are kept.

The count is right while each instance serves no more than target × (1 + tolerance). Above that the count rises at once. It falls when the
peak of late would have fitted into fewer instances with a margin, and the margin widens with every change of direction in the last hours:
where the demand makes an app swing, it is left with an instance more instead of being started and stopped again.
"""

import math
from dataclasses import dataclass, replace

from autoscale import estimate
from autoscale.estimate import Estimate
from autoscale.policy import Policy
from autoscale.sample import Quality, Sample

SURGE = (
    1.15  # a single sample this far above what the instances are to serve is acted on without waiting for an average
)
UP_MARGIN = 1.02
DOWN_MARGIN = 0.93
DOWN_MARGIN_STEP = 0.05  # for each reversal that is remembered
DOWN_MARGIN_LEAST = 0.6
REVERSALS_REMEMBERED = 6 * 3600.0
LEAD = 75.0  # seconds: a start and a look
ZERO_BELIEVED_AFTER = 900.0  # seconds that an unproven zero is held against


@dataclass(frozen=True)
class Situation:
    """An app as the API shows it."""

    instances: int
    deploying: bool


@dataclass(frozen=True)
class History:
    """What is remembered of an app between two looks."""

    estimate: Estimate | None = None
    reversals: tuple[float, ...] = ()
    direction: int = 0
    zero_since: float | None = None  # since when an unproven zero is read

    def after(self, change: int, now: float) -> "History":
        """With a change of the count noted: its direction, and whether it turned back."""
        if change == 0:
            return self
        direction = 1 if change > 0 else -1
        kept = tuple(at for at in self.reversals if at > now - REVERSALS_REMEMBERED)
        return replace(self, direction=direction, reversals=(*kept, now) if direction == -self.direction else kept)


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
    if sample.quality is Quality.STALE:
        # The time without data must not count as time in which few instances were enough.
        return Decision(current, "no fresh sample: held", replace(history, estimate=None))
    if sample.quality is Quality.UNPROVEN_ZERO:
        since = now if history.zero_since is None else history.zero_since
        history = replace(history, zero_since=since)
        if now - since < ZERO_BELIEVED_AFTER:
            reason = f"reads zero, which nothing proves: held for {ZERO_BELIEVED_AFTER:g} s"
            return Decision(current, reason, replace(history, estimate=None))
    else:
        history = replace(history, zero_since=None)

    known = history.estimate
    known = (
        estimate.follow(known, sample.rate, now, calm=policy.down_after, lead=LEAD)
        if known
        else estimate.first(sample.rate, now)
    )
    history = replace(history, estimate=known)
    wanted, reason = _wanted(policy, situation, sample.rate, known, history, now)
    return Decision(wanted, reason, history.after(wanted - current, now))


def _wanted(
    policy: Policy, situation: Situation, rate: float, known: Estimate, history: History, now: float
) -> tuple[int, str]:
    current = situation.instances
    serves = policy.target * (1 + policy.tolerance)
    level = max(known.level, rate) if rate > SURGE * current * serves else known.level
    measured = f"{rate:.1f} requests/s of {policy.target:g} an instance"
    if level > UP_MARGIN * current * serves:
        needed = _clamp(_ceil(level / serves), policy)
        if needed > current:
            return needed, f"{measured}: {needed} needed"
        return current, f"{measured}: {_ceil(level / serves)} needed, but {policy.max} is the most"

    recent = sum(1 for at in history.reversals if at > now - REVERSALS_REMEMBERED)
    margin = max(DOWN_MARGIN_LEAST, DOWN_MARGIN - DOWN_MARGIN_STEP * recent)
    fewer = _clamp(_ceil(known.peak / (serves * margin)), policy)
    if fewer >= current:
        return current, f"{measured}: {current} is right"
    if situation.deploying:
        return current, f"{measured}: {fewer} would do, but a deployment is running"
    if now - known.known_since < policy.down_after:
        return current, f"{measured}: {fewer} would do, but not yet for {policy.down_after:g} s"
    return fewer, f"{measured}: {fewer} have been enough of late"


def _ceil(count: float) -> int:
    return math.ceil(count - 1e-9)


def _clamp(count: int, policy: Policy) -> int:
    return max(policy.min, min(policy.max, count))
