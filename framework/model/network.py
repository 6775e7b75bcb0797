"""Networks that a task joins and the ports that it wants on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from framework.model.values import FrozenMap

NetworkMode = Literal["host", "container", "container/bridge"]


@dataclass(frozen=True, slots=True)
class Network:
    mode: NetworkMode = "container"
    name: str | None = None
    labels: Mapping[str, str] = field(default_factory=FrozenMap)


@dataclass(frozen=True, slots=True)
class PortDefinition:
    """A port of the host, for host networking. `port` is the service port, and the host port too if ports are required."""

    port: int = 0
    protocol: str = "tcp"  # tcp | udp | udp,tcp
    name: str | None = None
    labels: Mapping[str, str] = field(default_factory=FrozenMap)

    @property
    def service_port(self) -> int:
        return self.port

    @property
    def protocols(self) -> tuple[str, ...]:
        return tuple(self.protocol.split(","))


@dataclass(frozen=True, slots=True)
class PortMapping:
    """A port of the container. `host_port` None asks for none on the host, 0 for any; `container_port` 0 equals the host port, see
    `port_numbers`."""

    container_port: int = 0
    host_port: int | None = None
    service_port: int = 0
    protocol: str = "tcp"
    name: str | None = None
    labels: Mapping[str, str] = field(default_factory=FrozenMap)
    network_names: tuple[str, ...] = ()

    @property
    def protocols(self) -> tuple[str, ...]:
        return tuple(self.protocol.split(","))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A port of a pod's container."""

    name: str
    container_port: int | None = None
    host_port: int | None = None
    protocol: tuple[str, ...] = ("tcp",)
    labels: Mapping[str, str] = field(default_factory=FrozenMap)
    network_names: tuple[str, ...] = ()


FIRST_FREE = 31000  # of the numbers given to container ports that have none of their own; agents offer such, images rarely listen there


def port_numbers(ports: Sequence[PortMapping | Endpoint], host_ports: Sequence[int]) -> list[tuple[int | None, int]]:
    """Of each port (host port or None, number inside the container), given the host ports that the task got.

    A container port 0 (or none) is the host port; without one it is a free number, the same for every instance: each has an address
    of its own there.
    """
    taken = {port.container_port for port in ports} | {*host_ports}
    free = (number for number in range(FIRST_FREE, 65536) if number not in taken)
    given = iter(host_ports)
    found = []
    for port in ports:
        host = next(given, None) if port.host_port is not None else None
        found.append((host, port.container_port or host or next(free)))
    return found
