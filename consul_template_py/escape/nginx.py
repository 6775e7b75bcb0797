"""nginx's configuration, as its own reader splits it into tokens (ngx_conf_file.c).

Bare tokens end at white space, `;`, `{`, `}`; quotes open at the start of a token only; inside quotes `\\` escapes. `$` begins a
variable in any token, quoted or not, and nothing escapes it.
"""

import re

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
    refuse_unprintable,
)

_BARE_REFUSED = re.compile(r"[\s;{}\"'\\$#]")


class Nginx:
    name = "nginx"

    def advance(self, place: Place, text: str) -> Place:
        if place == UNKNOWN:
            return UNKNOWN
        i = 0
        while i < len(text):
            char = text[i]
            if place == "#":
                place = BARE if char == "\n" else "#"
            elif place in ('"', "'"):
                if char == "\\":
                    i += 1
                elif char == place:
                    place = MIDDLE
            elif char in " \t\r\n;{}":
                place = BARE
            elif place != MIDDLE and char in "\"'#":
                if place == EITHER:
                    return UNKNOWN
                place = char
            else:
                if char == "\\" or (char == "$" and text[i + 1 : i + 2] == "{"):
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
        if place == UNKNOWN:
            return harmless(text)
        refuse_unprintable(text, "in nginx's configuration")
        if place == "#":
            return text
        if place in ('"', "'"):
            if "$" in text:
                raise RefusedValueError(text, "nginx has no escape for $")
            return text.replace("\\", "\\\\").replace(place, f"\\{place}")
        found = _BARE_REFUSED.search(text)
        if found:
            raise RefusedValueError(text, f"{found[0]!r} outside of quotes would be read as nginx's own syntax")
        return text
