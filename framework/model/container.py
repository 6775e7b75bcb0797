"""The container of an app: which engine, which image, which volumes and port mappings."""

from dataclasses import dataclass
from typing import Literal

from framework.model.network import PortMapping
from framework.model.volume import ExternalVolume, PersistentVolume, Volume

Engine = Literal["MESOS", "DOCKER"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """An option of `docker run`."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Credential:
    principal: str
    secret: str | None = None


@dataclass(frozen=True, slots=True)
class PullConfig:
    """`secret` names the entry of the app's `secrets` whose value is a Docker config.json."""

    secret: str


@dataclass(frozen=True, slots=True)
class DockerContainer:
    image: str
    force_pull_image: bool = False
    privileged: bool = False
    parameters: tuple[Parameter, ...] = ()
    credential: Credential | None = None
    pull_config: PullConfig | None = None


@dataclass(frozen=True, slots=True)
class Seccomp:
    profile_name: str | None = None
    unconfined: bool = False


@dataclass(frozen=True, slots=True)
class IpcInfo:
    """`shm_size` in MB."""

    mode: Literal["PRIVATE", "SHARE_PARENT"] = "SHARE_PARENT"
    shm_size: int | None = None


@dataclass(frozen=True, slots=True)
class LinuxInfo:
    seccomp: Seccomp | None = None
    ipc_info: IpcInfo | None = None


@dataclass(frozen=True, slots=True)
class Container:
    """`type` DOCKER runs `docker` by the Docker engine; MESOS runs an image, or none, by the Mesos containerizer."""

    type: Engine = "DOCKER"
    docker: DockerContainer | None = None
    volumes: tuple[Volume, ...] = ()
    port_mappings: tuple[PortMapping, ...] = ()
    linux_info: LinuxInfo | None = None

    @property
    def persistent_volumes(self) -> tuple[PersistentVolume, ...]:
        return tuple(volume for volume in self.volumes if isinstance(volume, PersistentVolume))

    @property
    def external_volumes(self) -> tuple[ExternalVolume, ...]:
        return tuple(volume for volume in self.volumes if isinstance(volume, ExternalVolume))
