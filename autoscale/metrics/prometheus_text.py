"""Prometheus' text format, the metrics that are asked for alone: an edge with a thousand services shows tens of thousands of lines."""

import math
import re
from collections.abc import Iterator
from functools import lru_cache

_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")


def samples(text: str, names: frozenset[str]) -> Iterator[tuple[str, dict[str, str], float]]:
    """(name, labels, value). Raises ValueError for a line with such a name that cannot be read.

    NaN, which stands for "not known yet", is passed over; an infinite value is no measurement and is refused.
    """
    for match in _lines_of(names).finditer(text):
        name, rest = match.groups()
        labels: dict[str, str] = {}
        if rest.startswith("{"):
            inside, closing, rest = rest[1:].rpartition("}")
            if not closing:
                raise ValueError(f"no }} in {match[0][:200]!r}")
            labels = dict(_LABEL.findall(inside))
            if "\\" in inside:
                labels = {key: _ESCAPED.sub(_unescaped, value) for key, value in labels.items()}
        words = rest.split(maxsplit=1)
        value = float(words[0] if words else "")
        if math.isinf(value):
            raise ValueError(f"an infinite value in {match[0][:200]!r}")
        if not math.isnan(value):
            yield name, labels, value


@lru_cache(maxsize=16)
def _lines_of(names: frozenset[str]) -> re.Pattern[str]:
    """Lines that begin with one of the names, whole."""
    return re.compile(rf"^({'|'.join(sorted(map(re.escape, names), reverse=True))})(?=[ {{])(.*)$", re.MULTILINE)


def _unescaped(match: re.Match[str]) -> str:
    return "\n" if match[1] == "n" else match[1]
