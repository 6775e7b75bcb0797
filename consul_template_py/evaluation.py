"""What holds while one template is evaluated: which values it sees, what it has read, what was refused.

The same for Jinja2 and Go templates. An engine has one `Current` that its functions are bound to; a template puts its own `Evaluation`
there for as long as it is evaluated, which is never longer than one call.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from consul_template_py.functions.scratch import Scratch
from consul_template_py.incremental import Incremental
from consul_template_py.query import Query

T = TypeVar("T")


class Values(Protocol):
    def get(self, query: Query[T]) -> tuple[bool, T | None]:
        """Whether there is a value, and the value."""
        ...


class Evaluation:
    """One template's state between evaluations."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self.incremental = Incremental()
        self.scratch = Scratch(self.incremental.impure)
        self.local = False  # it has read something that is this machine's own

    def read(self, query: Query[T]) -> T:
        received, value = self.values.get(query)
        self.incremental.touch(query, received)
        self.local |= query.source != "consul"
        return value if received else query.absent()  # type: ignore[return-value]

    def wait_for(self, query: Query[Any]) -> None:
        self.incremental.touch(query, False)


class Current:
    """The context that functions are bound to: it passes on to the evaluation that runs now."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self._now: Evaluation | None = None

    @property
    def now(self) -> Evaluation:
        assert self._now is not None, "a template function was called outside of a template"
        return self._now

    @property
    def scratch(self) -> Scratch:
        return self.now.scratch

    def read(self, query: Query[T]) -> T:
        return self.now.read(query)

    def wait_for(self, query: Query[Any]) -> None:
        self.now.wait_for(query)

    def local(self) -> None:
        self.now.local = True

    def impure(self) -> None:
        self.now.incremental.impure()

    @contextmanager
    def evaluating(self, evaluation: Evaluation) -> Iterator[None]:
        before, self._now = self._now, evaluation
        evaluation.scratch.clear()
        try:
            yield
        finally:
            self._now = before


class Template(Protocol):
    """A compiled template, whatever its language."""

    @property
    def name(self) -> str: ...

    def evaluate(self, evaluation: Evaluation) -> str:
        """The text, which counts only if `evaluation.incremental.missing` is empty. Raises TemplateError, RefusedValueError."""
        ...
