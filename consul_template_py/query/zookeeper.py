"""`znode("/path")` and `zchildren("/path")`: the data of a ZooKeeper node, and the names of its children."""

from dataclasses import dataclass
from typing import ClassVar

from consul_template_py.query.base import Source


@dataclass(frozen=True, slots=True)
class ZnodeQuery:
    """None where the node does not exist."""

    source: ClassVar[Source] = "zookeeper"
    path: str

    def decode(self, body: bytes) -> str:
        return body.decode("utf-8", "surrogateescape")

    def absent(self) -> str | None:
        return None

    def __str__(self) -> str:
        return f"znode({self.path})"


@dataclass(frozen=True, slots=True)
class ZchildrenQuery:
    """Sorted names; empty where the node does not exist."""

    source: ClassVar[Source] = "zookeeper"
    path: str

    def absent(self) -> tuple[str, ...]:
        return ()

    def __str__(self) -> str:
        return f"zchildren({self.path})"
