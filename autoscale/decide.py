"""The decision: pure, from a sample, the policy, history, deployment state and now to an instance count and the reason for it.

The laws of this room: bad data may hold or raise, never lower; nothing is taken away during a deployment; bounds are kept.

The count is right while each instance serves no more than target × (1 + tolerance); of an app with few instances less, as each of them
carries more of a burst. Above that the count rises at once. It falls when the peak of late would have fitted into fewer instances with a
margin. Going on in a direction is cheap and turning round is not, so turning needs more: a wider margin, and on the way down a time since
the last rise. The margin widens with every turn in the last hours: where the demand makes an app swing, it is left with an instance more
instead of being started and stopped again.
"""

import math
from dataclasses import dataclass, field, replace

from autoscale import estimate
from autoscale.estimate import Estimate
from autoscale.forecast import Season
from autoscale.policy import Policy
from autoscale.sample import Quality, Sample

# A single sample this far above what the instances are to serve is acted on without waiting for an average.
SURGE = 1.26
FEW = 3  # instances below which the tolerance shrinks in step
TURN_UP_MARGIN = 1.06
DOWN_MARGIN = 0.97
TURN_DOWN_MARGIN = 0.86
MARGIN_STEP = 0.05  # for each reversal that is remembered
LEAST_MARGIN = 0.6
REVERSALS_REMEMBERED = 6 * 3600.0
TURN_DOWN_AFTER = (6.0, 1800.0)  # times the policy's `down_after`, and seconds at the most, since the last rise
START = 60.0  # seconds to rotation where none has been measured
LOOK = 15.0  # seconds between two looks, about
MOST = 1e9  # instances that are reckoned with; bounds come after that
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
    raised_at: float | None = None
    zero_since: float | None = None  # since when an unproven zero is read
    season: Season = field(default_factory=Season)

    def after(self, change: int, now: float) -> "History":
        """With a change of the count noted: its direction, and whether it turned back."""
        if change == 0:
            return self
        direction = 1 if change > 0 else -1
        kept = tuple(at for at in self.reversals if at > now - REVERSALS_REMEMBERED)
        return replace(
            self,
            direction=direction,
            reversals=(*kept, now) if direction == -self.direction else kept,
            raised_at=now if direction > 0 else self.raised_at,
        )

    def without_change(self, before: "History") -> "History":
        """What was learned, where what was decided is not done."""
        return replace(self, direction=before.direction, reversals=before.reversals, raised_at=before.raised_at)


@dataclass(frozen=True)
class Decision:
    """`instances` is what is to be; equal to the current count when nothing is to be done."""

    instances: int
    reason: str
    history: History


def decide(
    policy: Policy, situation: Situation, sample: Sample, history: History, now: float, *, lag: float = START
) -> Decision:
    """`lag`: seconds from a start to rotation, as measured."""
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

    history = _learned(policy, sample.rate, history, now, lag + LOOK)
    wanted, reason = _wanted(policy, situation, sample.rate, history, now)
    return Decision(wanted, reason, history.after(wanted - current, now))


def _learned(policy: Policy, rate: float, history: History, now: float, lead: float) -> History:
    before = history.estimate
    if before is None:
        return replace(history, estimate=estimate.first(rate, now))
    calm, season = policy.down_after, history.season
    # The slow average of that time is the demand of as long before as it lags behind.
    ahead = lead + calm + estimate.slow_constant(calm)
    believed = policy.forecast == "on" or (policy.forecast == "auto" and season.is_better)
    expected = season.expects(before.slow, now, ahead) if believed else None
    known = estimate.follow(before, rate, now, calm=calm, lead=lead, expected=expected)
    return replace(history, estimate=known, season=season.after(known.slow, known.reactive, now, ahead))


def _wanted(policy: Policy, situation: Situation, rate: float, history: History, now: float) -> tuple[int, str]:
    current, known = situation.instances, history.estimate
    assert known is not None
    level = max(known.level, rate) if rate > SURGE * _serve(policy, current) else known.level
    measured = f"{rate:.1f} {policy.unit} of {policy.target:g} an instance"
    if level > max(known.reactive, rate):
        measured += f", {level:.1f} as forecast"
    if level > _turn_up_margin(history, current) * _serve(policy, current):
        needed = _clamp(_needed(policy, level), policy)
        if needed > current:
            return needed, f"{measured}: {needed} needed"
        return current, f"{measured}: {_needed(policy, level)} needed, but {policy.max} is the most"

    fewer = _clamp(_needed(policy, known.peak / _down_margin(history, now)), policy)
    if fewer >= current:
        return current, f"{measured}: {current} is right"
    if situation.deploying:
        return current, f"{measured}: {fewer} would do, but a deployment is running"
    if now - known.known_since < policy.down_after:
        return current, f"{measured}: {fewer} would do, but not yet for {policy.down_after:g} s"
    times, most = TURN_DOWN_AFTER
    pause = min(most, times * policy.down_after)
    if history.direction > 0 and history.raised_at is not None and now - history.raised_at < pause:
        return current, f"{measured}: {fewer} would do, but it rose less than {pause:g} s ago"
    return fewer, f"{measured}: {fewer} have been enough of late"


def _turn_up_margin(history: History, current: int) -> float:
    return 1 + (TURN_UP_MARGIN - 1) * min(1.0, current / FEW) if history.direction < 0 else 1.0


def _down_margin(history: History, now: float) -> float:
    recent = sum(1 for at in history.reversals if at > now - REVERSALS_REMEMBERED)
    margin = TURN_DOWN_MARGIN if history.direction > 0 else DOWN_MARGIN
    return max(LEAST_MARGIN, margin - MARGIN_STEP * recent)


def _serve(policy: Policy, count: int) -> float:
    """Requests a second that so many instances are to serve at the most."""
    return count * policy.target * (1 + policy.tolerance * min(1.0, count / FEW))


def _needed(policy: Policy, level: float) -> int:
    count = _ceil(min(MOST, level / (policy.target * (1 + policy.tolerance))))
    while count < FEW and _serve(policy, count) < level - 1e-9 * level:
        count += 1
    return count


def _ceil(count: float) -> int:
    return math.ceil(count - 1e-9)


def _clamp(count: int, policy: Policy) -> int:
    return max(policy.min, min(policy.max, count))
