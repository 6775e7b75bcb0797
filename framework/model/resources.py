"""What a task asks of an agent."""

from dataclasses import dataclass
from math import inf

UNLIMITED = inf  # `"unlimited"` in JSON


@dataclass(frozen=True, slots=True)
class Resources:
    """cpus in shares, mem and disk in MB."""

    cpus: float = 1.0
    mem: float = 128.0
    disk: float = 0.0
    gpus: int = 0

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(
            # Rounded to what Mesos keeps: 0.1 + 0.2 must fit into an offer of 0.3.
            round(self.cpus + other.cpus, 3),
            round(self.mem + other.mem, 3),
            round(self.disk + other.disk, 3),
            self.gpus + other.gpus,
        )


@dataclass(frozen=True, slots=True)
class ResourceLimits:
    """How far a task may go beyond its request; None leaves it to the agent, UNLIMITED lifts the bound."""

    cpus: float | None = None
    mem: float | None = None


@dataclass(frozen=True, slots=True)
class ExecutorResources:
    cpus: float = 0.1
    mem: float = 32.0
    disk: float = 10.0

    def total(self) -> Resources:
        return Resources(self.cpus, self.mem, self.disk, 0)
