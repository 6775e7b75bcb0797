"""Writes the Jinja2 equivalent of a Go template.

Types are followed as far as the functions give them, so that `.Address` of a service becomes `.address`. Where a type is not known,
the helpers of `go` decide while the template is evaluated, as Go would.

Two things differ on purpose: a whole number from JSON prints as one however large it is, and a key that a service's meta does not have
prints as nothing, not as `<no value>`.
"""

import json
import re
from dataclasses import dataclass, field

from consul_template_py.errors import TemplateError
from consul_template_py.gotemplate import nodes as n
from consul_template_py.gotemplate.equivalents import (
    FIELD_TYPES,
    FUNCTIONS,
    JINJA_NAMES,
    RESERVED,
    SCRATCH,
    STRUCTS,
    TAG_METHODS,
)
from consul_template_py.gotemplate.functions import PURE, SPECIAL, asking_functions, strftime
from consul_template_py.gotemplate.parser import parse
from consul_template_py.gotemplate.values import FIELDS


@dataclass(frozen=True)
class _Expression:
    """`atom`: it needs no parentheses where it is part of another."""

    code: str
    type: str = "any"
    atom: bool = True

    @property
    def part(self) -> str:
        return self.code if self.atom else f"({self.code})"


@dataclass
class _Scope:
    dot: _Expression
    names: dict[str, _Expression] = field(default_factory=dict)

    def inner(self, dot: _Expression | None = None) -> "_Scope":
        return _Scope(dot or self.dot, dict(self.names))


class _Nobody:
    """A context that nobody reads from: only the names of functions are wanted."""


def convert(source: str, name: str, *, left: str = "{{", right: str = "}}") -> str:
    """Raises TemplateError for what does not parse, or has no equivalent."""
    functions = {*PURE, *SPECIAL, *asking_functions(_Nobody())}  # type: ignore[arg-type]
    return _Converter(name, parse(source, name, functions, left=left, right=right)).convert()


class _Converter:
    def __init__(self, name: str, parsed: n.Parsed) -> None:
        self._name, self._parsed = name, parsed
        self._taken: set[str] = set(RESERVED)
        self._assigned = {variable for body in (parsed.body, *parsed.defined.values()) for variable in _assigned(body)}
        self._macros = {defined: self._fresh(f"template_{_word(defined)}") for defined in parsed.defined}
        self._dots = 0

    def convert(self) -> str:
        macros = []
        for defined, body in self._parsed.defined.items():
            dot = _Expression("dot")
            text = self._body(body, _Scope(dot, {"": dot}))
            macros.append(f"{{% macro {self._macros[defined]}(dot) %}}{text}{{% endmacro %}}")
        nothing = _Expression("none")
        return "".join(macros) + self._body(self._parsed.body, _Scope(nothing, {"": nothing}))

    # statements

    def _body(self, body: n.Body, scope: _Scope) -> str:
        return "".join(self._node(node, scope) for node in body)

    def _node(self, node: n.Node, scope: _Scope) -> str:
        if isinstance(node, n.Text):
            return re.sub(r"\{[{%#]", lambda match: '{{ "' + match[0] + '" }}', node.text)
        if isinstance(node, n.Action):
            return self._action(node, scope)
        if isinstance(node, n.If | n.With):
            return self._choice(node, scope)
        if isinstance(node, n.Range):
            return self._range(node, scope)
        if isinstance(node, n.Call):
            argument = self._pipeline(node.pipeline, scope).code if node.pipeline else "none"
            return f"{{{{ {self._macros[node.name]}({argument}) }}}}"
        return "{% break %}" if isinstance(node, n.Break) else "{% continue %}"

    def _action(self, node: n.Action, scope: _Scope) -> str:
        value = self._pipeline(node.pipeline, scope)
        if not node.pipeline.declares:
            return f"{{{{ {_printed(value)} }}}}"
        (variable,) = node.pipeline.declares
        if node.pipeline.assigns:
            return f"{{% set {scope.names[variable].code} = {value.code} %}}"
        return self._declaration(variable, value, scope)

    def _declaration(self, variable: str, value: _Expression, scope: _Scope) -> str:
        """`{% set %}`; a variable that is assigned to later lives in a namespace, which inner scopes can change."""
        name = self._fresh(_word(variable))
        if variable in self._assigned:
            scope.names[variable] = _Expression(f"{name}.value")
            return f"{{% set {name} = namespace(value={value.code}) %}}"
        scope.names[variable] = _Expression(name, value.type)
        return f"{{% set {name} = {value.code} %}}"

    def _choice(self, node: n.If | n.With, scope: _Scope) -> str:
        inner = scope.inner()
        value = self._pipeline(node.pipeline, inner)
        before = after = ""
        if node.pipeline.declares:
            before = self._declaration(node.pipeline.declares[0], value, inner)
            value = inner.names[node.pipeline.declares[0]]
        elif isinstance(node, n.With) and not re.fullmatch(r"\w+", value.code):
            name = self._fresh_dot()
            before, after = f"{{% with {name} = {value.code} %}}", "{% endwith %}"
            value = _Expression(name, value.type)
        body = self._body(node.body, inner.inner(value if isinstance(node, n.With) else None))
        otherwise = self._body(node.otherwise, inner.inner())
        if otherwise:
            otherwise = f"{{% else %}}{otherwise}"
        return f"{before}{{% if {value.code} %}}{body}{otherwise}{{% endif %}}{after}"

    def _range(self, node: n.Range, scope: _Scope) -> str:
        declares = node.pipeline.declares
        if node.pipeline.assigns:
            raise self._error(node.line, "range that assigns to outer variables")
        over = self._pipeline(n.Pipeline(node.pipeline.commands), scope)
        inner = scope.inner()
        kind, _, item_type = over.type.partition(":")
        item = self._fresh(_word(declares[-1])) if declares else self._fresh_dot()
        target, start = item, ""
        if len(declares) == 2:
            index = self._fresh(_word(declares[0]))
            if kind == "list":
                start = f"{{% set {index} = loop.index0 %}}"
                inner.names[declares[0]] = _Expression(index, "int")
                iterable = over.code
            else:
                target, iterable = f"{index}, {item}", f"go.pairs({over.code})"
                inner.names[declares[0]] = _Expression(index, "str" if kind == "map" else "any")
        else:
            iterable = over.code if kind == "list" else f"go.values({over.code})"
        inner.dot = _Expression(item, item_type or "any")
        if declares:
            if declares[-1] in self._assigned:
                start += self._declaration(declares[-1], inner.dot, inner)
            else:
                inner.names[declares[-1]] = inner.dot
        body = self._body(node.body, inner)
        otherwise = self._body(node.otherwise, scope.inner())
        if otherwise:
            otherwise = f"{{% else %}}{otherwise}"
        return f"{{% for {target} in {iterable} %}}{start}{body}{otherwise}{{% endfor %}}"

    # expressions

    def _pipeline(self, pipeline: n.Pipeline, scope: _Scope) -> _Expression:
        value: _Expression | None = None
        for command in pipeline.commands:
            value = self._command(command, value, scope)
        assert value is not None
        return value

    def _command(self, command: n.Command, piped: _Expression | None, scope: _Scope) -> _Expression:
        head = command.words[0]
        arguments = [self._word(word, scope, command.line) for word in command.words[1:]]
        if piped is not None:
            arguments.append(piped)
        if isinstance(head, n.Function):
            return self._call(head.name, arguments, command.line)
        if isinstance(head, n.Fields) and arguments:
            return self._method(head, arguments, scope, command.line)
        return self._word(head, scope, command.line)

    def _method(self, head: n.Fields, arguments: list[_Expression], scope: _Scope, line: int) -> _Expression:
        given = ", ".join(argument.code for argument in arguments)
        if head.of == n.Function("scratch"):
            return _Expression(f"scratch.{SCRATCH[head.names[0]]}({given})")
        if head.names[-1] not in TAG_METHODS:
            raise self._error(line, f"method {head.names[-1]}")
        of = head.of if len(head.names) == 1 else n.Fields(head.of, head.names[:-1])
        value = self._word(of, scope, line)
        return _Expression(f"{value.part} | {TAG_METHODS[head.names[-1]]}({given})", "bool", atom=False)

    def _call(self, name: str, arguments: list[_Expression], line: int) -> _Expression:
        special = getattr(self, f"_call_{name}", None)
        if special is not None:
            made: _Expression = special(arguments, line)
            return made
        if name not in FUNCTIONS:
            raise self._error(line, f"function {name}")
        known = FUNCTIONS[name]
        type = known.type
        if name == "byTag" and arguments:
            type = f"map:{arguments[0].type}"
        if known.value_last and arguments:
            *rest, value = arguments
            given = f"({', '.join(argument.code for argument in rest)})" if rest else ""
            return _Expression(f"{value.part} | {known.name}{given}", type, atom=False)
        return _Expression(f"{known.name}({', '.join(argument.code for argument in arguments)})", type)

    def _call_and(self, arguments: list[_Expression], line: int) -> _Expression:
        return _Expression(" and ".join(argument.part for argument in arguments), _common(arguments), atom=False)

    def _call_or(self, arguments: list[_Expression], line: int) -> _Expression:
        return _Expression(" or ".join(argument.part for argument in arguments), _common(arguments), atom=False)

    def _call_not(self, arguments: list[_Expression], line: int) -> _Expression:
        return _Expression(f"not {arguments[0].part}", "bool", atom=False)

    def _call_eq(self, arguments: list[_Expression], line: int) -> _Expression:
        first, *others = arguments
        if any(argument.type != first.type or first.type not in ("str", "int", "bool") for argument in others):
            return _Expression(f"go.eq({', '.join(argument.code for argument in arguments)})", "bool")
        if len(others) == 1:
            return _Expression(f"{first.part} == {others[0].part}", "bool", atom=False)
        return _Expression(f"{first.part} in ({', '.join(argument.code for argument in others)})", "bool", atom=False)

    def _call_ne(self, arguments: list[_Expression], line: int) -> _Expression:
        first, second = arguments
        if first.type == second.type and first.type in ("str", "int", "bool"):
            return _Expression(f"{first.part} != {second.part}", "bool", atom=False)
        return _Expression(f"not go.eq({first.code}, {second.code})", "bool", atom=False)

    def _call_lt(self, arguments: list[_Expression], line: int) -> _Expression:
        return _Expression(f"go.lt({arguments[0].code}, {arguments[1].code})", "bool")

    def _call_gt(self, arguments: list[_Expression], line: int) -> _Expression:
        return _Expression(f"go.lt({arguments[1].code}, {arguments[0].code})", "bool")

    def _call_le(self, arguments: list[_Expression], line: int) -> _Expression:
        return _Expression(f"not go.lt({arguments[1].code}, {arguments[0].code})", "bool", atom=False)

    def _call_ge(self, arguments: list[_Expression], line: int) -> _Expression:
        return _Expression(f"not go.lt({arguments[0].code}, {arguments[1].code})", "bool", atom=False)

    def _call_len(self, arguments: list[_Expression], line: int) -> _Expression:
        (value,) = arguments
        if value.type.partition(":")[0] in ("list", "map"):
            return _Expression(f"{value.part} | length", "int", atom=False)
        return _Expression(f"go.len({value.code})", "int")

    def _call_index(self, arguments: list[_Expression], line: int) -> _Expression:
        value, *keys = arguments
        kind, _, item = value.type.partition(":")
        if len(keys) == 1 and kind in ("list", "map"):
            return _Expression(f"{value.part}[{keys[0].code}]", item)
        return _Expression(f"go.index({', '.join(argument.code for argument in arguments)})")

    def _call_indent(self, arguments: list[_Expression], line: int) -> _Expression:
        width, value = arguments
        return _Expression(f"{value.part} | indent({width.code}, first=true, blank=true)", "str", atom=False)

    def _call_timestamp(self, arguments: list[_Expression], line: int) -> _Expression:
        if not arguments:
            return _Expression("timestamp()", "str")
        try:
            layout = json.loads(arguments[0].code)
        except ValueError:
            raise self._error(line, "timestamp with a layout that is not a constant") from None
        return _Expression(f"timestamp({_string(layout if layout == 'unix' else strftime(layout))})", "str")

    def _call_executeTemplate(self, arguments: list[_Expression], line: int) -> _Expression:  # noqa: N802
        defined = {_string(name): macro for name, macro in self._macros.items()}
        if arguments[0].code not in defined:
            raise self._error(line, "executeTemplate with a name that is not a constant")
        data = arguments[1].code if len(arguments) > 1 else "none"
        return _Expression(f"{defined[arguments[0].code]}({data})", "str")

    def _word(self, word: n.Word, scope: _Scope, line: int) -> _Expression:
        if isinstance(word, n.Literal):
            return _literal(word.value)
        if isinstance(word, n.Dot):
            return scope.dot
        if isinstance(word, n.Variable):
            return scope.names[word.name]
        if isinstance(word, n.Function):
            return self._call(word.name, [], line)
        if isinstance(word, n.Pipeline):
            return self._pipeline(word, scope)
        if word.of == n.Function("scratch"):
            return _Expression(f"scratch.{SCRATCH[word.names[0]]}()")
        value = self._word(word.of, scope, line)
        for name in word.names:
            value = _member(value, name)
        return value

    # names

    def _fresh(self, wanted: str) -> str:
        name, number = wanted, 1
        while name in self._taken or name in JINJA_NAMES:
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(name)
        return name

    def _fresh_dot(self) -> str:
        self._dots += 1
        return self._fresh("item" if self._dots == 1 else f"item_{self._dots}")

    def _error(self, line: int, what: str) -> TemplateError:
        return TemplateError(f"{self._name}:{line}: {what} has no equivalent in Jinja2")


def _member(value: _Expression, name: str) -> _Expression:
    struct = STRUCTS.get(value.type)
    if struct is not None:
        known = FIELDS[struct]
        if name in known:
            type = FIELD_TYPES.get(name, "str")
            if value.type == "node_services" and name == "Node":
                type = "node"
            return _Expression(f"{value.part}.{known[name]}", type)
    if value.type.startswith("map:"):
        return _Expression(f"{value.part}[{_string(name)}]", value.type.partition(":")[2])
    return _Expression(f"go.field({value.code}, {_string(name)})")


def _printed(value: _Expression) -> str:
    return value.code if value.type in ("str", "int") else f"go.text({value.code})"


def _common(values: list[_Expression]) -> str:
    types = {value.type for value in values}
    return types.pop() if len(types) == 1 else "any"


def _literal(value: str | int | float | bool | None) -> _Expression:
    if isinstance(value, str):
        return _Expression(_string(value), "str")
    if value is None:
        return _Expression("none")
    if isinstance(value, bool):
        return _Expression("true" if value else "false", "bool")
    return _Expression(repr(value), "int" if isinstance(value, int) else "any", atom=value >= 0)


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _word(text: str) -> str:
    made = re.sub(r"\W", "_", text) or "x"
    return made if not made[0].isdigit() else f"_{made}"


def _assigned(body: n.Body) -> set[str]:
    """Variables that are assigned to, anywhere."""
    found: set[str] = set()
    for node in body:
        if isinstance(node, n.Action | n.If | n.With | n.Range) and node.pipeline.assigns:
            found |= set(node.pipeline.declares)
        if isinstance(node, n.If | n.With | n.Range):
            found |= _assigned(node.body) | _assigned(node.otherwise)
    return found
