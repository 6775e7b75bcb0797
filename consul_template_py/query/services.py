"""`services("?ns=…@dc")`: the names and tags of all services of a data centre."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from consul_template_py.errors import QuerySyntaxError
from consul_template_py.query.base import HERE, At, ConsulQuery, parse_parts


class ServiceName(str):
    """A whole service name as Consul gave it. `service("a.b")` means tag a of service b, but a name may hold dots itself:
    one that came from Consul is never split."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class ServiceSummary:
    name: ServiceName
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServicesQuery(ConsulQuery[tuple[ServiceSummary, ...]]):
    """Sorted by name; tags sorted."""

    at: At = HERE

    @staticmethod
    def parse(text: str = "") -> "ServicesQuery":
        parts = parse_parts(text, "services")
        if parts.name or parts.near or parts.filters:
            raise QuerySyntaxError(f"services({text!r}) takes only ?ns=…@datacenter")
        return ServicesQuery(parts.at)

    @property
    def path(self) -> str:
        return "/catalog/services"

    @property
    def params(self) -> Mapping[str, str]:
        return self.at.params

    def decode(self, body: bytes) -> tuple[ServiceSummary, ...]:
        found: dict[str, list[str] | None] = orjson.loads(body)
        return tuple(
            ServiceSummary(ServiceName(name), tuple(sorted(map(sys.intern, tags or ()))))
            for name, tags in sorted(found.items())
        )

    def __str__(self) -> str:
        return f"services({self.at})"
