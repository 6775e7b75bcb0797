"""Whether anybody still talks to an instance that drains, by what the edges tell (pure)."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from framework.model.values import replace

LOOKS = 2  # in a row at which nothing is under way: an edge's numbers may be a moment late


@dataclass(frozen=True, slots=True)
class EdgeReport:
    """What one edge tells of addresses, host:port. `known`: app -> where it sends its requests, or has. `busy`: a new one may go there,
    or some are under way. `blind`: apps of which it cannot tell all of that."""

    known: Mapping[str, Collection[str]]
    busy: Collection[str]
    blind: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Idleness:
    """Of one instance. `ports`: of each port the addresses by which an edge may know it. `seen`: the ports whose address an edge has
    known, or knows for another instance of the app on the same host: of others it may have another, and nobody can tell."""

    app: str
    ports: tuple[frozenset[str], ...]
    seen: frozenset[int] = frozenset()
    blind: bool = False  # an edge has not been able to tell
    quiet: int = 0  # looks in a row

    def looked(self, reports: Sequence[EdgeReport | None]) -> "Idleness":
        """After a look at all edges. None: of an edge that did not answer, or cannot tell."""
        told = [report for report in reports if report is not None]
        known = {address for report in told for address in report.known.get(self.app, ())}
        hosts = {_host(address) for address in known}
        seen = self.seen | {
            number
            for number, addresses in enumerate(self.ports)
            if any(_host(address) in hosts for address in addresses)
        }
        busy = any(address in report.busy for report in told for addresses in self.ports for address in addresses)
        blind = self.blind or any(self.app in report.blind for report in told)
        is_quiet = len(told) == len(reports) > 0 and len(seen) == len(self.ports) > 0 and not busy and not blind
        return replace(self, seen=seen, blind=blind, quiet=self.quiet + 1 if is_quiet else 0)

    @property
    def is_idle(self) -> bool:
        return self.quiet >= LOOKS


def _host(address: str) -> str:
    return address.rpartition(":")[0]
