"""What Consul keeps, as frozen values. Comparing two of them leaves out their indexes: equal means "nothing has changed"."""

from dataclasses import dataclass, field
from typing import Any

PASSING, WARNING, CRITICAL, MAINTENANCE = "passing", "warning", "critical", "maintenance"
STATUSES = (PASSING, WARNING, CRITICAL)
NODE_MAINTENANCE = "_node_maintenance"
SERVICE_MAINTENANCE = "_service_maintenance:"

ServiceKey = tuple[str, str]  # node and service id, both folded


def fold(name: str) -> str:
    """Names of nodes, services and checks are looked up without regard to case."""
    return name.lower()


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    address: str = ""
    id: str = ""
    tagged_addresses: dict[str, str] | None = None
    meta: dict[str, str] | None = None
    created: int = field(default=0, compare=False)
    modified: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Service:
    """One instance of a service, on one node. `proxy` and `connect` are Consul's own objects, kept as they came."""

    node: str
    id: str
    name: str
    tags: tuple[str, ...] = ()
    address: str = ""
    port: int = 0
    meta: dict[str, str] | None = None
    tagged_addresses: dict[str, Any] | None = None
    passing_weight: int = 1
    warning_weight: int = 1
    enable_tag_override: bool = False
    kind: str = ""
    proxy: dict[str, Any] = field(default_factory=dict)
    connect: dict[str, Any] = field(default_factory=dict)
    created: int = field(default=0, compare=False)
    modified: int = field(default=0, compare=False)

    @property
    def key(self) -> ServiceKey:
        return fold(self.node), fold(self.id)


@dataclass(frozen=True, slots=True)
class Check:
    """A check of a node (`service_id` empty) or of one service instance. `definition` is Consul's own object."""

    node: str
    id: str
    name: str = ""
    status: str = CRITICAL
    notes: str = ""
    output: str = ""
    service_id: str = ""
    service_name: str = ""
    service_tags: tuple[str, ...] = ()
    type: str = ""
    definition: dict[str, Any] = field(default_factory=dict)
    created: int = field(default=0, compare=False)
    modified: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of the key-value store."""

    key: str
    value: bytes = b""
    flags: int = 0
    session: str = ""
    lock_index: int = 0
    created: int = field(default=0, compare=False)
    modified: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Session:
    id: str
    node: str
    name: str = ""
    lock_delay: int = 15_000_000_000  # nanoseconds
    behavior: str = "release"  # or "delete"
    ttl: str = ""
    checks: tuple[str, ...] | None = None
    node_checks: tuple[str, ...] | None = None
    service_checks: tuple[str, ...] | None = None
    created: int = 0
    modified: int = 0

    @property
    def all_checks(self) -> frozenset[str]:
        return frozenset(fold(id) for ids in (self.checks, self.node_checks, self.service_checks) for id in ids or ())


@dataclass(frozen=True, slots=True)
class Policy:
    id: str
    name: str
    description: str = ""
    rules: str = ""
    datacenters: tuple[str, ...] | None = None
    created: int = 0
    modified: int = 0


@dataclass(frozen=True, slots=True)
class Token:
    accessor: str
    secret: str
    description: str = ""
    policies: tuple[str, ...] = ()  # their ids
    service_identities: tuple[dict[str, Any], ...] = ()
    local: bool = False
    create_time: str = ""
    expiration_time: str = ""
    created: int = 0
    modified: int = 0


def worst(statuses: list[str]) -> str:
    """The aggregate of checks' statuses: maintenance, then critical, then warning; no checks are passing."""
    for status in (MAINTENANCE, CRITICAL, WARNING):
        if status in statuses:
            return status
    return PASSING
