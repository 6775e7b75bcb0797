"""An app: what Marathon's JSON declares, in canonical form, as one frozen value."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter

from framework.model.constraint import Constraint
from framework.model.container import Container
from framework.model.health import Check, HealthCheck, ReadinessCheck
from framework.model.network import Network, PortDefinition, PortMapping
from framework.model.resources import ExecutorResources, ResourceLimits, Resources
from framework.model.strategy import (
    KillSelection,
    Unreachable,
    UnreachableDisabled,
    UnreachableStrategy,
    UpgradeStrategy,
)
from framework.model.values import FrozenMap

SINGLE_INSTANCE_LABEL = "MARATHON_SINGLE_INSTANCE_APP"
DEFAULT_ROLE = "*"


@dataclass(frozen=True, slots=True)
class Fetch:
    """A file that the agent puts into the sandbox before the start."""

    uri: str
    extract: bool = True
    executable: bool = False
    cache: bool = False
    dest_path: str | None = None


@dataclass(frozen=True, slots=True)
class Secret:
    """Where the value is; the value itself is never part of the definition."""

    source: str


@dataclass(frozen=True, slots=True)
class SecretRef:
    """The value of an environment variable: a name in `secrets`."""

    secret: str


EnvValue = str | SecretRef


@dataclass(frozen=True, slots=True)
class VersionInfo:
    last_scaling_at: str
    last_config_change_at: str


@dataclass(frozen=True, slots=True)
class App:
    """`version` is the time of the last change (empty before the engine has accepted it); times are texts of `timestamp`.

    `accepted_resource_roles` () accepts `*` and the app's role. `task_kill_grace_period_seconds` None is Mesos' default.
    """

    id: str
    cmd: str | None = None
    args: tuple[str, ...] = ()
    user: str | None = None
    env: Mapping[str, EnvValue] = field(default_factory=FrozenMap)
    instances: int = 1
    cpus: float = 1.0
    mem: float = 128.0
    disk: float = 0.0
    gpus: int = 0
    resource_limits: ResourceLimits | None = None
    executor: str = ""
    executor_resources: ExecutorResources | None = None
    constraints: tuple[Constraint, ...] = ()
    accepted_resource_roles: tuple[str, ...] = ()
    role: str = DEFAULT_ROLE
    fetch: tuple[Fetch, ...] = ()
    secrets: Mapping[str, Secret] = field(default_factory=FrozenMap)
    networks: tuple[Network, ...] = (Network("host"),)
    port_definitions: tuple[PortDefinition, ...] = ()
    require_ports: bool = False
    container: Container | None = None
    health_checks: tuple[HealthCheck, ...] = ()
    check: Check | None = None
    readiness_checks: tuple[ReadinessCheck, ...] = ()
    dependencies: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=FrozenMap)
    backoff_seconds: float = 1.0
    backoff_factor: float = 1.15
    max_launch_delay_seconds: float = 300.0
    upgrade_strategy: UpgradeStrategy = field(default_factory=UpgradeStrategy)
    unreachable_strategy: Unreachable = field(default_factory=UnreachableStrategy)
    kill_selection: KillSelection = "YOUNGEST_FIRST"
    task_kill_grace_period_seconds: int | None = None
    tty: bool | None = None
    version: str = ""
    version_info: VersionInfo | None = None

    @property
    def resources(self) -> Resources:
        """What one instance takes of an offer, persistent volumes aside."""
        task = Resources(self.cpus, self.mem, self.disk, self.gpus)
        return task + self.executor_resources.total() if self.executor_resources and self.executor else task

    @property
    def host_networking(self) -> bool:
        return all(network.mode == "host" for network in self.networks)

    @property
    def ports(self) -> tuple[PortDefinition, ...] | tuple[PortMapping, ...]:
        """The ports in the order in which tasks, health checks and `$PORT0` count them."""
        return self.port_definitions if self.host_networking else self.port_mappings

    @property
    def port_mappings(self) -> tuple[PortMapping, ...]:
        """Of its container."""
        return self.container.port_mappings if self.container else ()

    @property
    def service_ports(self) -> tuple[int, ...]:
        return tuple(port.service_port for port in self.ports)

    @property
    def is_resident(self) -> bool:
        """Whether its instances keep their data, and so stay with their agents."""
        return self.container is not None and bool(self.container.persistent_volumes)

    @property
    def is_single_instance(self) -> bool:
        return self.labels.get(SINGLE_INSTANCE_LABEL) == "true"

    @property
    def expunges_unreachable(self) -> bool:
        return not isinstance(self.unreachable_strategy, UnreachableDisabled)

    @property
    def last_config_change_at(self) -> str:
        return self.version_info.last_config_change_at if self.version_info else self.version

    def same_config(self, other: "App") -> bool:
        """Whether going from one to the other restarts nothing: all but the instance count and the version is equal."""
        return self is other or _config_of(self) == _config_of(other)


_SCALE_FIELDS = {"instances", "version", "version_info"}
_config_of = attrgetter(*(f.name for f in fields(App) if f.name not in _SCALE_FIELDS))
