"""`services("?ns=…@dc")`: the names and tags of all services of a data centre."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import contains

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


class _Summaries(tuple[ServiceSummary, ...]):
    """With what Consul's answers said, to compare the next one with: there may be thousands of services, and thousands of answers an hour.

    Consul gives tags in another order each time. So a service's part of the body has several forms; once those that occur are known, an
    answer that says the same is known by its bytes, without being parsed.
    """

    def __init__(self, summaries: Iterable[ServiceSummary]) -> None:
        self.found: dict[str, list[str] | None] = {str(s.name): list(s.tags) for s in self}
        self._forms: list[tuple[bytes, ...]] = [()] * len(self)

    def says(self, parts: list[bytes]) -> bool:
        """Whether a body in these parts says just this."""
        return len(parts) == len(self._forms) and all(map(contains, self._forms, parts))

    def learn(self, parts: list[bytes]) -> None:
        """The parts are those of a body that says just this, with a list for each service."""
        # As many parts as services: then each part is one service, whatever its name and tags hold.
        if len(parts) == len(self._forms):
            for number, (forms, part) in enumerate(zip(self._forms, parts, strict=True)):
                if part not in forms and len(forms) < _MOST_FORMS:
                    self._forms[number] = (*forms, part)


_MOST_FORMS = 6  # the orders of three tags
_BETWEEN = b'],"'  # from one service to the next in `{"api":["v1"],"web":[]}`


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
        parts = body.split(_BETWEEN)
        if isinstance(before, _Summaries) and before.says(parts):
            return before
        found: dict[str, list[str] | None] = orjson.loads(body)
        for tags in found.values():
            if tags and len(tags) > 1:  # Consul gives them in another order each time
                tags.sort()
        if isinstance(before, _Summaries) and found == before.found:
            before.learn(parts)
            return before
        known = {str(summary.name): summary for summary in before}
        made = []
        for name in sorted(found):
            tags_now = tuple(map(sys.intern, found[name] or ()))
            summary = known.get(name)
            made.append(
                summary
                if summary is not None and summary.tags == tags_now
                else ServiceSummary(ServiceName(name), tags_now)
            )
        summaries = _Summaries(made)
        if None not in found.values():
            summaries.learn(parts)
        return summaries

    def absent(self) -> tuple[ServiceSummary, ...]:
        return ()

    def __str__(self) -> str:
        return f"services({self.at})"
