"""Waiting longer after each failure, with jitter, so that a crowd of clients does not come back as one."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Backoff:
    """Delays in seconds: `first`, then times `factor` up to `most`, each spread by ± `jitter` of itself."""

    first: float = 0.25
    most: float = 30.0
    factor: float = 2.0
    jitter: float = 0.25
    uniform: Callable[[float, float], float] = random.uniform
    _failures: int = field(default=0, init=False)

    def next(self) -> float:
        # The exponent is bounded: an outage of days must not overflow a float.
        delay = min(self.most, self.first * self.factor ** min(self._failures, 64))
        self._failures += 1
        return delay * self.uniform(1 - self.jitter, 1 + self.jitter)

    def reset(self) -> None:
        self._failures = 0
