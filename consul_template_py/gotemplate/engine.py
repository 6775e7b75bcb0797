"""Compiles a Go template to closures and evaluates it, incrementally and escaped as the Jinja2 engine does.

Variables are slots of a list, found at compile time. A `range` whose rounds depend on nothing but their item, the outer variables that
they read and the queries that they ask keeps its rounds (`incremental.py`).
"""

from collections.abc import Callable, Mapping
from typing import Any

from consul_template_py.errors import QuerySyntaxError, TemplateError
from consul_template_py.escape import BARE, SYNTAXES, UNKNOWN, Place, RefusedValueError, Syntax, is_bare
from consul_template_py.escape.text import Formatted, Rendered
from consul_template_py.evaluation import Current, Evaluation
from consul_template_py.functions import collections
from consul_template_py.gotemplate import nodes as n
from consul_template_py.gotemplate import values
from consul_template_py.gotemplate.frames import Compiled, Frame, Step, Value
from consul_template_py.gotemplate.functions import PURE, SPECIAL, Function, GoScratch, asking_functions
from consul_template_py.gotemplate.parser import parse
from consul_template_py.gotemplate.rounds import BreakError, ContinueError, Dependence, Kept, Rounds

_TAG_METHODS: dict[str, Function] = {
    "Contains": collections.contains,
    "ContainsAll": collections.contains_all,
    "ContainsAny": collections.contains_any,
    "ContainsNone": collections.contains_none,
    "ContainsNotAll": collections.contains_not_all,
}


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
        self.defined: dict[str, Compiled] = {name: Compiled([]) for name in parsed.defined}
        for defined, body in parsed.defined.items():
            self._compile(self.defined[defined], body)
        self._main = Compiled([])
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
                BreakError,
                ContinueError,
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
        return self._main.text(None)

    def _compile(self, into: Compiled, body: n.Body) -> None:
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
        error = BreakError if isinstance(node, n.Break) else ContinueError

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
        site, body, end = self._round(node.body, place)
        del self._names[outer:]
        otherwise, other_end = self.body(node.otherwise, place)
        on = Dependence(node, template.asking)
        kept = None
        if on.independent and (on.asks or self._depth == 0):
            kept = Kept(site, tuple(sorted({self._slot(name) for name in on.free})))
        rounds = Rounds(body, slots, kept)

        def step(frame: Frame) -> None:
            template.line = line
            found, pairs = values.items(value(frame))
            if found:
                frame.out.append(rounds.text(frame, found, pairs, template.current.now.incremental))
                return
            for each in otherwise:
                each(frame)

        return step, syntax.merge(syntax.merge(place, end), other_end)

    def _round(self, body: n.Body, place: Place) -> tuple[int, list[Step], Place]:
        """The loop's number in the template, the steps of a round, and the place where one ends."""
        names, slots = len(self._names), self.slots
        start = self._start_of_rounds(body, place)
        self.slots = slots  # those were compiled to learn the place
        self._t.sites += 1
        site = self._t.sites
        self._depth += 1
        steps, end = self.body(body, start)
        self._depth -= 1
        del self._names[names:]
        return site, steps, end

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
            frame.out.append(called.text(argument(frame), frame.depth + 1))

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
            return _first(arguments, truth=name == "or")
        if name == "executeTemplate":
            template = self._t

            def execute(frame: Frame) -> Rendered:
                wanted, *data = (argument(frame) for argument in arguments)
                if wanted not in template.defined:
                    raise TemplateError(f"executeTemplate: template {wanted!r} is not defined")
                return Rendered(template.defined[wanted].text(data[0] if data else None, frame.depth + 1))

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


def _first(arguments: list[Value], truth: bool) -> Value:
    """The first argument that is so, else the last: `or` with true, `and` with false."""

    def evaluate(frame: Frame) -> Any:
        found: Any = None
        for argument in arguments:
            found = argument(frame)
            if values.is_true(found) is truth:
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
