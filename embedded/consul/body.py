"""Request bodies: JSON into checked values, in the ways and with the words of Go's encoding/json.

A schema is a decoder, `(value, where) -> value`; `Struct` is the one for objects. Field names are matched without regard to case,
null counts as absent, and an absent field is absent from the result: the reader gives the default.
"""

import base64
import binascii
import json
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import orjson

from embedded.consul.errors import BadRequestError
from embedded.consul.golang import parse_duration


class Where(NamedTuple):
    """A value's place: the Go name of the struct it stands in, and its path from the top."""

    struct: str
    path: str


Decoder = Callable[[Any, Where], Any]
_TOP = Where("", "")
_LONGEST = 2**63  # nanoseconds


class BodyError(Exception):
    """What is wrong, in Go's words."""


def decode(body: bytes, schema: Decoder, *, prefix: str = "Request decode failed: ") -> Any:
    """The checked value of a request's body. Raises BadRequestError."""
    try:
        return schema(_parse(body), _TOP)
    except BodyError as error:
        raise BadRequestError(f"{prefix}{error}") from None


class Struct:
    """An object with these fields. `aliases` are further names of fields; unknown ones are an error where it is `strict`.

    A null is as good as absent, but for `nullable` fields, which it leaves in the result.
    """

    def __init__(
        self,
        go_name: str,
        fields: Mapping[str, Decoder],
        *,
        aliases: Mapping[str, str] | None = None,
        strict: bool = True,
        nullable: Collection[str] = (),
    ) -> None:
        self.go_name = go_name
        self.strict = strict
        self.nullable = nullable
        self.fields = dict(fields)
        self.names = {name.lower(): name for name in fields}
        self.names |= {alias.lower(): name for alias, name in (aliases or {}).items()}

    def __call__(self, value: Any, where: Where) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise _mismatch(value, where, self.go_name or "struct")
        result: dict[str, Any] = {}
        for given, item in value.items():
            name = self.names.get(given.lower())
            if name is None:
                if self.strict:
                    raise BodyError(f'json: unknown field "{given}"')
            elif item is None:
                if name in self.nullable:
                    result[name] = None
            else:
                path = f"{where.path}.{name}" if where.path else name
                result[name] = self.fields[name](item, Where(self.go_name, path))
        return result


def text(value: Any, where: Where) -> str:
    if not isinstance(value, str):
        raise _mismatch(value, where, "string")
    return value


def boolean(value: Any, where: Where) -> bool:
    if not isinstance(value, bool):
        raise _mismatch(value, where, "bool")
    return value


def integer(value: Any, where: Where) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise _mismatch(value, where, "int")
    return value


def unsigned(value: Any, where: Where) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**64:
        raise _mismatch(value, where, "uint64")
    return value


def duration(value: Any, where: Where) -> int:
    """`"10s"`, or a number of nanoseconds -> nanoseconds. Other kinds of value are passed over, as the real one does."""
    if isinstance(value, str):
        try:
            return parse_duration(value)
        except ValueError as error:
            raise BodyError(str(error)) from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    if not abs(value) < _LONGEST:
        raise BodyError(f"json: cannot unmarshal number {value} into Go value of type float64")
    return int(value)


def octets(value: Any, where: Where) -> bytes:
    """Standard base64, as Go's `[]byte`."""
    if not isinstance(value, str):
        raise _mismatch(value, where, "[]uint8")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        known = (c.isascii() and (c.isalnum() or c in "+/=") for c in value)
        position = next((i for i, fits in enumerate(known) if not fits), len(value))
        raise BodyError(f"illegal base64 data at input byte {position}") from None


def list_of(item: Decoder, go_name: str) -> Decoder:
    def decode_list(value: Any, where: Where) -> list[Any]:
        if not isinstance(value, list):
            raise _mismatch(value, where, go_name)
        return [item(element, where) for element in value]

    return decode_list


def map_of(item: Decoder, go_name: str) -> Decoder:
    def decode_map(value: Any, where: Where) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _mismatch(value, where, go_name)
        return {key: item(element, where) for key, element in value.items()}

    return decode_map


def anything(value: Any, where: Where) -> Any:
    return value


TEXTS = list_of(text, "[]string")
TEXT_MAP = map_of(text, "map[string]string")


def _parse(body: bytes) -> Any:
    """The first JSON value of a body; what follows it is not looked at, as Go's decoder does not."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        content = body.decode(errors="replace").lstrip()
    if not content:
        raise BodyError("EOF")
    try:
        return json.JSONDecoder().raw_decode(content)[0]
    except json.JSONDecodeError as error:
        if error.pos >= len(content) or error.msg.startswith("Unterminated"):
            raise BodyError("unexpected EOF") from None
        expected = "object key string" if "property name" in error.msg else "value"
        raise BodyError(f"invalid character '{content[error.pos]}' looking for beginning of {expected}") from None
    except RecursionError:
        raise BodyError("exceeded max depth") from None


def _mismatch(value: Any, where: Where, go_type: str) -> BodyError:
    kind = {bool: "bool", dict: "object", list: "array", str: "string"}.get(type(value), "number")
    if kind == "number" and go_type in ("int", "uint64"):
        kind = f"number {value}"
    target = f"struct field {where.struct}.{where.path}" if where.path else "value"
    return BodyError(f"json: cannot unmarshal {kind} into Go {target} of type {go_type}")
