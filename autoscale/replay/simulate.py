"""A simulated cluster under a trace's demand, with a policy at the wheel: what would have been in rotation when."""

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Protocol

from autoscale.replay.trace import GAP, Trace


class Scaler(Protocol):
    """An autoscaler as the simulation sees it: asked every `period` seconds for the count that is to be."""

    period: float

    def tick(self, now: float, rate: float | None, instances: int, in_rotation: int) -> int:
        """`rate`: requests a second as measured, None where the metric is away. `instances`: the count asked for last."""


@dataclass(frozen=True)
class Cluster:
    """What an instance is: `target` requests a second, `headroom` of its capacity, `start_delay` seconds to rotation."""

    target: float
    min: int = 1
    max: int = 1000
    start_delay: float = 60.0
    headroom: float = 0.7

    @property
    def capacity(self) -> float:
        return self.target / self.headroom

    def demanded(self, rate: float) -> int:
        return max(self.min, min(self.max, math.ceil(rate / self.target - 1e-9)))


@dataclass(frozen=True)
class Moment:
    """From `at` for `seconds`: the demand (None in a gap), what was asked for, and what was in rotation."""

    at: float
    seconds: float
    rate: float | None
    instances: int
    in_rotation: int


@dataclass(frozen=True)
class Outage:
    """When the metric lies: `absent` gives nothing, `frozen` its last value, `zero` reads 0."""

    start: float
    end: float
    kind: str


def simulate(trace: Trace, cluster: Cluster, scaler: Scaler, outage: Outage | None = None) -> list[Moment]:
    """Instances that are asked for enter rotation after the start delay; those taken away leave at once, the youngest first."""
    moments: list[Moment] = []
    now, end = trace.times[0], trace.end
    instances = cluster.demanded(trace.rates[0])
    ready, starting = instances, []  # type: ignore[var-annotated]
    frozen: float | None = None
    gap = GAP * trace.step
    while now < end:
        index = bisect_right(trace.times, now) - 1
        rate: float | None = trace.rates[index] if now - trace.times[index] < gap else None
        while starting and starting[0] <= now:
            starting.pop(0)
            ready += 1
        seen = rate
        if outage and outage.start <= now < outage.end:
            seen = {"absent": None, "frozen": frozen, "zero": 0.0}[outage.kind]
        else:
            frozen = rate
        wanted = max(cluster.min, min(cluster.max, scaler.tick(now, seen, instances, ready)))
        if wanted > instances:
            starting += [now + cluster.start_delay] * (wanted - instances)
        for _ in range(instances - wanted):
            if starting:
                starting.pop()
            else:
                ready -= 1
        instances = wanted
        if cluster.start_delay == 0:
            ready, starting = instances, []
        moments.append(Moment(now, min(scaler.period, end - now), rate, instances, ready))
        now += scaler.period
    return moments
