"""A pod: containers that run together on one agent and share network and volumes.

Scheduling fields bear the same names as an App's, so that the engine treats both alike; the codec knows the JSON's nesting.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Literal

from framework.model.app import DEFAULT_ROLE, SINGLE_INSTANCE_LABEL, EnvValue, Fetch, Secret, VersionInfo
from framework.model.constraint import Constraint
from framework.model.container import LinuxInfo, PullConfig
from framework.model.health import Check, MesosCommand, PodHealthCheck
from framework.model.network import Endpoint, Network
from framework.model.resources import ExecutorResources, ResourceLimits, Resources
from framework.model.strategy import (
    KillSelection,
    Unreachable,
    UnreachableDisabled,
    UnreachableStrategy,
    UpgradeStrategy,
)
from framework.model.values import FrozenMap
from framework.model.volume import PodVolume, VolumeMount


@dataclass(frozen=True, slots=True)
class MesosExec:
    command: MesosCommand
    override_entrypoint: bool | None = None


@dataclass(frozen=True, slots=True)
class Image:
    id: str
    kind: Literal["DOCKER"] = "DOCKER"
    force_pull: bool = False
    pull_config: PullConfig | None = None
    labels: Mapping[str, str] = field(default_factory=FrozenMap)


@dataclass(frozen=True, slots=True)
class Lifecycle:
    kill_grace_period_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class PodContainer:
    name: str
    resources: Resources = field(default_factory=Resources)
    exec: MesosExec | None = None
    resource_limits: ResourceLimits | None = None
    endpoints: tuple[Endpoint, ...] = ()
    image: Image | None = None
    environment: Mapping[str, EnvValue] = field(default_factory=FrozenMap)
    user: str | None = None
    health_check: PodHealthCheck | None = None
    check: Check | None = None
    volume_mounts: tuple[VolumeMount, ...] = ()
    artifacts: tuple[Fetch, ...] = ()
    labels: Mapping[str, str] = field(default_factory=FrozenMap)
    lifecycle: Lifecycle | None = None
    linux_info: LinuxInfo | None = None
    tty: bool | None = None


@dataclass(frozen=True, slots=True)
class Pod:
    id: str
    containers: tuple[PodContainer, ...] = ()
    labels: Mapping[str, str] = field(default_factory=FrozenMap)
    environment: Mapping[str, EnvValue] = field(default_factory=FrozenMap)
    user: str | None = None
    secrets: Mapping[str, Secret] = field(default_factory=FrozenMap)
    volumes: tuple[PodVolume, ...] = ()
    networks: tuple[Network, ...] = (Network("host"),)
    instances: int = 1
    backoff_seconds: float = 1.0
    backoff_factor: float = 1.15
    max_launch_delay_seconds: float = 300.0
    upgrade_strategy: UpgradeStrategy = field(default_factory=UpgradeStrategy)
    unreachable_strategy: Unreachable = field(default_factory=UnreachableStrategy)
    kill_selection: KillSelection = "YOUNGEST_FIRST"
    constraints: tuple[Constraint, ...] = ()
    accepted_resource_roles: tuple[str, ...] = ()
    executor_resources: ExecutorResources = field(default_factory=ExecutorResources)
    role: str = DEFAULT_ROLE
    legacy_shared_cgroups: bool | None = None
    version: str = ""
    version_info: VersionInfo | None = None

    dependencies: tuple[str, ...] = field(default=(), init=False)  # pods depend on nothing; groups may depend on them

    @property
    def resources(self) -> Resources:
        """What one instance takes of an offer: its containers and its executor, persistent volumes aside."""
        total = self.executor_resources.total()
        for container in self.containers:
            total = total + container.resources
        return total

    @property
    def host_networking(self) -> bool:
        return all(network.mode == "host" for network in self.networks)

    @property
    def is_resident(self) -> bool:
        return any(volume.persistent for volume in self.volumes)

    @property
    def is_single_instance(self) -> bool:
        return self.labels.get(SINGLE_INSTANCE_LABEL) == "true"

    @property
    def expunges_unreachable(self) -> bool:
        return not isinstance(self.unreachable_strategy, UnreachableDisabled)

    @property
    def last_config_change_at(self) -> str:
        return self.version_info.last_config_change_at if self.version_info else self.version

    def same_config(self, other: "Pod") -> bool:
        """As `App.same_config`."""
        return self is other or _config_of(self) == _config_of(other)


_SCALE_FIELDS = {"instances", "version", "version_info"}
_config_of = attrgetter(*(f.name for f in fields(Pod) if f.name not in _SCALE_FIELDS))
