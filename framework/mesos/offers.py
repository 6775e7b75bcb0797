"""Mesos' JSON -> the engine's values: offers and task statuses. What is missing in an offer is none, as a used-up resource is absent."""

from collections.abc import Mapping
from typing import Any

import orjson

from framework.decide.instance_state import TaskStatus
from framework.engine.events import InverseOffer
from framework.model.instance import Agent, IpAddress
from framework.model.offer import UNRESERVED, Disk, Offer, Pool, milli

Json = Mapping[str, Any]
# Of a reservation: whose it is. Marathon's names, so that each recognizes the other's.
FRAMEWORK_LABEL, INSTANCE_LABEL = "marathon_framework_id", "marathon_task_id"
_SCALARS = ("cpus", "mem", "disk", "gpus")


def parse_offer(offer: Json) -> Offer:
    pools: dict[bytes, dict[str, Any]] = {}
    for resource in offer.get("resources", ()):
        volume, disk = _is_volume(resource), _disk_of(resource)
        if not volume and disk is None and not _is_plain(resource):
            continue
        reservations = tuple(resource.get("reservations", ())) or _legacy_reservation(resource)
        pool = pools.setdefault(
            orjson.dumps(reservations, option=orjson.OPT_SORT_KEYS),
            {"reservations": reservations, "ports": [], "volumes": [], "disks": []},
        )
        name = resource["name"]
        if volume:
            pool["volumes"].append(resource)
        elif disk is not None:
            pool["disks"].append(disk)
        elif name in _SCALARS and resource["type"] == "SCALAR":
            pool[name] = pool.get(name, 0) + milli(resource["scalar"]["value"])
        elif name == "ports" and resource["type"] == "RANGES":
            pool["ports"] += [(r["begin"], r["end"]) for r in resource["ranges"].get("range", ())]
    start, end = _maintenance(offer.get("unavailability"))
    return Offer(
        id=offer["id"]["value"],
        agent=parse_agent(offer),
        role=offer.get("allocation_info", {}).get("role", UNRESERVED),
        pools=tuple(_pool(pool) for pool in pools.values()),
        maintenance_at=start,
        maintenance_until=end,
        raw=offer,
    )


def parse_inverse_offer(offer: Json) -> InverseOffer:
    """One that names no agent asks for resources anywhere, which no master does."""
    start, end = _maintenance(offer["unavailability"])
    return InverseOffer(offer["id"]["value"], offer["agent_id"]["value"], start or 0.0, end)


def _is_volume(resource: Json) -> bool:
    """A persistent volume, on whatever disk."""
    return "persistence" in resource.get("disk", {}) and "shared" not in resource


def _disk_of(resource: Json) -> Disk | None:
    """A disk with a file system of its own, or a part of one; None for all else."""
    disk = resource.get("disk", {})
    source = disk.get("source", {})
    kind = str(source.get("type", "")).lower()
    if kind not in ("path", "mount") or "persistence" in disk or "shared" in resource or "revocable" in resource:
        return None
    root = source.get(kind, {}).get("root", "")
    return Disk(kind, milli(resource["scalar"]["value"]), root, source.get("profile"), source)


def _is_plain(resource: Json) -> bool:
    """Neither a volume, nor a disk of its own, nor shared, nor revocable: what any task may simply use."""
    disk = resource.get("disk", {})
    return not (
        "persistence" in disk or "source" in disk or "volume" in disk or "shared" in resource or "revocable" in resource
    )


def _legacy_reservation(resource: Json) -> tuple[Json, ...]:
    role = resource.get("role", UNRESERVED)
    return () if role == UNRESERVED else ({"type": "STATIC", "role": role},)


def _pool(fields: dict[str, Any]) -> Pool:
    reservations = fields["reservations"]
    last = reservations[-1] if reservations else {}
    given = {label["key"]: label.get("value", "") for label in last.get("labels", {}).get("labels", ())}
    owner = (given.get(FRAMEWORK_LABEL), given.get(INSTANCE_LABEL))
    return Pool(
        role=last.get("role", UNRESERVED),
        cpus=fields.get("cpus", 0),
        mem=fields.get("mem", 0),
        disk=fields.get("disk", 0),
        gpus=fields.get("gpus", 0),
        ports=tuple(fields["ports"]),
        reservations=reservations,
        labelled=last.get("type") == "DYNAMIC" and bool(given),
        owner=(owner[0], owner[1]) if owner[0] and owner[1] else None,
        volumes=tuple(fields["volumes"]),
        disks=tuple(fields["disks"]),
    )


def parse_agent(offer: Json) -> Agent:
    domain = offer.get("domain", {}).get("fault_domain", {})
    return Agent(
        id=offer["agent_id"]["value"],
        host=offer["hostname"],
        attributes=tuple((attribute["name"], _text(attribute)) for attribute in offer.get("attributes", ())),
        region=domain.get("region", {}).get("name"),
        zone=domain.get("zone", {}).get("name"),
    )


def _text(attribute: Json) -> str:
    """An attribute's value as text: `3` for 3.0, `[1-2,5-6]` for ranges, `{a,b}` for a set."""
    if "scalar" in attribute:
        return f"{attribute['scalar']['value']:.3f}".rstrip("0").rstrip(".")
    if "ranges" in attribute:
        return "[" + ",".join(f"{r['begin']}-{r['end']}" for r in attribute["ranges"].get("range", ())) + "]"
    if "set" in attribute:
        return "{" + ",".join(attribute["set"].get("item", ())) + "}"
    return str(attribute.get("text", {}).get("value", ""))


def _maintenance(unavailability: Json | None) -> tuple[float | None, float | None]:
    if not unavailability:
        return None, None
    start = unavailability["start"]["nanoseconds"] / 1e9
    duration = unavailability.get("duration", {}).get("nanoseconds")
    return start, None if duration is None else start + duration / 1e9


def parse_status(status: Json) -> TaskStatus:
    addresses = [
        IpAddress(ip["ip_address"], ip.get("protocol", "IPv4"))
        for info in status.get("container_status", {}).get("network_infos", ())
        for ip in info.get("ip_addresses", ())
        if ip.get("ip_address")
    ]
    return TaskStatus(
        task_id=status["task_id"]["value"],
        state=status["state"],
        agent_id=status.get("agent_id", {}).get("value"),
        reason=status.get("reason"),
        source=status.get("source"),
        message=status.get("message", ""),
        healthy=status.get("healthy"),
        uuid=status.get("uuid"),
        timestamp=status.get("timestamp"),
        ip_addresses=tuple(addresses),
    )
