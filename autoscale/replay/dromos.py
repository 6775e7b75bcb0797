"""Our own policy as the simulation sees it: the very decision that the daemon makes, and all of the policy's behaviour around it."""

from dataclasses import dataclass, field

from autoscale.decide import Situation
from autoscale.policy import Policy
from autoscale.sample import Quality, Sample
from autoscale.steer import Past, steer


@dataclass
class Dromos:
    policy: Policy
    period: float = 15.0
    _past: Past = field(default_factory=Past)

    def tick(self, now: float, rate: float | None, instances: int, in_rotation: int) -> int:
        # A recording has no counters that could prove a zero.
        quality = Quality.STALE if rate is None else Quality.FRESH if rate > 0 else Quality.UNPROVEN_ZERO
        sample = Sample(now, rate or 0.0, quality)
        steered = steer(self.policy, Situation(instances, False), sample, self._past, now)
        self._past = steered.past
        if steered.instances != instances:
            self._past = self._past.accepted(now, instances, steered.instances)
        return steered.instances
