"""Rewrites a parsed template before Jinja2 compiles it: expressions are escaped for their place, loops become incremental.

An expression `{{ x }}` becomes `{{ x | __out(place, bare) }}`, where the place comes from the literal text before it.

A loop becomes a macro with its body, and a call that runs the macro for each item and keeps the texts (see `incremental.py`):

    {% for s in services() %}…{% endfor %}     {% macro __body_1(s) %}…{% endmacro %}{{ __loop(1, services(), __body_1, (free…)) }}

A loop whose rounds may depend on each other, or on more than can be named, stays as it is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from jinja2 import nodes

from consul_template_py.errors import TemplateError
from consul_template_py.escape import BARE, UNKNOWN, Place, Syntax, is_bare

N = TypeVar("N", bound=nodes.Node)
_POSITION = frozenset({"first", "last", "index", "index0", "length", "revindex", "revindex0"})
_FOREIGN = (nodes.NSRef, nodes.Block, nodes.Extends, nodes.Include, nodes.Continue, nodes.Break)


@dataclass(frozen=True)
class Names:
    """Global names, which mean the same everywhere. `asking` are those, as functions or filters, that may read a query."""

    globals: frozenset[str]
    asking: frozenset[str]


class Rewriter:
    """For one template. `rewrite` changes the tree in place."""

    def __init__(self, syntax: Syntax, names: Names, name: str) -> None:
        self._syntax, self._names, self._name = syntax, names, name
        self._sites = 0
        self._assigned: frozenset[str] = frozenset()
        self._macros: dict[str, nodes.Macro] = {}

    def rewrite(self, template: nodes.Template) -> nodes.Template:
        self._assigned = frozenset(_stored(template))
        self._macros = {macro.name: macro for macro in template.find_all(nodes.Macro)}
        plans = {id(loop): self._plan(loop) for loop in template.find_all(nodes.For)}
        template.body, _ = self._body(template.body, BARE, plans, depth=0)
        return template

    # statements, with the place that each begins at

    def _body(
        self, body: list[nodes.Node], place: Place, plans: "dict[int, _Plan | None]", depth: int
    ) -> tuple[list[nodes.Node], Place]:
        made: list[nodes.Node] = []
        for node in body:
            nodes_now, place = self._statement(node, place, plans, depth)
            made += nodes_now
        return made, place

    def _statement(
        self, node: nodes.Node, place: Place, plans: "dict[int, _Plan | None]", depth: int
    ) -> tuple[list[nodes.Node], Place]:
        if isinstance(node, nodes.Output):
            return [node], self._output(node, place)
        if isinstance(node, nodes.If):
            return [node], self._branches(node, place, plans, depth)
        if isinstance(node, nodes.For):
            return self._for(node, place, plans, depth)
        if isinstance(node, nodes.Macro | nodes.CallBlock | nodes.AssignBlock):
            if isinstance(node, nodes.CallBlock) and not is_bare(place):
                raise self._error(node, "a call block inside quotes or a comment")
            node.body, end = self._body(node.body, BARE, plans, depth + 1)
            if not is_bare(end):
                raise self._error(node, "a macro or set block that ends inside quotes or a comment")
            return [node], place
        if isinstance(node, nodes.Include) and not is_bare(place):
            raise self._error(node, "an include inside quotes or a comment")
        if isinstance(node, nodes.Block):
            start = place if is_bare(place) else UNKNOWN
            node.body, place = self._body(node.body, start, plans, depth + 1)
            return [node], place
        if isinstance(node, nodes.FilterBlock | nodes.With | nodes.Scope | nodes.ScopedEvalContextModifier):
            node.body, place = self._body(node.body, place, plans, depth)
            return [node], place
        return [node], place

    def _output(self, node: nodes.Output, place: Place) -> Place:
        made: list[nodes.Expr] = []
        for child in node.nodes:
            if isinstance(child, nodes.TemplateData):
                place = self._syntax.advance(place, child.data)
                made.append(child)
            else:
                made.append(self._escaped(child, place))
                place = self._syntax.after_value(place)
        node.nodes = made
        return place

    def _escaped(self, node: nodes.Expr, place: Place) -> nodes.Expr:
        if self._syntax.name == "none":
            return node
        bare = is_bare(place)
        if bare and _is_own_text(node):
            return node
        arguments: list[nodes.Expr] = [_at(node, nodes.Const(place)), _at(node, nodes.Const(bare))]
        return _at(node, nodes.Filter(node, "__out", arguments, [], None, None))

    def _branches(self, node: nodes.If, place: Place, plans: "dict[int, _Plan | None]", depth: int) -> Place:
        node.body, end = self._body(node.body, place, plans, depth)
        for branch in node.elif_:
            end = self._syntax.merge(end, self._branches(branch, place, plans, depth))
        node.else_, other = self._body(node.else_, place, plans, depth)
        return self._syntax.merge(end, other)

    def _for(
        self, node: nodes.For, place: Place, plans: "dict[int, _Plan | None]", depth: int
    ) -> tuple[list[nodes.Node], Place]:
        start = self._syntax.merge(place, self._flow(node.body, place))
        if self._syntax.merge(start, self._flow(node.body, start)) != start:
            start = UNKNOWN
        node.body, end = self._body(node.body, start, plans, depth + 1)
        node.else_, other = self._body(node.else_, place, plans, depth + 1)
        end = self._syntax.merge(self._syntax.merge(place, end), other)
        plan = plans[id(node)]
        return ([node] if plan is None else self._loop_call(node, plan, depth)), end

    def _flow(self, body: list[nodes.Node], place: Place) -> Place:
        """Where a body ends, without changing it."""
        for node in body:
            if isinstance(node, nodes.Output):
                for child in node.nodes:
                    data = isinstance(child, nodes.TemplateData)
                    place = self._syntax.advance(place, child.data) if data else self._syntax.after_value(place)  # type: ignore[attr-defined]
            elif isinstance(node, nodes.If):
                ends = [self._flow(branch, place) for branch in (node.body, *(e.body for e in node.elif_), node.else_)]
                place = ends[0]
                for end in ends[1:]:
                    place = self._syntax.merge(place, end)
            elif isinstance(node, nodes.For):
                place = self._syntax.merge(place, self._flow(node.body, place))
            elif isinstance(node, nodes.FilterBlock | nodes.With | nodes.Scope | nodes.Block):
                place = self._flow(node.body, place)
        return place

    def _error(self, node: nodes.Node, what: str) -> TemplateError:
        return TemplateError(
            f"{self._name}:{node.lineno}: {what} cannot be escaped for {self._syntax.name}; move it out"
        )

    # loops

    def _plan(self, loop: nodes.For) -> "_Plan | None":
        """How the loop can be run as a macro; None if it cannot. Made before anything is rewritten."""
        targets = _targets(loop.target)
        if targets is None or loop.recursive or (loop.test is not None and loop.else_):
            return None
        inside: list[nodes.Node] = [*loop.body, *([loop.test] if loop.test else [])]
        if any(isinstance(node, _FOREIGN) for part in inside for node in _walk(part)):
            return None
        loaded = {name for part in inside for name in _loaded(part)}
        position = _position(inside)
        if position is None or loaded & {"caller", "varargs", "kwargs", "self", "super"}:
            return None
        if loop.test is not None and position:
            return None  # `loop` counts the items that pass the test
        free, asks = self._reach(inside, set())
        return _Plan(targets, tuple(sorted(free - set(targets) - {"loop"})), tuple(sorted(position)), asks)

    def _reach(self, inside: list[nodes.Node], seen: set[str]) -> tuple[set[str], bool]:
        """The outer variables that code may depend on, through the template's own macros too, and whether it may read a query."""
        loaded = {name for part in inside for name in _loaded(part)}
        filters = {node.name for part in inside for node in _walk(part) if isinstance(node, nodes.Filter | nodes.Test)}
        free: set[str] = set()
        asks = bool((loaded | filters) & self._names.asking)
        for name in loaded:
            if name in self._macros:
                if name not in seen:
                    seen.add(name)
                    macro = self._macros[name]
                    below, below_asks = self._reach([*macro.body, *macro.defaults], seen)
                    free |= below - {argument.name for argument in macro.args}
                    asks |= below_asks
            elif name in self._assigned or name not in self._names.globals:
                free.add(name)
        # What is called and not known here (an imported macro, an argument) may read anything.
        return free, asks or any(
            isinstance(node, nodes.Call) and not self._is_known(node.node) for part in inside for node in _walk(part)
        )

    def _is_known(self, called: nodes.Expr) -> bool:
        if isinstance(called, nodes.Name):
            return called.name in self._macros or (
                called.name in self._names.globals and called.name not in self._assigned
            )
        # A method of a value, such as meta.items(); a module's macro is reached through a name that was assigned by an import.
        return isinstance(called, nodes.Getattr) and not isinstance(called.node, nodes.Name)

    def _loop_call(self, loop: nodes.For, plan: "_Plan", depth: int) -> list[nodes.Node]:
        self._sites += 1
        name = f"__body_{self._sites}"
        body = loop.body
        if loop.test is not None:
            body = [_at(loop, nodes.If(loop.test, body, [], []))]
        parameters = [*(("loop",) if plan.position else ()), *plan.targets]
        macro = nodes.Macro(name, [_at(loop, nodes.Name(p, "param")) for p in parameters], [], body)
        free = nodes.Tuple([_at(loop, nodes.Name(n, "load")) for n in plan.free], "load")
        unpack = isinstance(loop.target, nodes.Tuple)
        keep = plan.asks or depth == 0
        call = nodes.Call(
            _at(loop, nodes.Name("__loop", "load")),
            [
                _at(loop, nodes.Const(self._sites if keep else 0)),
                loop.iter,
                _at(loop, nodes.Name(name, "load")),
                _at(loop, free),
                _at(loop, nodes.Const(unpack)),
                _at(loop, nodes.Const(plan.position)),
            ],
            [],
            None,
            None,
        )
        _at(loop, macro)
        _at(loop, call)
        if not loop.else_:
            empty = _at(loop, nodes.Or(call, _at(loop, nodes.Const(""))))
            return [macro, _at(loop, nodes.Output([empty]))]
        text = f"__text_{self._sites}"
        assign = nodes.Assign(_at(loop, nodes.Name(text, "store")), call)
        is_none = nodes.Test(_at(loop, nodes.Name(text, "load")), "none", [], [], None, None)
        shown = nodes.Output([_at(loop, nodes.Name(text, "load"))])
        choice = nodes.If(_at(loop, is_none), loop.else_, [], [_at(loop, shown)])
        return [macro, _at(loop, assign), _at(loop, choice)]


@dataclass(frozen=True)
class _Plan:
    targets: tuple[str, ...]
    free: tuple[str, ...]
    position: tuple[str, ...]
    asks: bool


def _at(origin: nodes.Node, node: N) -> N:
    node.lineno = origin.lineno
    node.environment = origin.environment
    return node


def _is_own_text(node: nodes.Expr) -> bool:
    """`super()` and `self.block()`: what the template itself has rendered."""
    if not isinstance(node, nodes.Call):
        return False
    called = node.node
    if isinstance(called, nodes.Getattr):
        return isinstance(called.node, nodes.Name) and called.node.name == "self"
    return isinstance(called, nodes.Name) and called.name == "super"


def _targets(target: nodes.Node) -> tuple[str, ...] | None:
    parts = target.items if isinstance(target, nodes.Tuple) else [target]
    names = tuple(part.name for part in parts if isinstance(part, nodes.Name))
    return names if len(names) == len(parts) and len(set(names)) == len(names) else None


def _walk(node: nodes.Node) -> Iterator[nodes.Node]:
    yield node
    for child in node.iter_child_nodes():
        yield from _walk(child)


def _stored(node: nodes.Node) -> Iterator[str]:
    for found in _walk(node):
        if isinstance(found, nodes.Name) and found.ctx in ("store", "param"):
            yield found.name
        elif isinstance(found, nodes.Import):
            yield found.target
        elif isinstance(found, nodes.FromImport):
            yield from (name if isinstance(name, str) else name[1] for name in found.names)


def _loaded(node: nodes.Node) -> Iterator[str]:
    return (found.name for found in _walk(node) if isinstance(found, nodes.Name) and found.ctx == "load")


def _position(inside: list[nodes.Node]) -> set[str] | None:
    """What a body uses of its own `loop`; None where that is more than can be known from the item's place alone."""
    used: set[str] = set()

    def look(node: nodes.Node) -> bool:
        if isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name) and node.node.name == "loop":
            used.add(node.attr)
            return node.attr in _POSITION
        if isinstance(node, nodes.Name) and node.name == "loop":
            return False
        if isinstance(node, nodes.For):  # inside, `loop` is the inner one's
            return look(node.iter) and all(look(part) for part in node.else_)
        return all(look(child) for child in node.iter_child_nodes())

    return used if all(look(part) for part in inside) else None
