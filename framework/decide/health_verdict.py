"""What the result of one probe means for one check, what all checks mean for the instance, and whether a kill may follow."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import floor

from framework.model.health import HealthCheck
from framework.model.instance import HealthResult


def judge(
    check: HealthCheck, before: HealthResult, alive: bool | None, cause: str, *, active_since: float, now: float
) -> HealthResult:
    """`alive` None (an ignored 1xx) keeps the state. A failure in the grace period counts only after a first success."""
    if alive is None:
        return before
    if alive:
        first = before.first_success if before.first_success is not None else now
        # Written out: it comes with every probe, and `replace` takes three times as long.
        return HealthResult(before.instance_id, True, 0, first, now, before.last_failure, before.last_failure_cause)
    in_grace = before.first_success is None and now < active_since + check.grace_period_seconds
    return replace(
        before,
        alive=False,
        consecutive_failures=0 if in_grace else before.consecutive_failures + 1,
        last_failure=now,
        last_failure_cause=cause,
    )


def overall_health(results: Iterable[HealthResult | None]) -> bool | None:
    """True if all checks pass, False if any has failed so that it counts, None while some have not said anything."""
    found = list(results)
    if any(result and result.consecutive_failures > 0 for result in found):
        return False
    return True if all(result and result.alive for result in found) else None


def is_due(check: HealthCheck, result: HealthResult) -> bool:
    """Whether the failures ask for a kill: on the maximum-th in a row. A maximum of 0 never does."""
    most = check.max_consecutive_failures
    return most > 0 and result.consecutive_failures >= most


@dataclass(frozen=True, slots=True)
class KillBudget:
    """`failing` of the cluster's `probed` instances fail now; `replacing` of the spec's `instances` are on their way out, or in."""

    failing: int
    probed: int
    replacing: int
    instances: int

    def refusal(self, *, mass_share: float, mass_least: int, spec_share: float) -> str | None:
        """Why no instance may be killed for bad health now; None if one may.

        When nearly everything fails at once the fault is where the probes come from, and killing would make an outage of it.
        """
        if self.failing >= mass_least and self.failing >= mass_share * self.probed:
            return f"{self.failing} of {self.probed} probed instances fail at once: the probes themselves are suspected"
        if self.replacing >= max(1, floor(spec_share * self.instances)):
            return f"{self.replacing} of {self.instances} instances are being replaced already"
        return None
