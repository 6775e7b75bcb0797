"""Our own policy as the simulation sees it: the very decision that the daemon makes."""

from dataclasses import dataclass, field

from autoscale.decide import History, Situation, decide
from autoscale.policy import Policy
from autoscale.sample import Quality, Sample


@dataclass
class Dromos:
    policy: Policy
    period: float = 15.0
    _history: History = field(default_factory=History)

    def tick(self, now: float, rate: float | None, instances: int, in_rotation: int) -> int:
        # A recording has no counters that could prove a zero.
        quality = Quality.STALE if rate is None else Quality.FRESH if rate > 0 else Quality.UNPROVEN_ZERO
        sample = Sample(now, rate or 0.0, quality)
        decision = decide(self.policy, Situation(instances, False), sample, self._history, now)
        self._history = decision.history
        return decision.instances
