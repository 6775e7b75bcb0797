"""What the sources observe, and what Consul is to hold: frozen values, no behaviour beyond their own shape."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Literal

Protocol = Literal["tcp", "udp"]


class Health(IntEnum):
    """Ordered: the worst of several opinions is their maximum."""

    UNCHECKED = 0  # has no health check: healthy as long as it runs
    HEALTHY = 1
    UNKNOWN = 2  # has health checks that gave no result yet
    UNHEALTHY = 3


class Phase(Enum):
    STARTING = "starting"
    RUNNING = "running"
    UNREACHABLE = "unreachable"  # its agent is away; the task itself may well serve
    FAILED = "failed"  # it has ended, and by `--deregister on-success` that takes nothing away


@dataclass(frozen=True, slots=True)
class Port:
    """One port of an instance: where the host publishes it, where the container itself has it, or both.

    Addresses are IP addresses, "" where the source does not know them. `own_reachable` says that clients outside the host
    reach the container's own address (macvlan, overlay, an IP per task), as they do not on a bridge.
    """

    index: int
    protocol: Protocol = "tcp"
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    host_port: int | None = None
    host_address: str = ""
    own_port: int | None = None
    own_address: str = ""
    own_reachable: bool = False


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """A health check as the app declares it, times in seconds."""

    kind: Literal["http", "https", "tcp", "grpc", "command"]
    path: str = "/"
    port_index: int | None = None
    port: int | None = None  # overrides port_index
    interval: float = 60.0
    timeout: float = 20.0
    failures: int = 3


@dataclass(frozen=True, slots=True)
class Instance:
    """One running thing: a Mesos task, or a container that is none.

    `key` is the Mesos task id, or the container's id. `env` holds SERVICE_* only. What a source does not know is left at its
    default; `merge` puts the knowledge of several sources together.
    """

    key: str
    kind: Literal["task", "container"]
    app: str = ""  # app id (`/shop/web`), or the image's base name
    version: str = ""
    framework: str = ""  # Mesos framework id
    phase: Phase = Phase.RUNNING
    health: Health = Health.UNCHECKED
    draining: bool = False
    held: bool | None = None  # gets no traffic until its version has had its go; None where no source says
    ports: tuple[Port, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    checks: tuple[HealthCheck, ...] = ()
    host: str = ""  # host name of the agent or of the Docker daemon
    host_address: str = ""  # its IP address
    container: str = ""  # the container's name
    has_siblings: bool = (
        False  # other tasks of the same instance have ports too, so that the app's name alone is no name
    )


@dataclass(frozen=True, slots=True)
class Look:
    """All that one source saw at one moment.

    `ended` are keys that are known to have ended: positive evidence. A key that is in neither list is only absent.
    `draining` are keys that drain, of instances that may be among `instances` or not (those of an app that is being deleted).
    `complete` is False where the source says itself that something is missing (agents that have not come back yet): absence
    then proves nothing. `frameworks` are the Mesos framework ids that the source speaks for, or sees connected.
    """

    instances: Mapping[str, Instance]
    ended: frozenset[str] = frozenset()
    draining: frozenset[str] = frozenset()
    complete: bool = True
    why_incomplete: str = ""
    frameworks: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Check:
    """A Consul check: `definition` is what the agent is sent beside `CheckID`, `Name` and `Status`."""

    id: str
    name: str
    definition: Mapping[str, object]
    status: Literal["passing", "warning", "critical"] = "critical"  # at first; of a TTL check, always
    heartbeat: float | None = None  # of a TTL check: seconds from one to the next


@dataclass(frozen=True, slots=True)
class Service:
    """One service as it is to be in Consul."""

    id: str
    name: str
    address: str
    port: int
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()

    @property
    def has_heartbeat(self) -> bool:
        return any(check.heartbeat is not None for check in self.checks)


@dataclass(frozen=True, slots=True)
class Registered:
    """One service as an agent has it. `maintenance` is the reason given for its maintenance mode, None where it is not in it."""

    id: str
    name: str
    address: str
    port: int
    tags: tuple[str, ...]
    meta: Mapping[str, str]
    check_ids: frozenset[str] = frozenset()
    maintenance: str | None = None
    statuses: Mapping[str, str] = field(default_factory=dict)  # check id -> status

    @property
    def passes(self) -> bool:
        """All its checks pass, as far as was seen last."""
        return all(status == "passing" for status in self.statuses.values())
