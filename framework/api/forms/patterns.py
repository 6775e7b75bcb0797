r"""Regular expressions that clients send and the scheduler will run: they have to compile, and may not take for ever.

Python's matcher tries every way in which a pattern may be laid over a text: `(.+)+x` and `(a|a)*x` have 2^n of them on n characters,
`.*.*.*.*.*.*.*.*x` has n^8, and one such constraint would stop every deployment of everybody. So the ways are counted, from above. A
repetition that must end at the next literal (`\d+-`), and alternatives that begin differently, are one way each: what people write for
hosts and racks passes.
"""

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

LONGEST = 1024
TEXT = 64  # characters of a text that the ways are counted for
MOST_WAYS = (TEXT + 1) ** 3  # three repetitions that may each end anywhere
_QUANTIFIER = re.compile(r"(?:(?P<sign>[*+?])|\{(?!\})(?P<least>\d*)(?P<comma>,?)(?P<most>\d*)\})(?P<mode>[?+]?)")
_GROUP = re.compile(r"\((?:\?(?:P<\w+>|<?[=!]|[>:]|[a-zA-Z-]+:))?")
_FLAGS = re.compile(r"\(\?[a-zA-Z]+\)")
_COMMENT = re.compile(r"\(\?(?:#|[a-zA-Z-]*x)")
_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_REFERENCE = re.compile(r"\(\?P=\w+\)")
_ATOM = re.compile(r"\\(?:x..|u.{4}|U.{8}|N\{[^}]*\}|[0-9]{1,3}|.)|.", re.DOTALL)
_WITHOUT_WIDTH = ("^", "$", r"\A", r"\Z", r"\b", r"\B")


def problem(pattern: str) -> str | None:
    """What is wrong with it, or None."""
    if len(pattern) > LONGEST:
        return f"must not be longer than {LONGEST} characters"
    try:
        with warnings.catch_warnings(action="ignore"):  # of what Python may one day read otherwise
            re.compile(pattern)
            ways = _Reader(pattern).ways()
    except (re.error, OverflowError, RecursionError):
        return f"'{pattern}' is not a valid regular expression"
    if _COMMENT.search(pattern):
        return f"'{pattern}' has comments, or allows them"
    if ways > MOST_WAYS:
        return (
            f"'{pattern}' may match in too many ways, which may take for ever; repeat no repetition,"
            " and use few that run into each other"
        )
    return None


@dataclass(frozen=True)
class _Item:
    """An atom or a group with its quantifier. `source`: of an atom; `ways`: of what is repeated."""

    source: str
    ways: int
    least: int = 1
    most: int = 1
    goes_back: bool = True  # gives up some of what it took, where what follows does not match

    @property
    def literal(self) -> str:
        """The character that has to stand there; "" where it may be another, or none."""
        is_literal = (len(self.source) == 1 and self.source != ".") or (
            self.source[:1] == "\\" and not self.source[1].isalnum()
        )
        return self.source[-1] if is_literal and self.least else ""

    def ways_before(self, following: str) -> int:
        """`following`: the literal that comes next, or ""."""
        choices = max(1, min(self.most, TEXT) - self.least + 1) if self.goes_back else 1
        if self.source and following and not self._may_be(following):
            choices = 1
        repeated: int = self.ways ** min(self.most, TEXT)
        return min(choices * repeated, MOST_WAYS + 1)

    def _may_be(self, character: str) -> bool:
        try:
            return re.fullmatch(self.source, character, re.IGNORECASE | re.DOTALL) is not None
        except re.error:  # the beginning of a longer escape
            return True


class _Reader:
    """Reads a pattern that compiles from left to right."""

    def __init__(self, pattern: str) -> None:
        self._pattern, self._position = pattern, 0

    def ways(self) -> int:
        """Of the whole; too many where it cannot be read to its end."""
        found = self._alternatives()
        return found if self._position == len(self._pattern) else MOST_WAYS + 1

    def _alternatives(self) -> int:
        """Of what stands here, up to the end of the group."""
        found = [self._sequence()]
        while self._takes("|"):
            found.append(self._sequence())
        beginnings = {beginning.lower() for beginning, _ in found}
        if len(beginnings) < len(found) or not all(beginning and beginning.isascii() for beginning in beginnings):
            return min(sum(ways for _, ways in found), MOST_WAYS + 1)
        return max(ways for _, ways in found)

    def _sequence(self) -> tuple[str, int]:
        """The literal that it begins with, or "", and its ways."""
        items, ways = list(self._items()), 1
        followed_by = [item.literal for item in items[1:]] + [""]
        for item, following in zip(items, followed_by, strict=False):
            ways = min(ways * item.ways_before(following), MOST_WAYS + 1)
        return items[0].literal if items else "", ways

    def _items(self) -> Iterator[_Item]:
        while self._position < len(self._pattern) and self._pattern[self._position] not in "|)":
            if self._matches(_FLAGS):
                continue
            source, ways = self._matches(_REFERENCE), 1
            if not source and self._matches(_GROUP):
                ways = self._alternatives()
                self._takes(")")
            elif not source:
                source = self._matches(_CLASS) or self._matches(_ATOM)
                if source in _WITHOUT_WIDTH:
                    continue
            yield self._quantified(source, ways)

    def _quantified(self, source: str, ways: int) -> _Item:
        found = _QUANTIFIER.match(self._pattern, self._position)
        if found is None:
            return _Item(source, ways)
        self._position = found.end()
        goes_back = found["mode"] != "+"
        if found["sign"]:
            least, most = {"*": (0, TEXT), "+": (1, TEXT), "?": (0, 1)}[found["sign"]]
        else:
            least = int(found["least"] or 0)
            most = int(found["most"] or TEXT) if found["comma"] else least
        return _Item(source, ways, least, most, goes_back)

    def _takes(self, character: str) -> bool:
        if not self._pattern.startswith(character, self._position):
            return False
        self._position += 1
        return True

    def _matches(self, expression: re.Pattern[str]) -> str:
        found = expression.match(self._pattern, self._position)
        if found is None:
            return ""
        self._position = found.end()
        return found[0]
