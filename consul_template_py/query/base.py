"""What a query is: a value that names one piece of data of one source, and knows how to read the answer.

Queries are hashable values: two templates that ask for the same thing hold equal queries, and equal queries share one watch.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar
from urllib.parse import parse_qsl

from consul_template_py.errors import QuerySyntaxError

T_co = TypeVar("T_co", covariant=True)

Source = Literal["consul", "vault", "zookeeper", "file"]


class Query(Protocol[T_co]):
    """`str(query)` is how status pages and logs show it, such as `service(web|passing)`."""

    @property
    def source(self) -> Source: ...

    def __hash__(self) -> int: ...

    def absent(self) -> T_co:
        """The value that stands for "there is none"."""
        ...


class ConsulQuery(ABC, Generic[T_co]):
    """One GET of Consul's HTTP API, version 1."""

    __slots__ = ()
    source: ClassVar[Source] = "consul"
    may_be_absent: ClassVar[bool] = False  # a 404 is an answer: there is no such thing

    @property
    @abstractmethod
    def path(self) -> str:
        """Below `/v1`, percent-encoded."""

    @property
    def params(self) -> Mapping[str, str]:
        return {}

    @abstractmethod
    def decode(self, body: bytes) -> T_co:
        """Raises ValueError, KeyError or TypeError if the body is not what Consul answers."""

    def decode_after(self, body: bytes, before: Any) -> T_co:
        """As `decode`, for a query whose last value was `before`: where little changes in much, most of it can be kept."""
        return self.decode(body)

    @abstractmethod
    def absent(self) -> T_co:
        """The value that stands for "there is none"; for a 404, where `may_be_absent`."""


@dataclass(frozen=True, slots=True)
class At:
    """Where a query is asked: data centre, namespace, partition, cluster peer. Empty means the agent's own."""

    dc: str = ""
    ns: str = ""
    partition: str = ""
    peer: str = ""

    @property
    def params(self) -> dict[str, str]:
        given = {"dc": self.dc, "ns": self.ns, "partition": self.partition, "peer": self.peer}
        return {name: value for name, value in given.items() if value}

    def __str__(self) -> str:
        extra = "&".join(
            f"{k}={v}" for k, v in (("ns", self.ns), ("partition", self.partition), ("peer", self.peer)) if v
        )
        return (f"?{extra}" if extra else "") + (f"@{self.dc}" if self.dc else "")


HERE = At()

_QUERY = re.compile(
    r"(?:\?(?P<query>[^@~|]*))?(?:@(?P<dc>[\w.\-]+))?(?:~(?P<near>[\w.\-]+))?(?:\|(?P<filters>[\w,\-]+))?"
)


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of `name?ns=…&partition=…&peer=…@dc~near|filter,filter`, as consul-template writes queries."""

    name: str
    at: At
    near: str
    filters: tuple[str, ...]


def parse_parts(text: str, what: str) -> Parts:
    """`what` names the function in the error, such as "service". Raises QuerySyntaxError."""
    cut = min((i for i in (text.find(c) for c in "?@~|") if i >= 0), default=len(text))
    name, rest = text[:cut], text[cut:]
    match = _QUERY.fullmatch(rest)
    if match is None or any(ord(char) < 32 for char in name):
        raise QuerySyntaxError(f"{what}({text!r}) is not a query: write name?ns=…@datacenter~near|filter,filter")
    given = dict(parse_qsl(match["query"] or "", keep_blank_values=True))
    unknown = set(given) - {"ns", "partition", "peer"}
    if unknown:
        raise QuerySyntaxError(f"{what}({text!r}): unknown parameter {', '.join(sorted(unknown))}; ns, partition, peer")
    at = At(match["dc"] or "", given.get("ns", ""), given.get("partition", ""), given.get("peer", ""))
    filters = tuple(part.strip() for part in (match["filters"] or "").split(",") if part.strip())
    return Parts(name.strip(), at, match["near"] or "", filters)
