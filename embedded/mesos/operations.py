"""Operations on offered resources other than launches: RESERVE, UNRESERVE, CREATE, DESTROY. Pure.

Each turns resources into others: what an operation consumes, and what it makes of it.
"""

from dataclasses import dataclass
from typing import Any

from embedded.mesos.errors import ResourcesError
from embedded.mesos.resources import UNRESERVED, Resources

Json = dict[str, Any]


class OperationError(Exception):
    """The operation is invalid: its message tells why."""


@dataclass(frozen=True)
class Conversion:
    consumed: Resources
    made: Resources


def conversion(operation: Json, *, available: Resources, role: str, principal: str | None) -> Conversion:
    """What the operation does to the resources. Raises OperationError if it is invalid or they do not hold it."""
    kind = operation["type"]
    content = operation.get(kind.lower(), {})
    try:
        if kind in ("RESERVE", "UNRESERVE"):
            reserved = [_checked_reservation(item, kind, role, principal) for item in content.get("resources", [])]
            source = [_without_last_reservation(item) for item in reserved]
            consumed, made = (source, reserved) if kind == "RESERVE" else (reserved, source)
        elif kind in ("CREATE", "DESTROY"):
            volumes = [_checked_volume(item, kind) for item in content.get("volumes", [])]
            disks = [_without_volume(item) for item in volumes]
            consumed, made = (disks, volumes) if kind == "CREATE" else (volumes, disks)
        else:
            raise OperationError(f"{kind} is not supported")
        change = Conversion(Resources.from_json(consumed), Resources.from_json(made))
    except ResourcesError as error:
        raise OperationError(f"Invalid {kind} operation: {error}") from None
    if not available.contains(change.consumed):
        raise OperationError(f"Invalid {kind} operation: {available} does not contain {change.consumed}")
    return change


def _checked_reservation(item: Json, kind: str, role: str, principal: str | None) -> Json:
    item = _in_refined_form(item)
    if not item["reservations"]:
        raise OperationError(f"Invalid {kind} operation: resource '{item['name']}' is not reserved")
    last = item["reservations"][-1]
    if last.get("type", "DYNAMIC") != "DYNAMIC":
        raise OperationError(f"Invalid {kind} operation: resource '{item['name']}' is not dynamically reserved")
    if "disk" in item and "persistence" in item["disk"]:
        raise OperationError(f"Invalid {kind} operation: a persistent volume cannot be reserved or unreserved")
    if kind == "RESERVE":
        if last.get("role") != role:
            raise OperationError(
                f"A reserve operation was attempted for a resource with role '{last.get('role')}', but the framework can"
                f" only reserve resources with role '{role}'"
            )
        if last.get("principal") != principal:
            given = f"with principal '{last['principal']}' set" if "principal" in last else "with no principal set"
            who = f"principal '{principal}'" if principal else "a framework with no principal"
            raise OperationError(
                f"A reserve operation was attempted by {who}, but there is a reserved resource in the request {given}"
            )
    return item


def _in_refined_form(item: Json) -> Json:
    """Reservations told by `reservations`, whichever way they came."""
    item = {name: value for name, value in item.items() if name != "allocation_info"}
    role, old = item.pop("role", UNRESERVED), item.pop("reservation", None)
    if "reservations" not in item:
        item["reservations"] = [] if role == UNRESERVED else [{"type": "DYNAMIC", "role": role, **(old or {})}]
    return item


def _without_last_reservation(item: Json) -> Json:
    return {**item, "reservations": item["reservations"][:-1]}


def _without_volume(item: Json) -> Json:
    """The disk that a volume is made of: the root disk, or one that has a source."""
    rest = {name: value for name, value in item.items() if name != "disk"}
    return {**rest, "disk": {"source": item["disk"]["source"]}} if "source" in item["disk"] else rest


def _checked_volume(item: Json, kind: str) -> Json:
    item = _in_refined_form(item)
    persistence = item.get("disk", {}).get("persistence")
    if item["name"] != "disk" or not persistence:
        raise OperationError(f"Invalid {kind} operation: '{item['name']}' is not a persistent volume")
    if not item["reservations"]:
        raise OperationError(f"Invalid {kind} operation: persistent volume '{persistence['id']}' is not reserved")
    if "volume" not in item["disk"]:
        raise OperationError(f"Invalid {kind} operation: expecting 'volume' to be set for persistent volume")
    if "host_path" in item["disk"]["volume"]:
        raise OperationError(f"Invalid {kind} operation: expecting 'host_path' to be unset for persistent volume")
    return item
