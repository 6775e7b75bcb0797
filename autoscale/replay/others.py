"""Other autoscalers, as faithful to their documented algorithms as a simulation of requests per second allows.

Source of each: the comparison table and the algorithm's description in its own documentation (defaults everywhere).
"""

import math
from collections import deque
from dataclasses import dataclass, field


@dataclass
class MarathonLbAutoscale:
    """marathon-lb-autoscale: an average of ten samples a minute apart, three breaches in a row, 900 s between scalings.

    A missing metric is averaged as 0, as it does.
    """

    target: float
    period: float = 60.0
    samples: int = 10
    threshold_percent: float = 0.5
    threshold_instances: int = 3
    breaches_needed: int = 3
    cooldown: float = 900.0
    _seen: deque[float] = field(default_factory=deque)
    _breaches: int = 0
    _scaled_at: float = -math.inf

    def tick(self, now: float, rate: float | None, instances: int, in_rotation: int) -> int:
        self._seen.append(rate or 0.0)
        while len(self._seen) > self.samples:
            self._seen.popleft()
        wanted = max(1, math.ceil(sum(self._seen) / len(self._seen) / self.target))
        error = abs(wanted - instances)
        if error == 0 or (error / max(1, instances) < self.threshold_percent and error < self.threshold_instances):
            self._breaches = 0
            return instances
        self._breaches += 1
        if self._breaches < self.breaches_needed or now - self._scaled_at <= self.cooldown:
            return instances
        self._breaches, self._scaled_at = 0, now
        return wanted


@dataclass
class HorizontalPodAutoscaler:
    """Kubernetes HPA v2: every 15 s; 10 % tolerance; up by max(100 %, 4) in 15 s; down to the most wanted of the last 300 s."""

    target: float
    period: float = 15.0
    tolerance: float = 0.1
    stabilization: float = 300.0
    _wanted: deque[tuple[float, int]] = field(
        default_factory=deque
    )  # falling counts: the first is the window's maximum

    def tick(self, now: float, rate: float | None, instances: int, in_rotation: int) -> int:
        if rate is None:
            return instances  # a metric that cannot be had stops both directions
        ratio = rate / (max(1, instances) * self.target)
        wanted = instances if abs(ratio - 1) <= self.tolerance else max(1, math.ceil(ratio * max(1, instances) - 1e-9))
        while self._wanted and self._wanted[-1][1] <= wanted:
            self._wanted.pop()
        self._wanted.append((now, wanted))
        while self._wanted[0][0] < now - self.stabilization:
            self._wanted.popleft()
        if wanted > instances:
            return min(wanted, max(2 * instances, instances + 4))
        return min(instances, self._wanted[0][1])


@dataclass
class NomadAutoscaler:
    """Nomad Autoscaler, target-value strategy: every 10 s, 1 % threshold, a cooldown of 5 min after each scaling down."""

    target: float
    period: float = 10.0
    threshold: float = 0.01
    cooldown: float = 300.0
    _cool_until: float = -math.inf

    def tick(self, now: float, rate: float | None, instances: int, in_rotation: int) -> int:
        if rate is None or now < self._cool_until:
            return instances
        factor = rate / (max(1, instances) * self.target)
        if abs(factor - 1) <= self.threshold:
            return instances
        wanted = max(1, math.ceil(factor * max(1, instances) - 1e-9))
        if wanted != instances:
            self._cool_until = now + (self.cooldown if wanted < instances else 0.0)
        return wanted


@dataclass
class AwsTargetTracking:
    """AWS target tracking: minute averages; up after 3 of 3 above the target, down after 15 of 15 below 90 % of it."""

    target: float
    period: float = 60.0
    up_breaches: int = 3
    down_breaches: int = 15
    down_share: float = 0.9
    _above: int = 0
    _below: int = 0

    def tick(self, now: float, rate: float | None, instances: int, in_rotation: int) -> int:
        if rate is None:
            return instances
        ratio = rate / (max(1, instances) * self.target)
        self._above = self._above + 1 if ratio > 1 else 0
        self._below = self._below + 1 if ratio < self.down_share else 0
        if self._above >= self.up_breaches:
            return max(instances, math.ceil(ratio * instances - 1e-9))
        if self._below >= self.down_breaches:
            self._below = 0
            return max(1, min(instances, math.ceil(ratio * instances - 1e-9)))
        return instances
