"""The tree of a parsed Go template. Pure values; `line` is where a node begins."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Literal:
    value: str | int | float | bool | None


@dataclass(frozen=True)
class Dot:
    pass


@dataclass(frozen=True)
class Variable:
    """`$name`; `$` alone has the name ""."""

    name: str


@dataclass(frozen=True)
class Function:
    name: str


@dataclass(frozen=True)
class Fields:
    """`.A.B` of something: of the dot, a variable, a function's result, or a pipeline in parentheses."""

    of: "Word"
    names: tuple[str, ...]


@dataclass(frozen=True)
class Command:
    """`words[0]` is called with the rest, if it can be called."""

    words: "tuple[Word, ...]"
    line: int


@dataclass(frozen=True)
class Pipeline:
    """`declares`: the variables of `$x := …` (or of `$x = …`, with `assigns`)."""

    commands: tuple[Command, ...]
    declares: tuple[str, ...] = ()
    assigns: bool = False


Word = Literal | Dot | Variable | Function | Fields | Pipeline


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class Action:
    pipeline: Pipeline
    line: int


@dataclass(frozen=True)
class If:
    pipeline: Pipeline
    body: "Body"
    otherwise: "Body"
    line: int


@dataclass(frozen=True)
class With:
    pipeline: Pipeline
    body: "Body"
    otherwise: "Body"
    line: int


@dataclass(frozen=True)
class Range:
    pipeline: Pipeline
    body: "Body"
    otherwise: "Body"
    line: int


@dataclass(frozen=True)
class Break:
    line: int


@dataclass(frozen=True)
class Continue:
    line: int


@dataclass(frozen=True)
class Call:
    """`{{template "name" pipeline}}`."""

    name: str
    pipeline: Pipeline | None
    line: int


Node = Text | Action | If | With | Range | Break | Continue | Call
Body = tuple[Node, ...]


@dataclass(frozen=True)
class Parsed:
    """The main body, and what `define` and `block` have named."""

    body: Body
    defined: dict[str, Body]
