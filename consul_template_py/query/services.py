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
        return self.decode_after(body, ())

    def decode_after(self, body: bytes, before: tuple[ServiceSummary, ...]) -> tuple[ServiceSummary, ...]:
        """Consul wakes this query for every change of any service, and most of those change neither names nor tags."""
        found: dict[str, list[str] | None] = orjson.loads(body)
        if len(found) == len(before) and all(_is_same(summary, found) for summary in before):
            return before
        known = {str(summary.name): summary for summary in before}
        made = []
        for name in sorted(found):
            summary = known.get(name)
            if summary is None or not _is_same(summary, found):
                tags = tuple(sorted(map(sys.intern, found[name] or ())))
                summary = ServiceSummary(ServiceName(name), tags)
            made.append(summary)
        return tuple(made)

    def absent(self) -> tuple[ServiceSummary, ...]:
        return ()

    def __str__(self) -> str:
        return f"services({self.at})"


def _is_same(summary: ServiceSummary, found: dict[str, list[str] | None]) -> bool:
    tags = found.get(summary.name)
    if not tags:
        return tags is not None and not summary.tags
    return (
        len(tags) == len(summary.tags)
        and (len(tags) == 1 or set(tags) == set(summary.tags))
        and tags[0] in summary.tags
    )
