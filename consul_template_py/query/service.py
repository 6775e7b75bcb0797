"""`service("tag.name?ns=…@dc~near|passing,warning")`: the instances of one service, with their health."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from types import MappingProxyType
from typing import Any

import orjson

from consul_template_py.errors import QuerySyntaxError
from consul_template_py.http import quote_path
from consul_template_py.query.base import HERE, At, ConsulQuery, Parts, parse_parts
from consul_template_py.query.services import ServiceName

STATUSES = ("passing", "warning", "critical", "maintenance")
NO_META: Mapping[str, str] = MappingProxyType({})
_MAINTENANCE_PREFIXES = ("_node_maintenance", "_service_maintenance:")


@dataclass(frozen=True, slots=True)
class Check:
    node: str
    id: str
    name: str
    status: str
    notes: str
    output: str
    service_id: str
    service_name: str


@dataclass(frozen=True, slots=True)
class ServiceInstance:
    """One instance. `address` is never empty: it is the node's where the service has none. `weights`: (passing, warning)."""

    id: str
    name: str
    node: str
    node_id: str
    node_address: str
    address: str
    port: int
    tags: tuple[str, ...]
    meta: Mapping[str, str]
    node_meta: Mapping[str, str]
    node_tagged_addresses: Mapping[str, str]
    tagged_addresses: Mapping[str, Any]
    datacenter: str
    weights: tuple[int, int]
    status: str  # passing, warning, critical or maintenance: the worst of the checks
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class ServiceQuery(ConsulQuery[tuple[ServiceInstance, ...]]):
    """Sorted by node, then id, unless `near` asks for Consul's order of distance. `filters` are statuses, or ("any",)."""

    name: str
    tag: str = ""
    filters: tuple[str, ...] = ("passing",)
    near: str = ""
    at: At = HERE
    connect: bool = False

    @staticmethod
    def parse(text: str, *extra_filters: str, connect: bool = False) -> "ServiceQuery":
        what = "connect" if connect else "service"
        if isinstance(text, ServiceName):
            parts, tag, name = Parts(text, HERE, "", ()), "", str(text)
        else:
            parts = parse_parts(text, what)
            tag, _, name = parts.name.rpartition(".")
        if not name:
            raise QuerySyntaxError(f"{what}({text!r}) names no service")
        extra = tuple(part.strip() for given in extra_filters for part in given.split(",") if part.strip())
        filters = extra or parts.filters or ("passing",)
        for status in filters:
            if status not in (*STATUSES, "any"):
                raise QuerySyntaxError(f"{what}({text!r}): filter {status!r} is none of {', '.join(STATUSES)}, any")
        return ServiceQuery(name, tag, tuple(dict.fromkeys(filters)), parts.near, parts.at, connect)

    @property
    def path(self) -> str:
        return f"/health/{'connect' if self.connect else 'service'}/{quote_path(self.name)}"

    @property
    def params(self) -> Mapping[str, str]:
        params = self.at.params
        if self.tag:
            params["tag"] = self.tag
        if self.near:
            params["near"] = self.near
        if self.filters == ("passing",):
            params["passing"] = "1"
        return params

    def decode(self, body: bytes) -> tuple[ServiceInstance, ...]:
        found = [_instance(entry) for entry in orjson.loads(body)]
        if "any" not in self.filters:
            found = [instance for instance in found if instance.status in self.filters]
        if not self.near:
            found.sort(key=attrgetter("node", "id"))
        return tuple(found)

    def absent(self) -> tuple[ServiceInstance, ...]:
        return ()

    def __str__(self) -> str:
        name = f"{self.tag}.{self.name}" if self.tag else self.name
        near = f"~{self.near}" if self.near else ""
        return f"{'connect' if self.connect else 'service'}({name}{self.at}{near}|{','.join(self.filters)})"


def _instance(entry: dict[str, Any]) -> ServiceInstance:
    node, service = entry["Node"], entry["Service"]
    checks = tuple(_check(check) for check in entry.get("Checks") or ())
    weights = service.get("Weights") or {}
    return ServiceInstance(
        id=service["ID"],
        name=sys.intern(service["Service"]),
        node=sys.intern(node["Node"]),
        node_id=sys.intern(node.get("ID") or ""),
        node_address=sys.intern(node["Address"]),
        address=service.get("Address") or node["Address"],
        port=service.get("Port") or 0,
        tags=tuple(sorted(sys.intern(tag) for tag in service.get("Tags") or ())),
        meta=_mapping(service.get("Meta")),
        node_meta=_mapping(node.get("Meta")),
        node_tagged_addresses=_mapping(node.get("TaggedAddresses")),
        tagged_addresses=_mapping(service.get("TaggedAddresses")),
        datacenter=sys.intern(node.get("Datacenter") or ""),
        weights=(weights.get("Passing", 1), weights.get("Warning", 1)),
        status=aggregated_status(checks),
        checks=checks,
    )


def _check(check: dict[str, Any]) -> Check:
    return Check(
        node=sys.intern(check.get("Node") or ""),
        id=sys.intern(check.get("CheckID") or ""),
        name=sys.intern(check.get("Name") or ""),
        status=sys.intern(check.get("Status") or ""),
        notes=check.get("Notes") or "",
        output=check.get("Output") or "",
        service_id=check.get("ServiceID") or "",
        service_name=sys.intern(check.get("ServiceName") or ""),
    )


def _mapping(found: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return MappingProxyType(found) if found else NO_META


def aggregated_status(checks: tuple[Check, ...]) -> str:
    """Consul's rule: maintenance before critical before warning before passing."""
    statuses = {check.status for check in checks}
    if any(check.id.startswith(_MAINTENANCE_PREFIXES) for check in checks):
        return "maintenance"
    return next((status for status in ("critical", "warning") if status in statuses), "passing")
