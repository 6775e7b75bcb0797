"""`?filter=` expressions: `Service.Port == 80 and "v1" in Service.Tags`, over the objects of the API.

A schema says which fields an object has: it decides which selectors are valid, and what may be asked of them. An expression is read
once a query, into a function of the object.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any, NamedTuple

from embedded.consul.errors import FailedError
from embedded.consul.golang import parse_bool

Predicate = Callable[[Any], bool]


class Kind(Enum):
    TEXT = "string"
    NUMBER = "int"
    BOOL = "bool"
    TEXTS = "list of strings"
    MAP = "map of strings"


class Schema(NamedTuple):
    """`fields`: what an object has; with `many`, there is a list of such objects, with `keyed`, a map of them."""

    fields: Mapping[str, "Kind | Schema"]
    many: bool = False
    keyed: bool = False


_WEIGHTS = Schema({"Passing": Kind.NUMBER, "Warning": Kind.NUMBER})
_ADDRESSES = Schema({"Address": Kind.TEXT, "Port": Kind.NUMBER}, keyed=True)
_UPSTREAMS = Schema({"DestinationName": Kind.TEXT, "LocalBindPort": Kind.NUMBER}, many=True)
_PROXY = Schema(
    {
        "DestinationServiceName": Kind.TEXT,
        "DestinationServiceID": Kind.TEXT,
        "LocalServiceAddress": Kind.TEXT,
        "LocalServicePort": Kind.NUMBER,
        "Upstreams": _UPSTREAMS,
    }
)
_CONNECT = Schema({"Native": Kind.BOOL})
NODE = Schema(
    {
        "ID": Kind.TEXT,
        "Node": Kind.TEXT,
        "Address": Kind.TEXT,
        "Datacenter": Kind.TEXT,
        "TaggedAddresses": Kind.MAP,
        "Meta": Kind.MAP,
    }
)
SERVICE = Schema(
    {
        "Kind": Kind.TEXT,
        "ID": Kind.TEXT,
        "Service": Kind.TEXT,
        "Tags": Kind.TEXTS,
        "Address": Kind.TEXT,
        "TaggedAddresses": _ADDRESSES,
        "Meta": Kind.MAP,
        "Port": Kind.NUMBER,
        "Weights": _WEIGHTS,
        "EnableTagOverride": Kind.BOOL,
        "Proxy": _PROXY,
        "Connect": _CONNECT,
    }
)
CHECK = Schema(
    {
        "Node": Kind.TEXT,
        "CheckID": Kind.TEXT,
        "Name": Kind.TEXT,
        "Status": Kind.TEXT,
        "Notes": Kind.TEXT,
        "Output": Kind.TEXT,
        "ServiceID": Kind.TEXT,
        "ServiceName": Kind.TEXT,
        "ServiceTags": Kind.TEXTS,
        "Type": Kind.TEXT,
    }
)
INSTANCE = Schema({"Node": NODE, "Service": SERVICE, "Checks": Schema(CHECK.fields, many=True)})
CATALOG_SERVICE = Schema(
    {
        "ID": Kind.TEXT,
        "Node": Kind.TEXT,
        "Address": Kind.TEXT,
        "Datacenter": Kind.TEXT,
        "TaggedAddresses": Kind.MAP,
        "NodeMeta": Kind.MAP,
        "ServiceKind": Kind.TEXT,
        "ServiceID": Kind.TEXT,
        "ServiceName": Kind.TEXT,
        "ServiceTags": Kind.TEXTS,
        "ServiceAddress": Kind.TEXT,
        "ServiceTaggedAddresses": _ADDRESSES,
        "ServiceWeights": _WEIGHTS,
        "ServiceMeta": Kind.MAP,
        "ServicePort": Kind.NUMBER,
        "ServiceEnableTagOverride": Kind.BOOL,
        "ServiceProxy": _PROXY,
        "ServiceConnect": _CONNECT,
    }
)

_OPERATORS = {
    "==": "Equal",
    "!=": "Not Equal",
    "in": "In",
    "not in": "Not In",
    "is empty": "Is Empty",
    "is not empty": "Is Not Empty",
    "matches": "Matches",
    "not matches": "Not Matches",
}
_ALLOWED = {
    Kind.TEXT: {"==", "!=", "in", "not in", "matches", "not matches"},
    Kind.NUMBER: {"==", "!="},
    Kind.BOOL: {"==", "!="},
    Kind.TEXTS: {"in", "not in", "is empty", "is not empty"},
    Kind.MAP: {"in", "not in", "is empty", "is not empty"},
}
_LEXEMES = re.compile(
    r"""\s+|(?P<string>"[^"]*"|`[^`]*`)|(?P<sign>==|!=|[().\[\]])|"""
    r"""(?P<number>-?(?:0|[1-9]\d*)(?:\.\d+)?(?!\w))|(?P<word>[A-Za-z]\w*)""",
    re.ASCII,
)
_DEEPEST = 100


def compile_filter(text: str, schema: Schema) -> Predicate:
    """Raises FailedError, in the real one's words."""
    try:
        return _Parser(text, schema).parse()
    except (ValueError, RecursionError) as error:
        raise FailedError(f"Failed to create boolean expression evaluator: {error}") from None


class _Lexeme(NamedTuple):
    kind: str
    text: str
    at: int

    @property
    def value(self) -> str:
        if self.kind != "string":
            return self.text
        return self.text[1:-1] if self.text[0] == "`" else str(json.loads(self.text))


class _Parser:
    def __init__(self, text: str, schema: Schema) -> None:
        self._text, self._schema, self._at, self._depth = text, schema, 0, 0
        self._lexemes = list(_lex(text))

    def parse(self) -> Predicate:
        predicate = self._either()
        if self._at < len(self._lexemes):
            raise self._unexpected()
        return predicate

    def _either(self) -> Predicate:
        left = self._both()
        while self._taken("or"):
            left = _any_of(left, self._both())
        return left

    def _both(self) -> Predicate:
        left = self._not()
        while self._taken("and"):
            left = _all_of(left, self._not())
        return left

    def _not(self) -> Predicate:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ValueError("the expression is nested too deeply")
        try:
            if self._taken("not"):
                return _negated(self._not())
            if self._taken("("):
                inner = self._either()
                if not self._taken(")"):
                    raise self._unexpected()
                return inner
            return self._match()
        finally:
            self._depth -= 1

    def _match(self) -> Predicate:
        """`selector op value` or `value in selector`."""
        start = self._at
        value = self._value()
        if self._taken("not"):
            if self._taken("in"):
                return self._test(self._selector(), "not in", value)
        elif self._taken("in"):
            return self._test(self._selector(), "in", value)
        self._at = start
        selector = self._selector()
        if self._taken("is"):
            operator = "is not empty" if self._taken("not") else "is empty"
            if not self._taken("empty"):
                raise self._unexpected()
            return self._test(selector, operator, "")
        return self._test(selector, self._operator(), self._value())

    def _operator(self) -> str:
        for sign in ("==", "!="):
            if self._taken(sign):
                return sign
        negated = "not " if self._taken("not") else ""
        if self._taken("contains"):
            return f"{negated}in"
        if self._taken("matches"):
            return f"{negated}matches"
        raise self._unexpected()

    def _selector(self) -> list[str]:
        if self._kind() != "word":
            raise self._unexpected()
        path = [self._next().text]
        while True:
            if self._taken("."):
                if self._kind() != "word":
                    raise self._unexpected()
                path.append(self._next().text)
            elif self._taken("["):
                if self._kind() != "string":
                    raise self._unexpected()
                path.append(self._next().value)
                if not self._taken("]"):
                    raise self._unexpected()
            else:
                return path

    def _value(self) -> str:
        if self._kind() not in ("word", "number", "string"):
            raise self._unexpected()
        first = self._next()
        value = first.value
        while first.kind == "word" and self._peek(".") and self._kind(1) == "word":
            self._at += 1
            value += f".{self._next().text}"
        return value

    def _test(self, path: list[str], operator: str, value: str) -> Predicate:
        name = ".".join(path)
        target: Kind | Schema = self._schema
        for at, part in enumerate(path):
            if isinstance(target, Schema) and target.keyed:
                target = Schema(target.fields)
            elif isinstance(target, Schema) and part in target.fields:
                target = target.fields[part]
            elif target is Kind.MAP and at == len(path) - 1:
                target = Kind.TEXT
            else:
                known = at + 1 if isinstance(target, Schema) else len(path)
                raise ValueError(f'Selector "{".".join(path[:known])}" is not valid')
        if isinstance(target, Schema):
            if not ((target.many or target.keyed) and operator in ("is empty", "is not empty")):
                raise ValueError(f'Invalid match operator "{_OPERATORS[operator]}" for selector "{name}"')
            return _at(path, _emptiness(operator))
        if operator not in _ALLOWED[target]:
            raise ValueError(f'Invalid match operator "{_OPERATORS[operator]}" for selector "{name}"')
        return _at(path, _condition(target, operator, value, name))

    def _kind(self, ahead: int = 0) -> str:
        at = self._at + ahead
        return self._lexemes[at].kind if at < len(self._lexemes) else ""

    def _peek(self, text: str) -> bool:
        return self._at < len(self._lexemes) and self._lexemes[self._at].text == text

    def _next(self) -> _Lexeme:
        self._at += 1
        return self._lexemes[self._at - 1]

    def _taken(self, text: str) -> bool:
        if self._peek(text) and self._kind() in ("word", "sign"):
            self._at += 1
            return True
        return False

    def _unexpected(self) -> ValueError:
        return _no_match(self._text, self._lexemes[self._at].at if self._at < len(self._lexemes) else len(self._text))


def _lex(text: str) -> Iterator[_Lexeme]:
    at = 0
    while at < len(text):
        found = _LEXEMES.match(text, at)
        if not found:
            raise _no_match(text, at)
        if found.lastgroup:
            yield _Lexeme(found.lastgroup, found.group(), at)
        at = found.end()


def _no_match(text: str, at: int) -> ValueError:
    line = text.count("\n", 0, at) + 1
    return ValueError(f"{line}:{at - text.rfind(chr(10), 0, at)} ({at}): no match found")


def _condition(kind: Kind, operator: str, value: str, name: str) -> Predicate:
    if operator.endswith("empty"):
        return _emptiness(operator)
    if operator.endswith("matches"):
        try:
            pattern = re.compile(value)
        except re.error as error:
            raise ValueError(f'Failed to compile regular expression "{value}": {error}') from None
        return _sense(operator, lambda it: pattern.search(it or "") is not None)
    if operator.endswith("in"):
        return _sense(operator, lambda it: value in (it or ()))
    wanted = _coerced(kind, value, name)
    return _sense("not" if operator == "!=" else "", lambda it: it == wanted)


def _sense(operator: str, predicate: Predicate) -> Predicate:
    return _negated(predicate) if operator.startswith("not") else predicate


def _emptiness(operator: str) -> Predicate:
    return bool if operator == "is not empty" else (lambda it: not it)


def _coerced(kind: Kind, value: str, name: str) -> str | int | bool:
    if kind is Kind.TEXT:
        return value
    try:
        if kind is Kind.NUMBER:
            return int(value)
        return parse_bool(value)
    except ValueError:
        call = "ParseInt" if kind is Kind.NUMBER else "ParseBool"
        problem = f'strconv.{call}: parsing "{value}": invalid syntax'
        raise ValueError(f'Failed to coerce value "{value}" for selector "{name}": {problem}') from None


def _at(path: list[str], predicate: Predicate) -> Predicate:
    """The predicate on what the path leads to; on a list on the way, whether any element passes."""

    def test(value: Any, at: int = 0) -> bool:
        if isinstance(value, list | tuple) and at < len(path):
            return any(test(item, at) for item in value)
        if at == len(path):
            return predicate(value)
        if isinstance(value, dict):
            return test(value.get(path[at]), at + 1)
        return predicate(None)

    return test


def _any_of(left: Predicate, right: Predicate) -> Predicate:
    return lambda it: left(it) or right(it)


def _all_of(left: Predicate, right: Predicate) -> Predicate:
    return lambda it: left(it) and right(it)


def _negated(predicate: Predicate) -> Predicate:
    return lambda it: not predicate(it)
