"""App and group definitions from files: what `dromos deploy` reads."""

import sys
from dataclasses import dataclass
from pathlib import Path

import orjson

from dromos.api import Json
from dromos.errors import CommandError


@dataclass(frozen=True)
class Definitions:
    """What is to be deployed: apps (by id) and groups, in the order in which they were found."""

    apps: tuple[Json, ...] = ()
    groups: tuple[Json, ...] = ()

    def __add__(self, other: "Definitions") -> "Definitions":
        return Definitions(self.apps + other.apps, self.groups + other.groups)

    def app_ids(self) -> tuple[str, ...]:
        """All ids, absolute, those inside groups included."""
        return tuple(_absolute(app["id"], "/") for app in self.apps) + tuple(
            app_id for group in self.groups for app_id in _ids_in(group, "/")
        )


def load(paths: tuple[str, ...]) -> Definitions:
    """Reads files, folders (their `*.json`) and `-` (standard input). Raises CommandError that names the file and the place."""
    found = Definitions()
    for path in paths:
        if path == "-":
            found += _parse(sys.stdin.buffer.read(), "standard input")
            continue
        for file in _files(Path(path)):
            try:
                found += _parse(file.read_bytes(), str(file))
            except OSError as error:
                raise CommandError(f"{file} cannot be read: {error.strerror}") from None
    if not found.apps and not found.groups:
        raise CommandError(f"no app definition in {', '.join(paths)}")
    return found


def _files(path: Path) -> list[Path]:
    return sorted(path.glob("*.json")) if path.is_dir() else [path]


def _parse(text: bytes, where: str) -> Definitions:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise CommandError(f"{where}, line {error.lineno}, column {error.colno}: {error.msg}") from None
    definitions = Definitions()
    for item in document if isinstance(document, list) else [document]:
        if not isinstance(item, dict):
            raise CommandError(f"{where}: an app or a group is a JSON object, not {type(item).__name__}")
        if "apps" in item or "groups" in item:
            definitions += Definitions(groups=({"id": "/", **item},))
        elif isinstance(item.get("id"), str):
            definitions += Definitions(apps=(item,))
        else:
            raise CommandError(f'{where}: the app has no id; add "id": "/name"')
    return definitions


def _absolute(app_id: str, parent: str) -> str:
    return app_id if app_id.startswith("/") else f"{parent.rstrip('/')}/{app_id}"


def _ids_in(group: Json, parent: str) -> list[str]:
    here = _absolute(str(group.get("id", "/")), parent)
    ids = [_absolute(str(app["id"]), here) for app in group.get("apps") or [] if "id" in app]
    return ids + [app_id for child in group.get("groups") or [] for app_id in _ids_in(child, here)]
