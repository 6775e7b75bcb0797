"""Evaluates a template again at the cost of what has changed, not of what there is.

Most templates are one loop over all services, with an inner query for each. When one service changes, one round of that loop gives
other text, and all others give what they gave before. So each round is a `Fragment`: its text, and the queries that were read while it
was made. A change of a query makes its fragments dirty; the next evaluation runs dirty fragments only, and joins.

What makes that sound: a round is kept only if its text is a function of its item, of the outer variables that its body names (`free`),
and of the queries that it read. Bodies whose text may depend on more are found when the template is compiled (they do not come here) or
while they run (`impure`: scratch pads, clocks), and run each time.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Undefined

from consul_template_py.escape import RefusedValueError
from consul_template_py.query import Query

Body = Callable[..., str]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A value that was kept out of the output, and with it the round of the loop in which it stood."""

    value: str
    why: str


class Fragment:
    """The text of one round of a loop, or of a whole template (`loop` None), and what it was made from."""

    __slots__ = ("children", "loop", "position", "queries", "refusals", "text")

    def __init__(self, loop: "Loop | None", position: int = 0) -> None:
        self.loop = loop
        self.position = position
        self.text = ""
        self.queries: frozenset[Query[Any]] = frozenset()
        self.children: dict[tuple[int, int], Loop] = _NONE
        self.refusals: tuple[Refusal, ...] = ()


_NONE: "dict[tuple[int, int], Loop]" = {}


class Loop:
    """The rounds of one loop. `owner` is the fragment in which the loop stands."""

    __slots__ = ("dirty", "free", "items", "owner", "rounds", "texts")

    def __init__(self, owner: Fragment) -> None:
        self.owner = owner
        self.items: tuple[Any, ...] | None = None  # the very object that was looped over, where it cannot change
        self.free: tuple[Any, ...] = ()
        self.rounds: dict[Any, Fragment] = {}
        self.texts: list[str] = []
        self.dirty: dict[Fragment, None] = {}


class _Frame:
    """A fragment that is being made."""

    __slots__ = ("before", "children", "fragment", "impure", "missing", "queries")

    def __init__(self, fragment: Fragment) -> None:
        self.fragment = fragment
        self.before = fragment.children
        self.children: dict[tuple[int, int], Loop] = {}
        self.queries: set[Query[Any]] = set()
        self.impure = False
        self.missing = False


class LoopPosition:
    """What a template sees as `loop`, as far as it does not depend on the other items."""

    __slots__ = ("index0", "length")

    def __init__(self, index0: int, length: int) -> None:
        self.index0 = index0
        self.length = length

    @property
    def index(self) -> int:
        return self.index0 + 1

    @property
    def revindex(self) -> int:
        return self.length - self.index0

    @property
    def revindex0(self) -> int:
        return self.length - self.index0 - 1

    @property
    def first(self) -> bool:
        return self.index0 == 0

    @property
    def last(self) -> bool:
        return self.index0 + 1 == self.length


class Incremental:
    """The kept fragments of one template. `evaluate(body)` runs `body`, which calls `loop` for its loops, and `touch` for each query."""

    def __init__(self) -> None:
        self.readers: dict[Query[Any], set[Fragment]] = {}
        self.missing: set[Query[Any]] = set()  # read, but not received yet
        self.refused: set[Fragment] = set()
        self.rounds_run = 0  # how many bodies have been run, ever
        self._news: dict[Query[Any], bool] = {}
        self._root = Fragment(None)
        self._stack: list[_Frame] = []

    @property
    def refusals(self) -> list[Refusal]:
        return [refusal for fragment in self.refused for refusal in fragment.refusals]

    def take_news(self) -> dict[Query[Any], bool]:
        """Queries that began (True) or ceased (False) to be read since the last call."""
        news, self._news = self._news, {}
        return news

    def invalidate(self, query: Query[Any]) -> None:
        """`query` has another value now, or its first."""
        self.missing.discard(query)
        for fragment in self.readers.get(query, ()):
            _soil(fragment)

    def forget(self) -> None:
        """Nothing is read any more; the next evaluation starts from scratch."""
        for loop in self._root.children.values():
            self._forget_rounds(loop.rounds.values())
        self._stop_reading(self._root, self._root.queries)
        self._root = Fragment(None)

    def evaluate(self, body: Callable[[], str]) -> str:
        """Raises what `body` raises. The text means nothing while `missing` is not empty."""
        self._stack.clear()
        self._run(self._root, body, ())
        return self._root.text

    # what bodies call

    def touch(self, query: Query[Any], received: bool) -> None:
        frame = self._stack[-1]
        frame.queries.add(query)
        if not received:
            frame.missing = True
            self.missing.add(query)

    def impure(self) -> None:
        """What is being made depends on more than its item, free variables and queries."""
        for frame in self._stack:
            frame.impure = True

    def refuse(self, error: RefusedValueError) -> None:
        """Notes a value that takes out a round of a loop in what is being made."""
        fragment = self._stack[-1].fragment
        fragment.refusals += (Refusal(error.value, error.why),)
        self.refused.add(fragment)

    def loop(
        self,
        site: int,
        iterable: Iterable[Any],
        body: Body,
        free: tuple[Any, ...] = (),
        *,
        unpack: bool = False,
        position: tuple[str, ...] = (),
    ) -> str | None:
        """The joined rounds, or None where there is no item. `site` names the loop in its template.

        `body` is called with the item (`unpack`: with its parts); before it with a LoopPosition where `position` names what it uses of
        that.
        """
        frame = self._stack[-1]
        number = 0
        while (site, number) in frame.children:  # the same loop again in the same fragment: a macro called twice
            number += 1
        loop = frame.before.get((site, number)) or Loop(frame.fragment)
        frame.children[site, number] = loop

        items: Sequence[Any] = iterable if isinstance(iterable, tuple) else list(iterable)
        if not items:
            self._forget_rounds(loop.rounds.values())
            loop.rounds, loop.texts, loop.items = {}, [], None
            return None

        def call(item: Any, index: int) -> str:
            arguments = tuple(item) if unpack else (item,)
            return body(LoopPosition(index, len(items)), *arguments) if position else body(*arguments)

        same_free = _same(loop.free, free)
        if not (loop.items is items and same_free):
            self._match_rounds(loop, items, position, all_dirty=not same_free)
            loop.items, loop.free = (items if isinstance(items, tuple) else None), free
        for fragment in sorted(loop.dirty, key=_position):  # in order: impure bodies may depend on it
            index = fragment.position
            impure = self._run(fragment, call, (items[index], index))
            loop.texts[index] = fragment.text
            if not impure:
                del loop.dirty[fragment]
        return "".join(loop.texts)

    def plain_loop(
        self, iterable: Iterable[Any], body: Body, *, unpack: bool = False, position: tuple[str, ...] = ()
    ) -> str | None:
        """As `loop`, with nothing kept: for bodies that read no query. A refused value takes its round out, as it does there."""
        items: Sequence[Any] = iterable if isinstance(iterable, tuple) else list(iterable)
        if not items:
            return None
        texts = []
        for index, item in enumerate(items):
            arguments = tuple(item) if unpack else (item,)
            try:
                texts.append(body(LoopPosition(index, len(items)), *arguments) if position else body(*arguments))
            except RefusedValueError as error:
                self.refuse(error)
        return "".join(texts)

    # inside

    def _match_rounds(self, loop: Loop, items: Sequence[Any], position: tuple[str, ...], *, all_dirty: bool) -> None:
        """Finds for each item the fragment that an equal one had before; new fragments are dirty."""
        before, loop.rounds = loop.rounds, {}
        loop.texts = []
        for index, item in enumerate(items):
            key = _key(item)
            if position:
                where = LoopPosition(index, len(items))
                key = (key, *(getattr(where, name) for name in position))
            known = True
            try:
                if key in loop.rounds:
                    key = (key, index)
                fragment = before.pop(key, None)
            except TypeError:  # unhashable: what was made from it cannot be found again
                key, known = ("unhashable", index), False
                fragment = before.pop(key, None)
            if fragment is None:
                fragment = Fragment(loop, index)
                known = False
            fragment.position = index
            loop.rounds[key] = fragment
            loop.texts.append(fragment.text)
            if all_dirty or not known:
                loop.dirty[fragment] = None
        self._forget_rounds(before.values())

    def _run(self, fragment: Fragment, body: Body, arguments: tuple[Any, ...]) -> bool:
        """Makes the fragment's text. True if it is impure."""
        frame = _Frame(fragment)
        self._stack.append(frame)
        self.rounds_run += 1
        fragment.refusals = ()
        self.refused.discard(fragment)
        try:
            fragment.text = body(*arguments)
        except RefusedValueError as error:
            if fragment.loop is None:
                raise
            fragment.text = ""
            self.refuse(error)
        except Exception:
            # With data missing, an error says nothing yet: a pass that lacks data renders nothing anyway.
            if not frame.missing:
                raise
            fragment.text = ""
        finally:
            self._stack.pop()
            self._note_reads(fragment, frame)
        if self._stack:
            self._stack[-1].missing |= frame.missing
        return frame.impure

    def _note_reads(self, fragment: Fragment, frame: _Frame) -> None:
        for query in frame.queries - fragment.queries:
            readers = self.readers.get(query)
            if readers is None:
                self.readers[query] = {fragment}
                self._note_news(query, began=True)
            else:
                readers.add(fragment)
        self._stop_reading(fragment, fragment.queries - frame.queries)
        fragment.queries = frozenset(frame.queries)
        for key, loop in frame.before.items():
            if frame.children.get(key) is not loop:
                self._forget_rounds(loop.rounds.values())
        fragment.children = frame.children or _NONE

    def _stop_reading(self, fragment: Fragment, queries: Iterable[Query[Any]]) -> None:
        for query in queries:
            readers = self.readers[query]
            readers.discard(fragment)
            if not readers:
                del self.readers[query]
                self.missing.discard(query)
                self._note_news(query, began=False)

    def _note_news(self, query: Query[Any], *, began: bool) -> None:
        if self._news.get(query) is (not began):
            del self._news[query]  # it is as it was
        else:
            self._news[query] = began

    def _forget_rounds(self, fragments: Iterable[Fragment]) -> None:
        for fragment in fragments:
            self._stop_reading(fragment, fragment.queries)
            self.refused.discard(fragment)
            if fragment.loop is not None:
                fragment.loop.dirty.pop(fragment, None)
            for loop in fragment.children.values():
                self._forget_rounds(loop.rounds.values())
            fragment.children, fragment.queries = _NONE, frozenset()


def _soil(fragment: Fragment) -> None:
    """It is to be run again, and so is what it stands in."""
    loop = fragment.loop
    while loop is not None and fragment not in loop.dirty:
        loop.dirty[fragment] = None
        fragment = loop.owner
        loop = fragment.loop


def _position(fragment: Fragment) -> int:
    return fragment.position


def _key(item: Any) -> Any:
    """Equal only for items that every body treats alike: 1, 1.0 and True are equal to Python, but not as text."""
    if isinstance(item, tuple) and type(item) is tuple:
        return tuple([_key(part) for part in item])
    return (item.__class__, item)


def _same(before: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
    return len(before) == len(now) and all(_equal(a, b) for a, b in zip(before, now, strict=True))


def _equal(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if a.__class__ is not b.__class__:
        return False
    if isinstance(a, Undefined):
        return bool(a._undefined_name == b._undefined_name)
    if isinstance(a, list | tuple):
        return _same(tuple(a), tuple(b))
    if isinstance(a, dict):
        return _same(tuple(a.items()), tuple(b.items()))
    return bool(a == b)
