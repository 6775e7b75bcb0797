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


class Summaries(tuple[ServiceSummary, ...]):
    """With what Consul's answers said, to compare the next one with: there may be thousands of services, and thousands of answers an hour.

    Consul gives tags in another order each time. So a service's part of the body has several forms. An answer whose parts are all of a
    known form says the same, and need not be parsed; a part of another form is parsed alone.
    """

    def __init__(self, summaries: Iterable[ServiceSummary]) -> None:
        self.found: dict[str, list[str] | None] = {str(s.name): list(s.tags) for s in self}
        self._forms: list[tuple[bytes, ...]] = [()] * len(self)

    def says(self, parts: list[bytes]) -> bool:
        """Whether a body in these parts says just this, as far as that can be told from its parts."""
        if len(parts) != len(self._forms):
            return False
        known = list(map(contains, self._forms, parts))
        return all(known) or all(self._is_another_form(at, parts[at]) for at, yes in enumerate(known) if not yes)

    def learn(self, parts: list[bytes]) -> None:
        """The parts are those of a body that says just this, with a list for each service."""
        # As many parts as services: then each part is one service, whatever its name and tags hold.
        if len(parts) == len(self._forms):
            for at, part in enumerate(parts):
                self._keep(at, part)

    def _is_another_form(self, at: int, part: bytes) -> bool:
        if not self._forms[at] or at in (0, len(self) - 1):  # those two carry the body's own braces
            return False
        try:
            found = orjson.loads(b'{"' + part + b"]}")
        except ValueError:
            return False
        name = str(self[at].name)
        if found.keys() != {name} or sorted(found[name]) != self.found[name]:
            return False
        self._keep(at, part)
        return True

    def _keep(self, at: int, part: bytes) -> None:
        forms = self._forms[at]
        if part not in forms and len(forms) < _MOST_FORMS:
            self._forms[at] = (*forms, part)


_MOST_FORMS = 6  # the orders of three tags
# From one service to the next in `{"api":["v1"],"web":[]}`; and as an agent in dev mode indents it.
_BETWEEN, _BETWEEN_LINES = b'],"', b'],\n    "'


def parts_of(body: bytes) -> list[bytes]:
    """A body of Consul cut between its services; elsewhere too where names or tags look like the cut."""
    return body.split(_BETWEEN_LINES if body.startswith(b"{\n") else _BETWEEN)


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
        parts = parts_of(body)
        if isinstance(before, Summaries) and before.says(parts):
            return before
        found: dict[str, list[str] | None] = orjson.loads(body)
        for tags in found.values():
            if tags and len(tags) > 1:  # Consul gives them in another order each time
                tags.sort()
        if isinstance(before, Summaries) and found == before.found:
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
        summaries = Summaries(made)
        if None not in found.values():
            summaries.learn(parts)
        return summaries

    def absent(self) -> tuple[ServiceSummary, ...]:
        return ()

    def __str__(self) -> str:
        return f"services({self.at})"
