"""`nodes("?ns=…@dc~near")` and `node("name@dc")`: the machines of a data centre, and one of them with what runs on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import orjson

from consul_template_py.errors import QuerySyntaxError
from consul_template_py.http import quote_path
from consul_template_py.query.base import HERE, At, ConsulQuery, parse_parts
from consul_template_py.query.service import NO_META
from consul_template_py.query.services import ServiceName


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    id: str
    address: str
    datacenter: str
    tagged_addresses: Mapping[str, str]
    meta: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NodeService:
    id: str
    name: ServiceName
    tags: tuple[str, ...]
    meta: Mapping[str, str]
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class NodeWithServices:
    node: Node
    services: tuple[NodeService, ...]


@dataclass(frozen=True, slots=True)
class NodesQuery(ConsulQuery[tuple[Node, ...]]):
    """Sorted by name, unless `near` asks for Consul's order of distance."""

    near: str = ""
    at: At = HERE

    @staticmethod
    def parse(text: str = "") -> "NodesQuery":
        parts = parse_parts(text, "nodes")
        if parts.name or parts.filters:
            raise QuerySyntaxError(f"nodes({text!r}) takes only ?ns=…@datacenter~near")
        return NodesQuery(parts.near, parts.at)

    @property
    def path(self) -> str:
        return "/catalog/nodes"

    @property
    def params(self) -> Mapping[str, str]:
        return self.at.params | ({"near": self.near} if self.near else {})

    def decode(self, body: bytes) -> tuple[Node, ...]:
        nodes = [_node(entry) for entry in orjson.loads(body)]
        return tuple(nodes if self.near else sorted(nodes, key=lambda node: (node.name, node.address)))

    def absent(self) -> tuple[Node, ...]:
        return ()

    def __str__(self) -> str:
        return f"nodes({self.at}{'~' + self.near if self.near else ''})"


@dataclass(frozen=True, slots=True)
class NodeQuery(ConsulQuery[NodeWithServices | None]):
    """One node and its services, sorted by name, then id. None where there is no such node."""

    may_be_absent: ClassVar[bool] = True
    name: str
    at: At = HERE

    @staticmethod
    def parse(text: str) -> "NodeQuery":
        parts = parse_parts(text, "node")
        if not parts.name or parts.near or parts.filters:
            raise QuerySyntaxError(f"node({text!r}) takes a node's name and ?ns=…@datacenter")
        return NodeQuery(parts.name, parts.at)

    @property
    def path(self) -> str:
        return f"/catalog/node/{quote_path(self.name)}"

    @property
    def params(self) -> Mapping[str, str]:
        return self.at.params

    def decode(self, body: bytes) -> NodeWithServices | None:
        found = orjson.loads(body)
        if not found:
            return None
        services = [
            NodeService(
                id=entry["ID"],
                name=ServiceName(entry["Service"]),
                tags=tuple(sorted(entry.get("Tags") or ())),
                meta=MappingProxyType(entry.get("Meta") or {}),
                address=entry.get("Address") or found["Node"]["Address"],
                port=entry.get("Port") or 0,
            )
            for entry in (found.get("Services") or {}).values()
        ]
        services.sort(key=lambda service: (service.name, service.id))
        return NodeWithServices(_node(found["Node"]), tuple(services))

    def absent(self) -> NodeWithServices | None:
        return None

    def __str__(self) -> str:
        return f"node({self.name}{self.at})"


def _node(entry: dict[str, Any]) -> Node:
    return Node(
        name=entry["Node"],
        id=entry.get("ID") or "",
        address=entry["Address"],
        datacenter=entry.get("Datacenter") or "",
        tagged_addresses=MappingProxyType(entry["TaggedAddresses"]) if entry.get("TaggedAddresses") else NO_META,
        meta=MappingProxyType(entry["Meta"]) if entry.get("Meta") else NO_META,
    )
