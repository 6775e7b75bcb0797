"""Which host ports an instance needs, and which of an offer's it gets."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from framework.model.app import App
from framework.model.run_spec import RunSpec

ANY = 0


@dataclass(frozen=True, slots=True)
class PortDemand:
    """One entry for each port that needs a host port, in order: a number, or ANY."""

    wanted: tuple[int, ...] = ()

    @property
    def exact(self) -> tuple[int, ...]:
        return tuple(port for port in self.wanted if port != ANY)

    @property
    def count(self) -> int:
        return len(self.wanted)


def port_demand(spec: RunSpec) -> PortDemand:
    """Host networking asks for every defined port (for its number only with requirePorts); else for mappings with a host port."""
    if isinstance(spec, App):
        if spec.host_networking:
            return PortDemand(tuple(p.port if spec.require_ports else ANY for p in spec.port_definitions))
        mappings = spec.container.port_mappings if spec.container else ()
        return PortDemand(tuple(m.host_port for m in mappings if m.host_port is not None))
    endpoints = (endpoint for container in spec.containers for endpoint in container.endpoints)
    return PortDemand(tuple(e.host_port for e in endpoints if e.host_port is not None))


class PortPool:
    """Free ports as sorted, disjoint, inclusive ranges."""

    __slots__ = ("_ranges", "size")

    def __init__(self, ranges: Iterable[tuple[int, int]]) -> None:
        self._ranges = merged(ranges)
        self.size = sum(end - begin + 1 for begin, end in self._ranges)

    def __contains__(self, port: int) -> bool:
        return any(begin <= port <= end for begin, end in self._ranges)

    def take(self, port: int) -> None:
        for index, (begin, end) in enumerate(self._ranges):
            if begin <= port <= end:
                left = [(begin, port - 1)] if begin < port else []
                right = [(port + 1, end)] if port < end else []
                self._ranges[index : index + 1] = left + right
                self.size -= 1
                return
        raise KeyError(port)

    def next_from(self, start: int) -> int:
        """The first free port at or after `start`, else the lowest. Raises KeyError when none is left."""
        for begin, end in self._ranges:
            if end >= start:
                return max(begin, start)
        if not self._ranges:
            raise KeyError(start)
        return self._ranges[0][0]


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for begin, end in sorted(ranges):
        if found and begin <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((begin, end))
    return found


def assign(demand: PortDemand, pools: Sequence[PortPool], start: int) -> list[tuple[int, int]] | None:
    """(pool index, port) for each port of the demand, taken from the pools; None, and nothing taken, if it cannot be met.

    Free choices begin at `start` and go round, so that a port that was just given back is not used again at once: what still
    points at it (a proxy, a cache) must not find another app there.
    """
    exact = demand.exact
    if len(set(exact)) != len(exact) or sum(pool.size for pool in pools) < demand.count:
        return None
    where: dict[int, int] = {}
    for port in exact:
        index = next((i for i, pool in enumerate(pools) if port in pool), None)
        if index is None:
            return None
        where[port] = index
    for port, index in where.items():
        pools[index].take(port)
    assigned = []
    for port in demand.wanted:
        if port == ANY:
            index = next(i for i, pool in enumerate(pools) if pool.size)
            free = pools[index].next_from(start)
            pools[index].take(free)
            start = free + 1
            assigned.append((index, free))
        else:
            assigned.append((where[port], port))
    return assigned
