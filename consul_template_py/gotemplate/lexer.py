"""Splits a Go template into text and the tokens of its actions (text/template/parse/lex.go).

`{{-` and `-}}` trim the white space next to them; `{{/* … */}}` is a comment, which may trim too.
"""

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass

from consul_template_py.errors import TemplateError


@dataclass(frozen=True, slots=True)
class Token:
    """`kind`: text, begin, end (of an action), or one of the names in the pattern below."""

    kind: str
    text: str
    line: int


_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<string>"(?:[^"\\\n]|\\.)*"|`[^`]*`)
  | (?P<char>'(?:[^'\\\n]|\\.[^'\n]*)')
  | (?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?))
  | (?P<field>\.[^\W\d]\w*)
  | (?P<variable>\$\w*)
  | (?P<declare>:=)
  | (?P<assign>=)
  | (?P<pipe>\|)
  | (?P<open>\()
  | (?P<close>\))
  | (?P<comma>,)
  | (?P<dot>\.)
  | (?P<word>[^\W\d]\w*)
    """,
    re.VERBOSE,
)
_TRIMMED = " \t\r\n"


def lex(source: str, name: str, left: str = "{{", right: str = "}}") -> Iterator[Token]:
    """Raises TemplateError with file and line."""
    position, line, trim = 0, 1, False
    while True:
        start = source.find(left, position)
        text = source[position:] if start < 0 else source[position:start]
        begin_line = line + text.count("\n")
        shown = text.lstrip(_TRIMMED) if trim else text
        if start < 0:
            yield Token("text", shown, line)
            return
        position, line = start + len(left), begin_line
        if source[position : position + 1] == "-" and source[position + 1 : position + 2].isspace():
            shown = shown.rstrip(_TRIMMED)
            position += 2
            line += source[position - 1] == "\n"
        yield Token("text", shown, line)
        comment = _comment(source, position, right)
        if comment is not None:
            line += source.count("\n", position, comment[0])
            position, trim = comment
            continue
        yield Token("begin", left, line)
        position, line, trim = yield from _action(source, position, line, name, right)


def _comment(source: str, position: int, right: str) -> tuple[int, bool] | None:
    """Where a comment that begins here ends, and whether it trims what follows."""
    if not source.startswith("/*", position):
        return None
    close = source.find("*/", position + 2)
    if close < 0:
        return None
    after = close + 2
    if source.startswith(right, after):
        return after + len(right), False
    rest = source[after:]
    stripped = rest.lstrip()
    if rest != stripped and stripped.startswith("-" + right):
        return after + len(rest) - len(stripped) + 1 + len(right), True
    return None


def _action(
    source: str, position: int, line: int, name: str, right: str
) -> Generator[Token, None, tuple[int, int, bool]]:
    """The tokens up to the end of the action; gives back where the text after it begins, its line, and whether it is trimmed."""
    began = line
    spaced = False
    while True:
        if source.startswith(right, position):
            yield Token("end", right, line)
            return position + len(right), line, False
        if spaced and source.startswith("-" + right, position):
            yield Token("end", right, line)
            return position + 1 + len(right), line, True
        match = _TOKEN.match(source, position)
        if match is None or not match[0]:
            if position >= len(source):
                raise TemplateError(f"{name}:{began}: unclosed action")
            raise TemplateError(f"{name}:{line}: unexpected {source[position : position + 10]!r} in an action")
        assert match.lastgroup is not None
        spaced = match.lastgroup == "space"
        yield Token(match.lastgroup, match[0], line)
        line += match[0].count("\n")
        position = match.end()
