"""What a compiled Go template runs on: closures over a frame that has the dot, the variables and the text so far."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from consul_template_py.errors import TemplateError

MOST_DEPTH = 100


class Frame:
    """One run of a body: where its text goes, its dot, its variables (slot 0 is `$`)."""

    __slots__ = ("depth", "dot", "out", "slots")

    def __init__(self, dot: Any, slots: int, depth: int) -> None:
        self.out: list[str] = []
        self.dot = dot
        self.slots: list[Any] = [dot] + [None] * slots
        self.depth = depth


Step = Callable[[Frame], None]
Value = Callable[[Frame], Any]


@dataclass
class Compiled:
    """A body that has variables of its own: the main one, or one that `define` named."""

    steps: list[Step]
    slots: int = 0

    def text(self, dot: Any, depth: int = 0) -> str:
        if depth > MOST_DEPTH:
            raise TemplateError(f"templates call each other more than {MOST_DEPTH} deep")
        frame = Frame(dot, self.slots, depth)
        for step in self.steps:
            step(frame)
        return "".join(frame.out)
