"""`range`: how its rounds run, and what they depend on, which decides whether they are kept until the next evaluation."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from consul_template_py.escape import RefusedValueError
from consul_template_py.gotemplate import nodes as n
from consul_template_py.gotemplate.frames import Frame, Step
from consul_template_py.incremental import Incremental


class BreakError(Exception):
    pass


class ContinueError(Exception):
    pass


class _Stopped(Exception):  # noqa: N818  it carries the text of the round that ended the loop, and is no error
    def __init__(self, text: str) -> None:
        self.text = text


@dataclass(frozen=True)
class Kept:
    """How `incremental.py` knows a loop: its place in the template, and the slots of the outer variables that its rounds read."""

    site: int
    free: tuple[int, ...]


@dataclass(frozen=True)
class Rounds:
    """`slots` are those of the item, or of index and item. `kept` is None where every evaluation runs all rounds."""

    body: Sequence[Step]
    slots: tuple[int, ...]
    kept: Kept | None

    def text(self, frame: Frame, items: tuple[Any, ...], pairs: bool, incremental: Incremental) -> str:
        """`pairs`: the items are keys with their values, as of a map."""
        run = self._runner(frame)
        if self.kept is None:
            return _all_rounds(run, items, pairs, incremental)
        site, free = self.kept.site, tuple(frame.slots[slot] for slot in self.kept.free)
        if pairs:
            found = incremental.loop(site, items, run, free, unpack=True)
        elif len(self.slots) == 2:
            found = incremental.loop(site, items, lambda at, item: run(at.index0, item), free, position=("index0",))
        else:
            found = incremental.loop(site, items, lambda item: run(0, item), free)
        return found or ""

    def _runner(self, frame: Frame) -> Callable[[Any, Any], str]:
        """One round in this frame. Raises _Stopped where it ends the loop."""
        body, slots = self.body, self.slots

        def run(index: Any, item: Any) -> str:
            out, dot = frame.out, frame.dot
            frame.out, frame.dot = [], item
            for slot, given in zip(slots, (item,) if len(slots) == 1 else (index, item), strict=False):
                frame.slots[slot] = given
            try:
                for each in body:
                    each(frame)
                return "".join(frame.out)
            except ContinueError:
                return "".join(frame.out)
            except BreakError:
                raise _Stopped("".join(frame.out)) from None
            finally:
                frame.out, frame.dot = out, dot

        return run


def _all_rounds(run: Callable[[Any, Any], str], items: tuple[Any, ...], pairs: bool, incremental: Incremental) -> str:
    texts = []
    for index, item in enumerate(items):
        try:
            texts.append(run(*item) if pairs else run(index, item))
        except RefusedValueError as error:
            incremental.refuse(error)
        except _Stopped as stopped:
            texts.append(stopped.text)
            break
    return "".join(texts)


class Dependence:
    """What the body of a `range` depends on: outer variables that it reads, whether it may ask, whether its rounds are independent.

    `asking` are the names of the functions that ask sources.
    """

    def __init__(self, node: n.Range, asking: Collection[str]) -> None:
        self._asking = asking
        self.free: set[str] = set()
        self.asks = False
        self._assigns = node.pipeline.assigns
        self._leaves = False
        self._look(node.body, frozenset(node.pipeline.declares))

    @property
    def independent(self) -> bool:
        """No round changes what another one sees, nor ends the loop."""
        return not self._leaves and not self._assigns

    def _look(self, body: n.Body, own: frozenset[str], *, inner: bool = False) -> None:
        for node in body:
            if isinstance(node, n.Break | n.Continue):
                self._leaves |= not inner
            elif isinstance(node, n.Action):
                own = self._pipeline(node.pipeline, own)
            elif isinstance(node, n.Call):
                self.asks = True  # what is called is not looked into
                if node.pipeline is not None:
                    self._pipeline(node.pipeline, own)
            elif isinstance(node, n.If | n.With | n.Range):
                inside = self._pipeline(node.pipeline, own)
                inner_loop = inner or isinstance(node, n.Range)
                self._look(node.body, inside, inner=inner_loop)
                self._look(node.otherwise, inside, inner=inner_loop)

    def _pipeline(self, pipeline: n.Pipeline, own: frozenset[str]) -> frozenset[str]:
        for command in pipeline.commands:
            for word in command.words:
                self._word(word, own)
        if pipeline.assigns:
            self._assigns |= bool(set(pipeline.declares) - own)
            return own
        return own | set(pipeline.declares)

    def _word(self, word: n.Word, own: frozenset[str]) -> None:
        if isinstance(word, n.Variable) and word.name not in own:
            self.free.add(word.name)
        elif isinstance(word, n.Function):
            self.asks |= word.name in self._asking or word.name == "executeTemplate"
        elif isinstance(word, n.Fields):
            self._word(word.of, own)
        elif isinstance(word, n.Pipeline):
            self._pipeline(word, own)
