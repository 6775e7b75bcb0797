"""How instances are replaced, given up and chosen for a kill."""

from dataclasses import dataclass
from typing import Literal

KillSelection = Literal["YOUNGEST_FIRST", "OLDEST_FIRST"]


@dataclass(frozen=True, slots=True)
class UpgradeStrategy:
    """Shares of the instance count, 0..1, that a rolling update keeps healthy and may add."""

    minimum_health_capacity: float = 1.0
    maximum_over_capacity: float = 1.0


@dataclass(frozen=True, slots=True)
class UnreachableStrategy:
    """When an instance on a lost agent is replaced (inactive) and forgotten (expunged), in seconds."""

    inactive_after_seconds: int = 0
    expunge_after_seconds: int = 0


@dataclass(frozen=True, slots=True)
class UnreachableDisabled:
    """Instances on a lost agent are waited for, however long: `"disabled"` in JSON."""


Unreachable = UnreachableStrategy | UnreachableDisabled
