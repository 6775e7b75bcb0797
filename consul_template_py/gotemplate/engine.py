"""Compiles a Go template to closures and evaluates it, incrementally and escaped as the Jinja2 engine does.

Variables are slots of a list, found at compile time. A `range` whose rounds depend on nothing but their item, the outer variables that
they read and the queries that they ask keeps its rounds (`incremental.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from consul_template_py.errors import QuerySyntaxError, TemplateError
from consul_template_py.escape import BARE, SYNTAXES, UNKNOWN, Place, RefusedValueError, Syntax, is_bare
from consul_template_py.escape.text import Formatted, Rendered
from consul_template_py.evaluation import Current, Evaluation
from consul_template_py.functions import collections
from consul_template_py.gotemplate import nodes as n
from consul_template_py.gotemplate import values
from consul_template_py.gotemplate.functions import PURE, SPECIAL, Function, GoScratch, asking_functions
from consul_template_py.gotemplate.parser import parse

MOST_DEPTH = 100

_TAG_METHODS: dict[str, Function] = {
    "Contains": collections.contains,
    "ContainsAll": collections.contains_all,
    "ContainsAny": collections.contains_any,
    "ContainsNone": collections.contains_none,
    "ContainsNotAll": collections.contains_not_all,
}


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


class _BreakError(Exception):
    pass


class _ContinueError(Exception):
    pass


@dataclass
class _Compiled:
    steps: list[Step]
    slots: int = 0

    def run(self, frame: Frame) -> None:
        for step in self.steps:
            step(frame)


class GoEngine:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._current = Current(environment)
        self._asking = asking_functions(self._current)
        self._functions = {**PURE, **self._asking}

    def compile(
        self,
        source: str,
        name: str,
        *,
        syntax: str = "none",
        strict: bool = False,
        left: str = "{{",
        right: str = "}}",
    ) -> "GoTemplate":
        """`strict`: a key that a map does not have is an error. Raises TemplateError: file, line, why."""
        parsed = parse(source, name, {*self._functions, *SPECIAL}, left=left, right=right)
        return GoTemplate(name, parsed, SYNTAXES[syntax], strict, self._current, self._functions, set(self._asking))


class GoTemplate:
    def __init__(
        self,
        name: str,
        parsed: n.Parsed,
        syntax: Syntax,
        strict: bool,
        current: Current,
        functions: Mapping[str, Function],
        asking: set[str],
    ) -> None:
        self.name = name
        self.current, self.functions, self.syntax, self.strict = current, functions, syntax, strict
        self.asking = asking
        self.line = 0  # of what is being evaluated
        self.sites = 0
        self.defined: dict[str, _Compiled] = {name: _Compiled([]) for name in parsed.defined}
        for defined, body in parsed.defined.items():
            self._compile(self.defined[defined], body)
        self._main = _Compiled([])
        self._compile(self._main, parsed.body)

    def evaluate(self, evaluation: Evaluation) -> str:
        with self.current.evaluating(evaluation):
            try:
                return evaluation.incremental.evaluate(self._body)
            except RefusedValueError:
                raise
            except (TemplateError, QuerySyntaxError) as error:
                raise TemplateError(f"{self.name}:{self.line}: {error}") from None
            except (
                _BreakError,
                _ContinueError,
                TypeError,
                ValueError,
                ArithmeticError,
                AttributeError,
                LookupError,
            ) as error:
                raise TemplateError(f"{self.name}:{self.line}: {error or repr(error)}") from None
            except RecursionError:
                raise TemplateError(f"{self.name}:{self.line}: nested too deeply") from None

    def _body(self) -> str:
        frame = Frame(None, self._main.slots, 0)
        self._main.run(frame)
        return "".join(frame.out)

    def _compile(self, into: _Compiled, body: n.Body) -> None:
        compiler = _Compiler(self)
        into.steps, _ = compiler.body(body, BARE)
        into.slots = compiler.slots


class _Compiler:
    """Compiles one body that has variables of its own: the main one, or one that `define` named."""

    def __init__(self, template: GoTemplate) -> None:
        self._t = template
        self.slots = 0
        self._depth = 0  # loops around what is being compiled
        self._names: list[tuple[str, int]] = [("", 0)]

    def body(self, body: n.Body, place: Place) -> tuple[list[Step], Place]:
        outer = len(self._names)
        steps: list[Step] = []
        for node in body:
            step, place = self._node(node, place)
            steps.append(step)
        del self._names[outer:]
        return steps, place

    def _node(self, node: n.Node, place: Place) -> tuple[Step, Place]:
        if isinstance(node, n.Text):
            text = node.text
            return (lambda frame: frame.out.append(text)), self._t.syntax.advance(place, text)
        if isinstance(node, n.Action):
            return self._action(node, place)
        if isinstance(node, n.If | n.With):
            return self._choice(node, place)
        if isinstance(node, n.Range):
            return self._range(node, place)
        if isinstance(node, n.Call):
            return self._call_template(node, place)
        error = _BreakError if isinstance(node, n.Break) else _ContinueError

        def leave(frame: Frame) -> None:
            raise error

        return leave, place

    def _action(self, node: n.Action, place: Place) -> tuple[Step, Place]:
        template, line = self._t, node.line
        value = self._pipeline(node.pipeline)
        if node.pipeline.declares:

            def only(frame: Frame) -> None:
                template.line = line
                value(frame)

            return only, place
        write = self._writer(place)

        def step(frame: Frame) -> None:
            template.line = line
            frame.out.append(write(value(frame)))

        return step, template.syntax.after_value(place)

    def _writer(self, place: Place) -> Callable[[Any], str]:
        syntax = self._t.syntax
        if syntax.name == "none":
            return values.text
        bare = is_bare(place)

        def write(value: Any) -> str:
            if bare and (
                value.__class__ is Rendered or (value.__class__ is Formatted and syntax.name in value.syntaxes)
            ):
                return str(value)
            whole = bare and syntax.name in ("json", "yaml") and not isinstance(value, float)
            return syntax.escape(place, value if whole else values.text(value))

        return write

    def _choice(self, node: n.If | n.With, place: Place) -> tuple[Step, Place]:
        template, line, is_with = self._t, node.line, isinstance(node, n.With)
        outer = len(self._names)
        value = self._pipeline(node.pipeline)
        body, end = self.body(node.body, place)
        otherwise, other_end = self.body(node.otherwise, place)
        del self._names[outer:]

        def step(frame: Frame) -> None:
            template.line = line
            found = value(frame)
            if not values.is_true(found):
                for each in otherwise:
                    each(frame)
                return
            dot = frame.dot
            if is_with:
                frame.dot = found
            try:
                for each in body:
                    each(frame)
            finally:
                frame.dot = dot

        return step, template.syntax.merge(end, other_end)

    # range

    def _range(self, node: n.Range, place: Place) -> tuple[Step, Place]:
        template, line, syntax = self._t, node.line, self._t.syntax
        outer = len(self._names)
        value = self._pipeline(n.Pipeline(node.pipeline.commands))
        slots = self._loop_slots(node.pipeline)
        begun, slots_before = len(self._names), self.slots
        start = self._start_of_rounds(node.body, place)
        self.slots = slots_before
        self._t.sites += 1
        site = self._t.sites
        self._depth += 1
        body, end = self.body(node.body, start)
        self._depth -= 1
        del self._names[begun:]
        del self._names[outer:]
        otherwise, other_end = self.body(node.otherwise, place)
        end = syntax.merge(syntax.merge(place, end), other_end)
        used = _Used(template)
        used.look(node.body, frozenset(node.pipeline.declares))
        free = tuple(sorted({self._slot(name) for name in used.free}))
        leaves = used.leaves
        keeps = not leaves and not used.assigns and not node.pipeline.assigns and (used.asks or self._depth == 0)

        def rounds(frame: Frame) -> Callable[..., str]:
            def run(index: Any, item: Any) -> str:
                out, dot = frame.out, frame.dot
                frame.out, frame.dot = [], item
                for slot, given in zip(slots, (item,) if len(slots) == 1 else (index, item), strict=False):
                    frame.slots[slot] = given
                try:
                    for each in body:
                        each(frame)
                    return "".join(frame.out)
                except _ContinueError:
                    return "".join(frame.out)
                except _BreakError:
                    raise _Stopped("".join(frame.out)) from None
                finally:
                    frame.out, frame.dot = out, dot

            return run

        def step(frame: Frame) -> None:
            template.line = line
            found, pairs = values.items(value(frame))
            if not found:
                for each in otherwise:
                    each(frame)
                return
            run = rounds(frame)
            if keeps:
                incremental = template.current.now.incremental
                outer_values = tuple(frame.slots[slot] for slot in free)
                if pairs:
                    text = incremental.loop(site, found, run, outer_values, unpack=True)
                elif len(slots) == 2:
                    text = incremental.loop(
                        site, found, lambda p, item: run(p.index0, item), outer_values, position=("index0",)
                    )
                else:
                    text = incremental.loop(site, found, lambda item: run(0, item), outer_values)
                frame.out.append(text or "")
                return
            for index, item in enumerate(found):
                try:
                    frame.out.append(run(*item) if pairs else run(index, item))
                except RefusedValueError as error:
                    template.current.now.incremental.refuse(error)
                except _Stopped as stopped:
                    frame.out.append(stopped.text)
                    break

        return step, end

    def _start_of_rounds(self, body: n.Body, place: Place) -> Place:
        """Where each round begins: at `place`, or where the round before it has ended."""
        syntax = self._t.syntax
        if syntax.name == "none":
            return place
        _, end = self.body(body, place)
        start = syntax.merge(place, end)
        _, end = self.body(body, start)
        return start if syntax.merge(start, end) == start else UNKNOWN

    def _loop_slots(self, pipeline: n.Pipeline) -> tuple[int, ...]:
        """One slot for the item, or two for index and item."""
        if pipeline.assigns:
            return tuple(self._slot(name) for name in pipeline.declares)
        return tuple(self._declare(name) for name in pipeline.declares)

    # templates in templates

    def _call_template(self, node: n.Call, place: Place) -> tuple[Step, Place]:
        template, line = self._t, node.line
        if not is_bare(place):
            raise TemplateError(f"{template.name}:{line}: a template call inside quotes cannot be escaped; move it out")
        if node.name not in template.defined:
            raise TemplateError(f"{template.name}:{line}: template {node.name!r} is not defined")
        called = template.defined[node.name]
        argument = self._pipeline(node.pipeline) if node.pipeline else (lambda frame: None)

        def step(frame: Frame) -> None:
            template.line = line
            frame.out.append(run_defined(called, argument(frame), frame.depth + 1))

        return step, place

    # pipelines

    def _pipeline(self, pipeline: n.Pipeline) -> Value:
        value = self._command(pipeline.commands[0], None)
        for command in pipeline.commands[1:]:
            value = self._command(command, value)
        if not pipeline.declares:
            return value
        slots = [self._slot(name) if pipeline.assigns else self._declare(name) for name in pipeline.declares]
        whole = value

        def declare(frame: Frame) -> Any:
            found = whole(frame)
            for slot in slots:
                frame.slots[slot] = found
            return found

        return declare

    def _command(self, command: n.Command, piped: Value | None) -> Value:
        head, arguments = command.words[0], [self._word(word) for word in command.words[1:]]
        if piped is not None:
            arguments.append(piped)
        if isinstance(head, n.Function):
            return self._function(head.name, arguments, command.line)
        if isinstance(head, n.Fields) and arguments:
            return self._method(head, arguments)
        if arguments:
            raise TemplateError(
                f"{self._t.name}:{command.line}: can't give arguments to something that is not a function"
            )
        return self._word(head)

    def _function(self, name: str, arguments: list[Value], line: int) -> Value:
        if name in ("and", "or"):
            if not arguments:
                raise TemplateError(f"{self._t.name}:{line}: {name} needs arguments")
            return _and(arguments) if name == "and" else _or(arguments)
        if name == "executeTemplate":
            template = self._t

            def execute(frame: Frame) -> Rendered:
                wanted, *data = (argument(frame) for argument in arguments)
                if wanted not in template.defined:
                    raise TemplateError(f"executeTemplate: template {wanted!r} is not defined")
                return Rendered(run_defined(template.defined[wanted], data[0] if data else None, frame.depth + 1))

            return execute
        function = self._t.functions[name]
        if not arguments:
            return lambda frame: function()
        if len(arguments) == 1:
            (only,) = arguments
            return lambda frame: function(only(frame))
        return lambda frame: function(*[argument(frame) for argument in arguments])

    def _method(self, head: n.Fields, arguments: list[Value]) -> Value:
        of = self._word(n.Fields(head.of, head.names[:-1]) if len(head.names) > 1 else head.of)
        name, strict = head.names[-1], self._t.strict

        def call(frame: Frame) -> Any:
            return _member(of(frame), name, strict)(*[argument(frame) for argument in arguments])

        return call

    def _word(self, word: n.Word) -> Value:
        if isinstance(word, n.Literal):
            constant = word.value
            return lambda frame: constant
        if isinstance(word, n.Dot):
            return lambda frame: frame.dot
        if isinstance(word, n.Variable):
            slot = self._slot(word.name)
            return lambda frame: frame.slots[slot]
        if isinstance(word, n.Function):
            return self._function(word.name, [], 0)
        if isinstance(word, n.Pipeline):
            return self._pipeline(word)
        of, names, strict = self._word(word.of), word.names, self._t.strict

        def fields(frame: Frame) -> Any:
            found = of(frame)
            for name in names:
                found = _value_member(found, name, strict)
            return found

        return fields

    def _declare(self, name: str) -> int:
        self.slots += 1
        self._names.append((name, self.slots))
        return self.slots

    def _slot(self, name: str) -> int:
        return next(slot for known, slot in reversed(self._names) if known == name)


class _Stopped(Exception):  # noqa: N818  it carries a text, and is no error
    def __init__(self, text: str) -> None:
        self.text = text


class _Used:
    """What the body of a `range` depends on: outer variables it reads, whether it may ask, whether its rounds are independent."""

    def __init__(self, template: GoTemplate) -> None:
        self._t = template
        self.free: set[str] = set()
        self.asks = False
        self.assigns = False
        self.leaves = False

    def look(self, body: n.Body, own: frozenset[str], *, inner: bool = False) -> None:
        for node in body:
            if isinstance(node, n.Break | n.Continue):
                self.leaves |= not inner
            elif isinstance(node, n.Action):
                own = self._pipeline(node.pipeline, own)
            elif isinstance(node, n.Call):
                self.asks = True  # what is called is not looked into
                if node.pipeline is not None:
                    self._pipeline(node.pipeline, own)
            elif isinstance(node, n.If | n.With | n.Range):
                inside = self._pipeline(node.pipeline, own)
                self.look(node.body, inside, inner=inner or isinstance(node, n.Range))
                self.look(node.otherwise, inside, inner=inner)

    def _pipeline(self, pipeline: n.Pipeline, own: frozenset[str]) -> frozenset[str]:
        for command in pipeline.commands:
            for word in command.words:
                self._word(word, own)
        if pipeline.assigns:
            self.assigns |= bool(set(pipeline.declares) - own)
            return own
        return own | set(pipeline.declares)

    def _word(self, word: n.Word, own: frozenset[str]) -> None:
        if isinstance(word, n.Variable) and word.name not in own:
            self.free.add(word.name)
        elif isinstance(word, n.Function):
            self.asks |= word.name in self._t.asking or word.name == "executeTemplate"
        elif isinstance(word, n.Fields):
            self._word(word.of, own)
        elif isinstance(word, n.Pipeline):
            self._pipeline(word, own)


def run_defined(called: _Compiled, dot: Any, depth: int) -> str:
    if depth > MOST_DEPTH:
        raise TemplateError(f"templates call each other more than {MOST_DEPTH} deep")
    frame = Frame(dot, called.slots, depth)
    called.run(frame)
    return "".join(frame.out)


def _and(arguments: list[Value]) -> Value:
    def evaluate(frame: Frame) -> Any:
        found: Any = None
        for argument in arguments:
            found = argument(frame)
            if not values.is_true(found):
                return found
        return found

    return evaluate


def _or(arguments: list[Value]) -> Value:
    def evaluate(frame: Frame) -> Any:
        found: Any = None
        for argument in arguments:
            found = argument(frame)
            if values.is_true(found):
                return found
        return found

    return evaluate


def _value_member(value: Any, name: str, strict: bool) -> Any:
    if isinstance(value, GoScratch):
        return value.method(name)()
    return values.field(value, name, strict=strict)


def _member(value: Any, name: str, strict: bool) -> Function:
    """A method that is called with arguments."""
    if isinstance(value, GoScratch):
        return value.method(name)
    if isinstance(value, tuple) and name in _TAG_METHODS:
        method = _TAG_METHODS[name]
        return lambda *arguments: method(value, *arguments)
    raise TemplateError(f"{name} is not a method but has arguments")
