"""JSON (RFC 8259). Inside a string a value is escaped; outside of one it becomes a whole JSON value."""

import json
import re

from consul_template_py.escape.base import BARE, UNKNOWN, Place, RefusedValueError, harmless, merged

_LITERAL = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null", re.ASCII)


class Json:
    name = "json"

    def advance(self, place: Place, text: str) -> Place:
        if place == UNKNOWN:
            return UNKNOWN
        i = 0
        while i < len(text):
            char = text[i]
            if place == '"' and char == "\\":
                i += 1
            elif char == '"':
                place = BARE if place == '"' else '"'
            i += 1
        return place

    def after_value(self, place: Place) -> Place:
        return place

    def merge(self, one: Place, other: Place) -> Place:
        return merged(one, other)

    def escape(self, place: Place, value: object) -> str:
        if place == UNKNOWN:
            return harmless(str(value))
        if place == '"':
            return _string(str(value))[1:-1]
        if isinstance(value, str):
            return value if _LITERAL.fullmatch(value) else _string(value)
        return as_json(value)


def as_json(value: object) -> str:
    """Raises RefusedValueError for what JSON cannot say."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError as error:
        raise RefusedValueError(str(value), str(error)) from None


def _plain(value: object) -> object:
    if hasattr(value, "keys"):
        return {key: value[key] for key in value.keys()}  # type: ignore[index]  # noqa: SIM118
    return str(value)


def _string(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RefusedValueError(text, "is not UTF-8") from None
    return json.dumps(text, ensure_ascii=False)
