"""How well a policy met the demand, at what cost, and how calmly. The measures are those of elasticity research (θ and τ)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from autoscale.replay.simulate import Cluster, Moment

DAY = 86_400.0


@dataclass(frozen=True)
class Score:
    """θU, θO: mean share of demanded instances that were missing, or idle, in %. τU, τO: share of time under, or over, in %.

    `lost_pct`: requests above the capacity in rotation. An action is a change of the count; a reversal one that goes the other way
    than the one before it.
    """

    theta_u: float
    theta_o: float
    tau_u: float
    tau_o: float
    lost_pct: float
    instance_hours: float
    actions_per_day: float
    reversals_per_day: float


def score(moments: Sequence[Moment], cluster: Cluster) -> Score:
    """Times of which the demand is not known count for cost and calm, not for how the demand was met."""
    under = over = time_under = time_over = known = lost = asked = hours = 0.0
    for moment in moments:
        hours += moment.instances * moment.seconds / 3600
        if moment.rate is None:
            continue
        demanded = cluster.demanded(moment.rate)
        missing = demanded - moment.in_rotation
        known += moment.seconds
        if missing > 0:
            under += missing / max(1, demanded) * moment.seconds
            time_under += moment.seconds
        elif missing < 0:
            over += -missing / max(1, demanded) * moment.seconds
            time_over += moment.seconds
        asked += moment.rate * moment.seconds
        lost += max(0.0, moment.rate - moment.in_rotation * cluster.capacity) * moment.seconds
    days = sum(moment.seconds for moment in moments) / DAY
    steps = [
        after.instances - before.instances for before, after in pairwise(moments) if after.instances != before.instances
    ]
    reversals = sum(1 for before, after in pairwise(steps) if before * after < 0)
    return Score(
        theta_u=100 * under / known if known else 0.0,
        theta_o=100 * over / known if known else 0.0,
        tau_u=100 * time_under / known if known else 0.0,
        tau_o=100 * time_over / known if known else 0.0,
        lost_pct=100 * lost / asked if asked else 0.0,
        instance_hours=hours,
        actions_per_day=len(steps) / days,
        reversals_per_day=reversals / days,
    )


def seconds_to(moments: Sequence[Moment], start: float, count: int) -> float | None:
    """How long after `start` the count asked for first reached `count`."""
    return next((moment.at - start for moment in moments if moment.at >= start and moment.instances >= count), None)


def removed_during(moments: Sequence[Moment], start: float, end: float) -> int:
    """How many instances were taken away, at the most, between `start` and `end`."""
    inside = [moment.instances for moment in moments if start <= moment.at < end]
    before = next((moment.instances for moment in reversed(moments) if moment.at < start), inside[0])
    return max(0, before - min(inside))
