"""Disks for persistent volumes: on the agent's root disk, on a part of a `path` disk, or on a `mount` disk of their own.

As in Marathon: a `mount` disk is taken whole, so it has `size` at least and `maxSize` at most; a volume that names a profile is made on
disks of that profile only, and one that names none on disks that have none; constraints are on the path at which the disk is mounted.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from framework.model.app import App
from framework.model.constraint import Constraint
from framework.model.offer import Disk, DiskTake, milli
from framework.model.run_spec import RunSpec
from framework.model.volume import PersistentInfo, PersistentVolume


@dataclass(frozen=True, slots=True)
class DiskDemand:
    """Of one volume. Sizes in thousandths of a MB; `most` None: a mount disk may have any size from `size` on."""

    container_path: str
    kind: str
    size: int
    most: int | None = None
    profile: str | None = None
    constraints: tuple[Constraint, ...] = ()

    @classmethod
    def of(cls, container_path: str, info: PersistentInfo) -> "DiskDemand":
        most = None if info.max_size is None else milli(info.max_size)
        return cls(container_path, info.type, milli(info.size), most, info.profile_name, info.constraints)

    def fits(self, disk: Disk, left: int) -> bool:
        if disk.kind != self.kind or disk.profile != self.profile or left < self.size:
            return False
        if self.kind == "mount" and (left < disk.size or (self.most is not None and disk.size > self.most)):
            return False
        return all(_allows(constraint, disk.root) for constraint in self.constraints)


def persistent_volumes(spec: RunSpec) -> tuple[PersistentVolume, ...]:
    """Those of a pod are the executor's, at their names; its containers mount them from there."""
    if isinstance(spec, App):
        return spec.container.persistent_volumes if spec.container else ()
    return tuple(PersistentVolume(volume.name, volume.persistent) for volume in spec.volumes if volume.persistent)


def choose_disks(demands: Sequence[DiskDemand], left: Mapping[Disk, int]) -> tuple[DiskTake, ...] | None:
    """`left`: what is left of each disk. The largest volume chooses first, the smallest disk that will do. None where one finds none."""
    rest = dict(left)
    found: list[DiskTake] = []
    for demand in sorted(demands, key=lambda demand: -demand.size):
        fitting = [disk for disk, amount in rest.items() if demand.fits(disk, amount)]
        if not fitting:
            return None
        disk = min(fitting, key=lambda disk: (rest[disk], disk.root))
        amount = rest[disk] if demand.kind == "mount" else demand.size
        rest[disk] -= amount
        found.append(DiskTake(demand.container_path, disk, amount))
    return tuple(found)


def _allows(constraint: Constraint, root: str) -> bool:
    matches = re.fullmatch(constraint.value or "", root) is not None
    return matches if constraint.operator == "LIKE" else not matches
