"""What the edge knows: instances as Consul gives them, and the routes and services made of them. Frozen values, no behaviour."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Protocol = Literal["http", "https", "grpc", "grpcs", "tcp", "udp"]
Balance = Literal["round_robin", "least_conn", "ewma", "hash"]


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of a Consul service. `address` is what clients connect to: an IP address or a host name.

    `healthy`: all its checks pass and it is not in maintenance. An unhealthy one gets no traffic, but its labels still make a route.
    `leaving`: it is in maintenance, so someone said that it goes.
    """

    id: str
    service: str
    address: str
    port: int
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    weight: int = 1
    healthy: bool = True
    leaving: bool = False


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """An address that takes requests. `address` is an IP address."""

    address: str
    port: int
    weight: int = 1
    id: str = ""


@dataclass(frozen=True, slots=True)
class HashKey:
    """What consistent hashing hashes: `ip`, `uri`, or a `header` or `cookie` of that name."""

    kind: Literal["ip", "uri", "header", "cookie"] = "ip"
    name: str = ""


@dataclass(frozen=True, slots=True)
class Balancing:
    """How an endpoint is picked. `sticky` is a cookie's name, "" for none."""

    method: Balance = "round_robin"
    hash_key: HashKey = HashKey()
    sticky: str = ""


@dataclass(frozen=True, slots=True)
class Retries:
    """How often another endpoint is tried, on which outcomes, and for how long a failing endpoint is skipped (seconds)."""

    tries: int = 3
    on: tuple[str, ...] = ("error", "timeout")
    max_fails: int = 1
    fail_timeout: float = 5.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `upgraded` is how long a WebSocket may stay silent."""

    connect: float = 2.0
    send: float = 60.0
    read: float = 60.0
    upgraded: float = 3600.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Per client address; 0 means no limit. `rate` is requests per second, `body` bytes of a request's body."""

    rate: float = 0.0
    burst: int = 0
    connections: int = 0
    body: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class User:
    """A basic-auth user; `password` is a crypt(3) hash."""

    name: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Access:
    """Who gets in. `allow` and `deny` are networks; `client_ca` is the name of a file of certificate authorities."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    users: tuple[User, ...] = ()
    realm: str = "restricted"
    client_ca: str = ""


@dataclass(frozen=True, slots=True)
class Cors:
    """Cross-origin answers; no origins means that the edge stays out of it."""

    origins: tuple[str, ...] = ()
    methods: tuple[str, ...] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    headers: tuple[str, ...] = ("Authorization", "Content-Type", "X-Requested-With")
    credentials: bool = False
    max_age: int = 86400


@dataclass(frozen=True, slots=True)
class Canary:
    """Part of another service's traffic. A header decides before a cookie, a cookie before the weight (percent)."""

    of: str
    header: str = ""
    header_value: str = "always"
    cookie: str = ""
    weight: int = 0


@dataclass(frozen=True, slots=True)
class Standby:
    """The service that takes over: on command, or once fewer than `minimum` instances were healthy for `after` seconds."""

    service: str
    minimum: int = 0
    after: float = 10.0


@dataclass(frozen=True, slots=True)
class Options:
    """All that labels say of one port of an app."""

    hosts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    rewrite: str | None = None
    protocol: Protocol = "http"
    port: int = 0
    group: str = ""
    enabled: bool = True
    priority: int = 0
    balancing: Balancing = Balancing()
    retries: Retries = Retries()
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    access: Access = Access()
    cors: Cors = Cors()
    canary: Canary | None = None
    mirror: str = ""
    standby: Standby | None = None
    https_redirect: bool = False
    hsts: int = 0
    keep: float = 0.0
    maintenance: bool = False
    deployment_group: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """A service with what can change without a reload: endpoints, balancing, canaries, standby."""

    name: str
    app: str = ""
    endpoints: tuple[Endpoint, ...] = ()
    balancing: Balancing = Balancing()
    retries: Retries = Retries()
    timeouts: Timeouts = Timeouts()
    canaries: tuple[tuple[str, Canary], ...] = ()
    standby: Standby | None = None
    maintenance: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """Requests for one of `hosts` (none: any host) below `path` go to `service`."""

    service: str
    hosts: tuple[str, ...]
    path: str
    options: Options

    @property
    def name(self) -> str:
        """How people call it: the first host, or `*`, and the path."""
        return f"{self.hosts[0] if self.hosts else '*'}{self.path}"


@dataclass(frozen=True, slots=True)
class StreamRoute:
    """A TCP or UDP port of the edge that goes to `service`."""

    service: str
    port: int
    protocol: Literal["tcp", "udp"]
    options: Options


@dataclass(frozen=True, slots=True, order=True)
class Refusal:
    """Something that was not let in. `what` is the key or field, `why` is for whoever set it."""

    service: str
    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Model:
    """All of the edge at one moment. `services` by name."""

    routes: tuple[Route, ...] = ()
    streams: tuple[StreamRoute, ...] = ()
    services: Mapping[str, Service] = field(default_factory=lambda: MappingProxyType({}))
    refusals: tuple[Refusal, ...] = ()
