"""Prometheus' text format, the metrics that are asked for alone: an edge with a thousand services shows a hundred thousand lines."""

import re
from collections.abc import Iterator, Set

_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")


def samples(text: str, names: Set[str]) -> Iterator[tuple[str, dict[str, str], float]]:
    """(name, labels, value). Raises ValueError for a line with such a name that cannot be read."""
    for line in text.splitlines():
        end = len(line)
        for stop in ("{", " "):
            at = line.find(stop)
            if 0 <= at < end:
                end = at
        name = line[:end]
        if name not in names:
            continue
        labels, rest = {}, line[end:]
        if rest.startswith("{"):
            inside, closing, rest = rest[1:].rpartition("}")
            if not closing:
                raise ValueError(f"no }} in {line[:200]!r}")
            labels = {key: _ESCAPED.sub(_unescape, value) for key, value in _LABEL.findall(inside)}
        yield name, labels, float(rest.split()[0] if rest.split() else "")


def _unescape(match: re.Match[str]) -> str:
    return {"n": "\n"}.get(match[1], match[1])
