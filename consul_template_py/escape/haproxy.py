"""HAProxy's configuration: one line, one statement; words are split at white space (configuration manual, 2.2 "Quoting and escaping").

Double quotes keep `\\`, `"` and `$` special, single quotes keep nothing. `%[…]` and `%{…}` are evaluated in formats wherever they stand.
"""

import re

from consul_template_py.escape.base import BARE, UNKNOWN, Place, RefusedValueError, harmless, merged, refuse_unprintable

_BARE_REFUSED = re.compile(r"[\s;{}\"'\\$#]")
_EXPRESSION = re.compile(r"%[\[{]")


class Haproxy:
    name = "haproxy"

    def advance(self, place: Place, text: str) -> Place:
        i = 0
        while i < len(text):
            char = text[i]
            if char == "\n":
                place = BARE  # nothing outlives a line
            elif place == BARE:
                if char == "\\":
                    i += 1
                elif char in "\"'#":
                    place = char
            elif place == '"' and char == "\\":
                i += 1
            elif place in ('"', "'") and char == place:
                place = BARE
            i += 1
        return place

    def after_value(self, place: Place) -> Place:
        return place

    def merge(self, one: Place, other: Place) -> Place:
        return merged(one, other)

    def escape(self, place: Place, value: object) -> str:
        text = str(value)
        if place == UNKNOWN:
            return harmless(text)
        refuse_unprintable(text, "in HAProxy's configuration")
        if place == "#":
            return text
        if _EXPRESSION.search(text):
            raise RefusedValueError(text, "%[ and %{ would be evaluated by HAProxy")
        if place == '"':
            return text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
        if place == "'":
            if "'" in text:
                raise RefusedValueError(text, "HAProxy has no escape for ' inside single quotes")
            return text
        found = _BARE_REFUSED.search(text)
        if found:
            raise RefusedValueError(text, f"{found[0]!r} outside of quotes would be read as HAProxy's own syntax")
        return text
