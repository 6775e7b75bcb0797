"""A template function's window on the world, while one template is evaluated."""

from collections.abc import Mapping
from typing import Protocol, TypeVar

from consul_template_py.functions.scratch import Scratch
from consul_template_py.query import Query

T = TypeVar("T")


class Context(Protocol):
    @property
    def environment(self) -> Mapping[str, str]:
        """The environment variables that templates see."""
        ...

    @property
    def scratch(self) -> Scratch:
        """A pad that lives for one evaluation."""
        ...

    def read(self, query: Query[T]) -> T:
        """The value, or the one for "none" while there has been no answer: the evaluation is then incomplete, and starts a watch."""
        ...

    def wait_for(self, query: Query[object]) -> None:
        """The value is there, but the template is not to be rendered with it: as if there had been no answer."""
        ...

    def local(self) -> None:
        """What is being evaluated depends on the machine that it is evaluated on."""
        ...

    def impure(self) -> None:
        """What is being evaluated gives another text each time."""
        ...
