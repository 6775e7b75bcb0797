"""What surrounds the decision, as pure as it is: schedules, idleness, saturation, how fast each direction may go, and the flap budget.

`decide` says what the demand asks for. Here that is bent by the policy's behaviour. Nothing in here lowers on bad data, or in a roll-out.
"""

import math
from dataclasses import dataclass, field, replace

from autoscale.decide import START, History, Situation, decide
from autoscale.policy import Behaviour, Policy
from autoscale.sample import Quality, Sample

LEAST_FLAPS, FLAPS_AN_INSTANCE = 20, 4
MOST_REMEMBERED = 500  # changes of one app
SATURATED_STEP = 0.1  # of the instances, at least one
PARTS = 60  # into which the longest stabilisation is cut, to remember what was asked for


@dataclass(frozen=True)
class Past:
    """What is remembered of an app between two looks.

    asked       counts that the demand asked for of late, as (time, least, most) of a short while
    changes     what was accepted, as (time, count before, change)
    idle_since  since when there is proof of no request
    lag         seconds from an accepted start to rotation, as measured
    """

    history: History = field(default_factory=History)
    asked: tuple[tuple[float, int, int], ...] = ()
    changes: tuple[tuple[float, int, int], ...] = ()
    idle_since: float | None = None
    lag: float | None = None

    def accepted(self, at: float, before: int, after: int) -> "Past":
        """With a change noted that the API has taken: only those count for rates and budgets."""
        return replace(self, changes=(*self.changes, (at, before, after - before))[-MOST_REMEMBERED:])


@dataclass(frozen=True)
class Saturation:
    """The edge is short of this app's capacity: why, and whether one more instance would help now. It never lowers."""

    why: str
    raises: bool


@dataclass(frozen=True)
class Steered:
    """The count that is to be, why, and what to remember of it."""

    instances: int
    reason: str
    _before: Past
    _learned: History
    _current: int

    @property
    def past(self) -> Past:
        """If the change is accepted, or there is none."""
        return self.refused if self.instances == self._current else replace(self._before, history=self._learned)

    @property
    def refused(self) -> Past:
        """If it is refused: what was measured is kept, and nothing was spent."""
        return replace(self._before, history=self._learned.without_change(self._before.history))


def steer(
    policy: Policy,
    situation: Situation,
    sample: Sample,
    past: Past,
    now: float,
    *,
    saturation: Saturation | None = None,
) -> Steered:
    """The count that is to be, with all that the policy says of bounds and speed."""
    policy, why = bounds_at(policy, now, past.lag or 0.0)
    current = situation.instances
    past = _pruned(_with_idleness(past, sample, now), policy, now)
    # Nothing but proof of idleness takes the last instance.
    floor = max(1, policy.min) if current > 0 else policy.min
    believed = _believable(policy, situation, sample)
    lag = START if past.lag is None else past.lag
    floored = policy if floor == policy.min else replace(policy, min=floor)
    decided = decide(floored, situation, believed, past.history, now, lag=lag)
    wanted, reason = decided.instances, decided.reason
    if sample.quality is Quality.PARTIAL:
        reason = f"partial data may raise, not lower; {reason}"
    if policy.min == 0 and current > 0 and past.idle_since is not None and now - past.idle_since >= policy.idle_after:
        wanted, reason = 0, f"no request for {now - past.idle_since:.0f} s: to zero"
    elif current == 0 and policy.min == 0 and wanted > 0:
        # The averages of before say nothing to an app at zero: a request does.
        wanted, reason = (
            (wanted, f"woken by a request; {reason}") if sample.rate > 0 else (0, "no request: stays at zero")
        )
    if saturation and saturation.raises and wanted <= current < policy.max and current > 0:
        wanted = min(policy.max, current + max(1, math.ceil(current * SATURATED_STEP)))
        reason = f"{saturation.why}; {reason}"
    if (longest := _longest(policy)) > 0:
        past = replace(past, asked=_with_asked(past.asked, now, _least(policy, sample, wanted), wanted, longest))
    outside = not policy.min <= current <= policy.max
    wanted, held = _bent(policy, situation, sample, past, wanted, now, saturation, outside=outside)
    reason = "; ".join(part for part in (held, reason, why) if part)
    return Steered(wanted, reason, past, decided.history, current)


def bounds_at(policy: Policy, now: float, lag: float) -> tuple[Policy, str]:
    """The policy with the bounds that hold now. A window opens early by the start's lag: its instances serve when it begins.

    Of several windows the highest bounds hold.
    """
    active = [one for one in policy.schedules if one.is_active(now, lag)]
    if not active:
        return policy, ""
    lows = [one.min for one in active if one.min is not None]
    highs = [one.max for one in active if one.max is not None]
    low = max(lows, default=policy.min)
    high = max(max(highs, default=policy.max), low)
    return replace(policy, min=min(low, high), max=high), f"schedule: {low} to {high}"


def _believable(policy: Policy, situation: Situation, sample: Sample) -> Sample:
    """Partial data says that there is at least so much: a reason to raise where that is more than is there, else as good as none."""
    if sample.quality is not Quality.PARTIAL:
        return sample
    enough = situation.instances * policy.target * (1 + policy.tolerance)
    return replace(sample, quality=Quality.FRESH if sample.rate > enough else Quality.STALE)


def _bent(
    policy: Policy,
    situation: Situation,
    sample: Sample,
    past: Past,
    wanted: int,
    now: float,
    saturation: Saturation | None,
    *,
    outside: bool,
) -> tuple[int, str]:
    """The count after all that may hold it back, and what did. Bounds come before speed: `outside` of them only roll-outs wait."""
    current = situation.instances
    if wanted > current and not outside:
        return _upwards(policy.up, past, current, wanted, now)
    if wanted < current:
        if situation.deploying:
            return current, "a deployment is running"
        if outside:
            return wanted, ""
        if not sample.quality.may_lower and sample.quality is not Quality.UNPROVEN_ZERO:
            return current, "no fresh data"
        if saturation:
            return current, f"saturated: {saturation.why}"
        return _downwards(policy, past, current, wanted, now)
    return wanted, ""


def _upwards(behaviour: Behaviour, past: Past, current: int, wanted: int, now: float) -> tuple[int, str]:
    if behaviour.select == "off":
        return current, "scaling up is off"
    mildest = wanted
    if behaviour.stabilisation > 0:
        since = now - behaviour.stabilisation
        full = any(at <= since for at, _, _ in past.asked)
        mildest = min((least for at, least, _ in past.asked if at >= since), default=wanted) if full else current
        mildest = max(current, mildest)
    limit = _limit(behaviour, past, current, now, up=True)
    if limit is not None and limit < mildest:
        return max(current, limit), f"{wanted} needed, {max(current, limit)} allowed by the rate"
    return mildest, f"{wanted} needed, but not yet for {behaviour.stabilisation:g} s" if mildest < wanted else ""


def _downwards(policy: Policy, past: Past, current: int, wanted: int, now: float) -> tuple[int, str]:
    behaviour = policy.down
    if behaviour.select == "off":
        return current, "scaling down is off"
    mildest = wanted
    if behaviour.stabilisation > 0:
        mildest = max(most for at, _, most in past.asked if at >= now - behaviour.stabilisation)
    limit = _limit(behaviour, past, current, now, up=False)
    if limit is not None and limit > mildest:
        mildest = limit
    mildest = min(current, mildest)
    if mildest < current and (spent := _flaps_spent(policy, past, current, now)):
        return current, f"flap budget: {spent}"
    return mildest, f"{wanted} would do, {mildest} allowed by the rate" if mildest > wanted else ""


def _limit(behaviour: Behaviour, past: Past, current: int, now: float, *, up: bool) -> int | None:
    """The furthest count that the rates allow, None where there are none. Rates count from the period's begin, as HPA's do."""
    limits = []
    for rate in behaviour.rates:
        moved = sum(change for at, _, change in past.changes if at > now - rate.period and (change > 0) == up)
        begin = current - moved
        step = rate.value if rate.kind == "instances" else begin * rate.value / 100
        # Up is rounded up and down is rounded down to the next step: a rate above 0 always allows some progress.
        limits.append(-int(-(begin + step) // 1) if up else max(0, int((begin - step) // 1)))
    if not limits:
        return None
    generous = max if up else min
    strict = min if up else max
    return (generous if behaviour.select == "max" else strict)(limits)


def _flaps_spent(policy: Policy, past: Past, current: int, now: float) -> str:
    """Why no instance may be taken away: so many have been started and stopped. "" while the budget lasts."""
    if policy.flaps == 0:
        return ""
    recent = [(before, change) for at, before, change in past.changes if at > now - policy.flap_window]
    largest = max([current, *(max(before, before + change) for before, change in recent)])
    budget = max(LEAST_FLAPS, FLAPS_AN_INSTANCE * largest) if policy.flaps is None else policy.flaps
    spent = sum(abs(change) for _, change in recent)
    return f"{spent} starts and stops in {policy.flap_window:g} s, {budget} allowed" if spent >= budget else ""


def _with_idleness(past: Past, sample: Sample, now: float) -> Past:
    if sample.quality is not Quality.TRUE_ZERO:
        return replace(past, idle_since=None)
    return past if past.idle_since is not None else replace(past, idle_since=now)


def _least(policy: Policy, sample: Sample, wanted: int) -> int:
    """What this moment alone asks for, where that is less than what the moments before it ask for: a burst is over when it is over."""
    if not sample.quality.may_lower:
        return wanted
    return min(wanted, math.ceil(sample.rate / (policy.target * (1 + policy.tolerance)) - 1e-9))


def _longest(policy: Policy) -> float:
    return max(policy.up.stabilisation, policy.down.stabilisation)


def _with_asked(
    asked: tuple[tuple[float, int, int], ...], now: float, least: int, most: int, keep: float
) -> tuple[tuple[float, int, int], ...]:
    if asked and now - asked[-1][0] < keep / PARTS:
        at, least_before, most_before = asked[-1]
        return (*asked[:-1], (at, min(least_before, least), max(most_before, most)))
    kept = tuple(entry for entry in asked if entry[0] >= now - 1.5 * keep)
    return (*kept, (now, least, most))


def _pruned(past: Past, policy: Policy, now: float) -> Past:
    if not past.changes:
        return past
    periods = [rate.period for behaviour in (policy.up, policy.down) for rate in behaviour.rates]
    oldest = now - max([policy.flap_window, *periods])
    if past.changes[0][0] >= oldest:
        return past
    return replace(past, changes=tuple(change for change in past.changes if change[0] >= oldest))
