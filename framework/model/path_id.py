"""Path ids: `/group/app`. Text in, text out; an id in canonical form begins with `/` and has no empty segment."""

ROOT = "/"


def canonical(text: str, base: str = ROOT) -> str:
    """`text` as an absolute id. Relative ids (`db`, `../db`, `./db`) count from the group `base`; extra slashes are dropped."""
    segments = [] if text.startswith("/") else _segments(base)
    for segment in _segments(text):
        if segment == "..":
            segments = segments[:-1]
        elif segment != ".":
            segments.append(segment)
    return "/" + "/".join(segments)


def parent(path: str) -> str:
    """The enclosing group; the root's parent is the root."""
    return path.rpartition("/")[0] or ROOT


def name(path: str) -> str:
    return path.rpartition("/")[2]


def ancestors(path: str) -> list[str]:
    """The enclosing groups, nearest first, the root last. The root has none."""
    found = []
    while path != ROOT:
        path = parent(path)
        found.append(path)
    return found


def is_below(path: str, group: str) -> bool:
    """Whether `path` is inside `group`, at any depth. A group is not inside itself."""
    return path != group and (group == ROOT or path.startswith(group + "/"))


def top_level(path: str) -> str | None:
    """The name of the top-level group that `path` is in: `/prod/db` -> `prod`; `/db` and `/` are in none."""
    segments = _segments(path)
    return segments[0] if len(segments) > 1 else None


def _segments(path: str) -> list[str]:
    return [segment for segment in path.split("/") if segment]
