"""YAML 1.2: plain scalars, both kinds of quotes, comments, and block scalars (`|`, `>`) by their indentation."""

import re
from dataclasses import dataclass

from consul_template_py.escape.base import BARE, UNKNOWN, Place, RefusedValueError, harmless, refuse_unprintable

_BLOCK_HEADER = re.compile(r"(?:^|[:\-?]\s+|\s)(?:[!&]\S+\s+)*[|>][+\-0-9]*\s*(?:#.*)?$")
_PLAIN_REFUSED = re.compile(r"[\[\]{},#\"'`&*!|>%@\\]|:(?:\s|$)|^[-?](?:\s|$)|^\s|\s$|^(?:---|\.\.\.)")


@dataclass(frozen=True, slots=True)
class _At:
    """What of the line so far matters: its indentation and its text; inside a block scalar, the indentation it hangs on."""

    kind: str
    line: str
    block: int


class Yaml:
    """A place is `kind`, or `kind\\nblock\\nline` where the rest of the line may still matter."""

    name = "yaml"

    def advance(self, place: Place, text: str) -> Place:
        if place == UNKNOWN:
            return UNKNOWN
        at = _read(place)
        kind, line, block = at.kind, at.line, at.block
        i = 0
        while i < len(text):
            char = text[i]
            if kind == '"':
                if char == "\\":
                    i += 1
                elif char == '"':
                    kind = BARE
            elif kind == "'":
                if text.startswith("''", i):
                    i += 1
                elif char == "'":
                    kind = BARE
            elif char == "\n":
                if kind == BARE and _BLOCK_HEADER.search(line):
                    kind, block = "block", _indent(line)
                elif kind == "#":
                    kind = BARE
                line = ""
                i += 1
                continue
            elif kind == "block":
                if char != " " and not line.strip() and len(line) <= block:
                    kind = BARE
                    continue  # the line is outside of the block: read this character as such
            elif kind == BARE:
                before = line.rstrip()
                if char == "#" and (not line or line[-1].isspace()):
                    kind = "#"
                elif char in "\"'" and (not before or before[-1] in "[{," or (before[-1] in ":-?!" and before != line)):
                    kind = char
            line += char
            i += 1
        return _write(kind, line, block)

    def after_value(self, place: Place) -> Place:
        return self.advance(place, "x") if _read(place).kind in (BARE, "block") else place

    def merge(self, one: Place, other: Place) -> Place:
        a, b = _read(one), _read(other)
        return one if (a.kind, a.block) == (b.kind, b.block) else UNKNOWN

    def escape(self, place: Place, value: object) -> str:
        if place == UNKNOWN:
            return harmless(str(value))
        kind = _read(place).kind
        if value is None and kind == BARE:
            return "null"
        if isinstance(value, bool) and kind == BARE:
            return "true" if value else "false"
        text = str(value)
        if kind == '"':
            return "".join(map(_in_double_quotes, text))
        refuse_unprintable(text, "here in YAML")
        if kind == "'":
            return text.replace("'", "''")
        if kind == BARE:
            found = _PLAIN_REFUSED.search(text)
            if found:
                raise RefusedValueError(text, f"{found[0]!r} outside of quotes would be read as YAML's own syntax")
        return text


def _read(place: Place) -> _At:
    kind, _, rest = place.partition("\n")
    block, _, line = rest.partition("\n")
    return _At(kind, line, int(block or 0))


def _write(kind: str, line: str, block: int) -> Place:
    if kind == "#" or (kind == BARE and not line and not block):
        return kind
    return f"{kind}\n{block}\n{line}"


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _in_double_quotes(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char.isprintable():
        return char
    code = ord(char)
    if 0xD800 <= code <= 0xDFFF:
        raise RefusedValueError(char, "is not UTF-8")
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
