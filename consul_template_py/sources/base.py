"""The seam between a watch and the places that data comes from.

Every source is asked in one way: "answer this query when you know something newer than this cursor". What a cursor is, the source
alone knows: Consul's index, a file's time and size, a secret's lease. The watch's loop, with its back-off and its bookkeeping, is
then the same for all.
"""

from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from consul_template_py.query import Query

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """`index` grows with the source's data, as far as the source counts; 0 where it does not."""

    value: T
    cursor: object
    index: int = 0


class DataSource(Protocol):
    async def poll(self, query: Query[Any], cursor: object | None, last: Any = None) -> Answer[Any]:
        """Without a cursor: answers at once. With one: when there may be something newer, or after the source's own wait.

        `last` is the last value, None before the first: an equal answer may be that very object.

        Raises SourceError when the source cannot answer now. Cancelling it gives its connection back.
        """
        ...

    async def read(self, query: Query[Any]) -> Any:
        """Answers now, as consistently as the source can (Consul: through its leader, which asks its quorum)."""
        ...

    async def close(self) -> None: ...
