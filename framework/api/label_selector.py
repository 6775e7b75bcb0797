"""Label selectors of `GET /v2/apps?label=…`: `a, b==c, d!=e, f in (x, y), g notin (z)`, all of which have to hold.

A selector holds only where the label is there at all. `\\` takes the next character as it is.
"""

import re
from collections.abc import Callable, Mapping

from framework.api.errors import UnprocessableError

Selector = Callable[[Mapping[str, str]], bool]
_Test = Callable[[str], bool]

_WORD = r"(?:[^\s,()=!\\]|\\.)+"
_ONE = re.compile(
    rf"\s*(?P<label>{_WORD})\s*(?:(?P<operator>==|!=)\s*(?P<value>{_WORD})|(?P<set>in|notin)\s*\((?P<values>[^)]*)\))?\s*(?:,|$)"
)
_LONGEST = 4096


def parse(text: str) -> Selector:
    """Raises UnprocessableError where `text` is no selector."""
    tests: list[tuple[str, _Test]] = []
    position = 0
    while position < len(text) or not tests:
        match = _ONE.match(text, position) if len(text) <= _LONGEST else None
        if match is None:
            raise UnprocessableError(f"Can not parse label selector '{text[:200]}'")
        tests.append((_plain(match["label"]), _test_of(match)))
        position = match.end()

    def selected(labels: Mapping[str, str]) -> bool:
        return all(label in labels and test(labels[label]) for label, test in tests)

    return selected


def _test_of(match: re.Match[str]) -> _Test:
    if match["operator"]:
        wanted, equal = _plain(match["value"]), match["operator"] == "=="
        return lambda value: (value == wanted) is equal
    if match["set"]:
        values = {_plain(value.strip()) for value in match["values"].split(",")}
        inside = match["set"] == "in"
        return lambda value: (value in values) is inside
    return lambda _value: True


def _plain(word: str) -> str:
    return re.sub(r"\\(.)", r"\1", word)
