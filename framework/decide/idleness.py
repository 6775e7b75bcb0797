"""Whether anybody still talks to an instance that drains, by what the edges tell (pure)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from framework.model.values import replace

LOOKS = 2  # in a row at which nothing is under way: an edge's numbers may be a moment late


@dataclass(frozen=True, slots=True)
class EdgeReport:
    """What one edge tells of addresses, host:port. `known`: it sends requests there, or has. `busy`: a new one may go there, or some
    are under way."""

    known: Collection[str]
    busy: Collection[str]


@dataclass(frozen=True, slots=True)
class Idleness:
    """Of one instance. `ports`: of each port the addresses by which an edge may know it. `seen`: the ports that an edge has known:
    of others nobody can tell whether they are in use."""

    ports: tuple[frozenset[str], ...]
    seen: frozenset[int] = frozenset()
    quiet: int = 0  # looks in a row

    def looked(self, reports: Sequence[EdgeReport | None]) -> "Idleness":
        """After a look at all edges. None: of an edge that did not answer, or cannot tell."""
        told = [report for report in reports if report is not None]
        seen = self.seen | {
            number
            for number, addresses in enumerate(self.ports)
            if any(address in report.known for report in told for address in addresses)
        }
        busy = any(address in report.busy for report in told for addresses in self.ports for address in addresses)
        is_quiet = len(told) == len(reports) > 0 and len(seen) == len(self.ports) > 0 and not busy
        return replace(self, seen=seen, quiet=self.quiet + 1 if is_quiet else 0)

    @property
    def is_idle(self) -> bool:
        return self.quiet >= LOOKS
