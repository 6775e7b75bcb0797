"""Persistent volumes: what is taken of an offer is reserved for the instance, and a volume made of its disk; and the way back."""

from dataclasses import dataclass
from typing import Any

from framework.decide.disks import persistent_volumes
from framework.engine.actions import Launch
from framework.mesos.offers import FRAMEWORK_LABEL, INSTANCE_LABEL
from framework.mesos.task_info import resources
from framework.model.instance import persistence_id
from framework.model.offer import SCALE, Pool, Take, milli, on_root_disk

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reserved:
    """`operations` come before the launch, which is then made of `takes`."""

    operations: tuple[Json, ...]
    takes: tuple[Take, ...]


def reserve(launch: Launch, framework_id: str, principal: str | None) -> Reserved:
    """Reserves all but the ports, which another instance may have in between."""
    instance = launch.instance
    pairs = {FRAMEWORK_LABEL: framework_id, INSTANCE_LABEL: instance.id}
    reservation: Json = {
        "type": "DYNAMIC",
        "role": instance.role,
        "labels": {"labels": [{"key": key, "value": value} for key, value in pairs.items()]},
    }
    if principal:
        reservation["principal"] = principal
    volumes = [
        _volume(v.container_path, float(v.persistent.size), launch, reservation, principal)
        for v in persistent_volumes(launch.spec)
        if v.persistent.type == "root"
    ]
    needed = sum(milli(volume["scalar"]["value"]) for volume in volumes)
    takes: list[Take] = []
    reserved: list[Json] = []
    for take in launch.takes:
        pool = Pool(instance.role, reservations=(*take.pool.reservations, reservation))
        whole = Take(pool, take.cpus, take.mem, take.disk, take.gpus)
        reserved += resources([whole], instance.role)
        for part in take.disks:
            volume = _volume(part.container_path, part.amount / SCALE, launch, reservation, principal)
            reserved.append({**volume, "disk": {"source": part.disk.source}})
            volumes.append({**volume, "disk": {**volume["disk"], "source": part.disk.source}})
        of_volumes = min(needed, take.disk)
        needed -= of_volumes
        takes.append(Take(pool, take.cpus, take.mem, take.disk - of_volumes, take.gpus, volumes=tuple(volumes)))
        volumes = []
        if take.ports:
            takes.append(Take(take.pool, ports=take.ports))
    made = [dict(volume) for take in takes for volume in take.volumes]
    operations = (
        {"type": "RESERVE", "reserve": {"resources": reserved}},
        {"type": "CREATE", "create": {"volumes": made}},
    )
    return Reserved(operations, tuple(takes))


def release(pool: Pool, role: str) -> list[Json]:
    """Destroys the volumes of a pool, and gives back what is reserved in it."""
    operations: list[Json] = []
    if pool.volumes:
        operations.append({"type": "DESTROY", "destroy": {"volumes": [dict(volume) for volume in pool.volumes]}})
    disk = pool.disk + sum(milli(volume["scalar"]["value"]) for volume in pool.volumes if on_root_disk(volume))
    ports = tuple(port for begin, end in pool.ports for port in range(begin, end + 1))
    whole = resources([Take(pool, pool.cpus, pool.mem, disk, pool.gpus, ports)], role)
    others = [(v["disk"]["source"], v["scalar"]["value"]) for v in pool.volumes if not on_root_disk(v)]
    others += [(disk.source, disk.size / SCALE) for disk in pool.disks]
    for source, size in others:
        amount = {"name": "disk", "type": "SCALAR", "scalar": {"value": size}, "disk": {"source": source}}
        whole.append({**amount, "allocation_info": {"role": role}, "reservations": list(pool.reservations)})
    operations.append({"type": "UNRESERVE", "unreserve": {"resources": whole}})
    return operations


def _volume(path: str, size: float, launch: Launch, reservation: Json, principal: str | None) -> Json:
    persistence: Json = {"id": persistence_id(launch.instance.id, path)}
    if principal:
        persistence["principal"] = principal
    return {
        "name": "disk",
        "type": "SCALAR",
        "scalar": {"value": size},
        "allocation_info": {"role": launch.instance.role},
        "reservations": [reservation],
        "disk": {"persistence": persistence, "volume": {"container_path": path, "mode": "RW"}},
    }
