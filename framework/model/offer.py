"""What Mesos offers, as the engine sees it. Scalars are whole thousandths, the precision of Mesos, so that sums are exact."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from framework.model.instance import Agent

UNRESERVED = "*"
SCALE = 1000
Ranges = tuple[tuple[int, int], ...]  # inclusive


def milli(amount: float) -> int:
    """0.1 -> 100"""
    return round(amount * SCALE)


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk beside the agent's root disk, or what is left of it: `path` disks are shared, `mount` disks are taken whole. `root` is where
    the agent has it, `profile` its storage profile; `source` is echoed to Mesos as it came."""

    kind: str
    size: int
    root: str = ""
    profile: str | None = None
    source: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Pool:
    """The part of an offer that is reserved for one role in one way (or for none). `reservations` is echoed to Mesos as it came.

    `labelled`: a dynamic reservation that carries labels belongs to somebody's instance and is not for general use. `owner`: the
    framework's id and the instance's id that its labels name, as this framework (and Marathon) writes them. `volumes`: the persistent
    volumes in it, as they came; their size is not in `disk`. `disks`: those that are not the root disk, which is `disk`.
    """

    role: str = UNRESERVED
    cpus: int = 0
    mem: int = 0
    disk: int = 0
    gpus: int = 0
    ports: Ranges = ()
    reservations: tuple[Mapping[str, Any], ...] = ()
    labelled: bool = False
    owner: tuple[str, str] | None = None
    volumes: tuple[Mapping[str, Any], ...] = ()
    disks: tuple[Disk, ...] = ()


@dataclass(frozen=True, slots=True)
class Offer:
    """`role` is the framework role that it was allocated to. `maintenance_at`: epoch seconds at which the agent goes down."""

    id: str
    agent: Agent
    role: str
    pools: tuple[Pool, ...]
    maintenance_at: float | None = None
    maintenance_until: float | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class DiskTake:
    """What one volume takes of a disk that is not the root disk, in thousandths of a MB."""

    container_path: str
    disk: Disk
    amount: int


@dataclass(frozen=True, slots=True)
class Take:
    """What a launch takes of one pool. `volumes` are taken whole; `disks` are yet to become volumes."""

    pool: Pool
    cpus: int = 0
    mem: int = 0
    disk: int = 0
    gpus: int = 0
    ports: tuple[int, ...] = ()
    volumes: tuple[Mapping[str, Any], ...] = ()
    disks: tuple[DiskTake, ...] = ()


def on_root_disk(volume: Mapping[str, Any]) -> bool:
    """Whether a persistent volume, as Mesos has it, is on the agent's root disk."""
    return "source" not in volume.get("disk", {})
