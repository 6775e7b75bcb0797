"""POSIX shell. A value is always data there: it is quoted, or escaped inside the quotes that stand around it.

A here-document has rules of its own: from one on, only harmless values may stand."""

import re
import shlex

from consul_template_py.escape.base import (
    BARE,
    EITHER,
    MIDDLE,
    UNKNOWN,
    Place,
    RefusedValueError,
    harmless,
    is_bare,
    merged,
)

_IN_DOUBLE_QUOTES = re.compile(r"[\\\"$`]")


class Shell:
    name = "shell"

    def advance(self, place: Place, text: str) -> Place:
        i = 0
        while i < len(text):
            char = text[i]
            if place == UNKNOWN or (place in (BARE, MIDDLE, EITHER) and text.startswith(("<<", "`", "$("), i)):
                return UNKNOWN
            if place == "#":
                place = BARE if char == "\n" else "#"
            elif place == '"':
                if text.startswith(("`", "$("), i):
                    return UNKNOWN
                if char == "\\":
                    i += 1
                elif char == '"':
                    place = MIDDLE
            elif place == "'":
                place = MIDDLE if char == "'" else "'"
            elif char in "\"'" or (char == "#" and place == BARE):
                place = char
            elif char == "#" and place == EITHER:
                return UNKNOWN
            elif char in " \t\n;&|()<>":
                place = BARE
            else:
                if char == "\\":
                    i += 1
                place = MIDDLE
            i += 1
        return place

    def after_value(self, place: Place) -> Place:
        return EITHER if is_bare(place) else place

    def merge(self, one: Place, other: Place) -> Place:
        return merged(one, other)

    def escape(self, place: Place, value: object) -> str:
        text = str(value)
        if "\0" in text:
            raise RefusedValueError(text, "NUL cannot stand in a shell script")
        if place == UNKNOWN:
            return harmless(text)
        if place == "#":
            if "\n" in text or "\r" in text:
                raise RefusedValueError(text, "a line break would end the comment")
            return text
        if place == '"':
            return _IN_DOUBLE_QUOTES.sub(r"\\\g<0>", text)
        if place == "'":
            return text.replace("'", "'\\''")
        return shlex.quote(text)
