"""Volumes: what of the host, of Mesos, of a storage provider or of a secret store a container sees, and where."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from framework.model.constraint import Constraint
from framework.model.values import FrozenMap

ReadMode = Literal["RO", "RW"]
DiskType = Literal["root", "path", "mount"]


@dataclass(frozen=True, slots=True)
class HostVolume:
    container_path: str
    host_path: str
    mode: ReadMode = "RW"


@dataclass(frozen=True, slots=True)
class PersistentInfo:
    """Sizes in MB. `constraints` are on the disk's `path`."""

    size: int
    type: DiskType = "root"
    max_size: int | None = None
    profile_name: str | None = None
    constraints: tuple[Constraint, ...] = ()


@dataclass(frozen=True, slots=True)
class PersistentVolume:
    """Outlives the task: Mesos reserves the disk, and the instance stays with its agent."""

    container_path: str
    persistent: PersistentInfo
    mode: ReadMode = "RW"


@dataclass(frozen=True, slots=True)
class ExternalInfo:
    """`size` in GiB. `options` are the provider's; for `csi` they nest."""

    provider: str
    name: str | None = None
    size: int | None = None
    shared: bool = False
    options: Mapping[str, Any] = field(default_factory=FrozenMap)


@dataclass(frozen=True, slots=True)
class ExternalVolume:
    container_path: str
    external: ExternalInfo
    mode: ReadMode = "RW"


@dataclass(frozen=True, slots=True)
class SecretVolume:
    """`secret` is a name in the app's `secrets`."""

    container_path: str
    secret: str


Volume = HostVolume | PersistentVolume | ExternalVolume | SecretVolume


@dataclass(frozen=True, slots=True)
class PodVolume:
    """A volume of a pod, which containers mount by name. With neither host, persistent nor secret it is ephemeral."""

    name: str
    host: str | None = None
    persistent: PersistentInfo | None = None
    secret: str | None = None


@dataclass(frozen=True, slots=True)
class VolumeMount:
    name: str
    mount_path: str
    read_only: bool = False
