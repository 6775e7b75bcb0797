"""Several signals -> one demand. Each says how many instances it asks for; the one that asks for most wins.

The demand is handed on as a rate of the policy's first signal, so that the decision needs to know of one measure alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from autoscale.policy import Policy, Signal
from autoscale.sample import Quality, Sample

MOST_NEEDED = 1e9  # instances: whatever a source says, what comes of it can be reckoned with
MOST_BY_LATENCY = (
    2.0  # times the instances there are: time does not grow in step with load, so one look asks for no more
)


@dataclass(frozen=True)
class Measured:
    """One signal's value: over all instances, of latency the mean."""

    signal: Signal
    sample: Sample

    def needed(self, in_rotation: int) -> float:
        """Instances, not rounded."""
        ratio = min(self.sample.rate / self.signal.target, MOST_NEEDED)
        return min(ratio, MOST_BY_LATENCY) * max(1, in_rotation) if self.signal.kind == "latency" else ratio

    def __str__(self) -> str:
        value, target, unit = self.sample.rate, self.signal.target, self.signal.unit
        if self.sample.quality is Quality.STALE:
            return f"{self.signal.kind}: stale"
        mark = "" if self.sample.quality in (Quality.FRESH, Quality.TRUE_ZERO) else f" ({self.sample.quality.value})"
        return f"{self.signal.kind}: {value:.4g} {unit} of {target:g} an instance{mark}"


def combined(policy: Policy, measured: Sequence[Measured], in_rotation: int, now: float) -> Sample:
    """The largest of the signals. What some of them cannot tell leaves the whole partial: at least that much is needed."""
    known = [one for one in measured if one.sample.quality is not Quality.STALE]
    if not known:
        return Sample(now, 0.0, Quality.STALE)
    most = max(one.needed(in_rotation) for one in known)
    qualities = {one.sample.quality for one in known}
    if len(known) < len(measured) or Quality.PARTIAL in qualities:
        quality = Quality.PARTIAL
    elif Quality.UNPROVEN_ZERO in qualities:
        quality = Quality.PARTIAL if most > 0 else Quality.UNPROVEN_ZERO
    else:
        quality = Quality.FRESH if most > 0 else Quality.TRUE_ZERO
    return Sample(now, most * policy.target, quality)


def told(measured: Sequence[Measured]) -> str:
    """All signals in one line, the one that asks for most first."""
    return "; ".join(str(one) for one in sorted(measured, key=lambda one: -one.needed(1)))
