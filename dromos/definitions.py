"""App, pod and group definitions from files: what `dromos deploy` and `dromos diff` read."""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import yaml

from dromos.api import Json
from dromos.errors import CommandError

SUFFIXES = (".json", ".yaml", ".yml")


@dataclass(frozen=True)
class Definitions:
    """What is to be deployed, in the order in which it was found."""

    apps: tuple[Json, ...] = ()
    pods: tuple[Json, ...] = ()
    groups: tuple[Json, ...] = ()

    def __add__(self, other: "Definitions") -> "Definitions":
        return Definitions(self.apps + other.apps, self.pods + other.pods, self.groups + other.groups)

    def all_apps(self) -> Iterator[tuple[str, Json]]:
        """(absolute id, definition) of all apps, those inside groups included."""
        yield from ((absolute(app["id"]), app) for app in self.apps)
        for group in self.groups:
            yield from _members(group, "apps")

    def all_pods(self) -> Iterator[tuple[str, Json]]:
        yield from ((absolute(pod["id"]), pod) for pod in self.pods)
        for group in self.groups:
            yield from _members(group, "pods")

    def app_ids(self) -> tuple[str, ...]:
        return tuple(app_id for app_id, _ in self.all_apps())

    def pod_ids(self) -> tuple[str, ...]:
        return tuple(pod_id for pod_id, _ in self.all_pods())


def load(paths: tuple[str, ...]) -> Definitions:
    """Reads files, folders (their JSON and YAML files, those of folders in them too) and `-` (standard input).

    Raises CommandError that names the file and the place.
    """
    found = Definitions()
    for path in paths:
        if path == "-":
            found += _parse(sys.stdin.buffer.read(), "standard input", is_yaml=None)
            continue
        for file in _files(Path(path)):
            try:
                found += _parse(file.read_bytes(), str(file), is_yaml=file.suffix.lower() in (".yaml", ".yml"))
            except OSError as error:
                raise CommandError(f"{file} cannot be read: {error.strerror}") from None
    if not found.apps and not found.groups and not found.pods:
        raise CommandError(f"no app definition in {', '.join(paths)}")
    counted = Counter((*found.app_ids(), *found.pod_ids()))
    twice = sorted(spec_id for spec_id, count in counted.items() if count > 1)
    if twice:
        raise CommandError(f"defined more than once: {', '.join(twice)}; which of them is meant?")
    return found


def absolute(spec_id: str, parent: str = "/") -> str:
    """`web` in `/shop` -> `/shop/web`."""
    return "/" + (spec_id if spec_id.startswith("/") else f"{parent}/{spec_id}").strip("/")


def _files(path: Path) -> list[Path]:
    """Hidden files and folders are left out."""
    if not path.is_dir():
        return [path]
    return sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in SUFFIXES
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )


def _parse(text: bytes, where: str, *, is_yaml: bool | None) -> Definitions:
    """`is_yaml` None: JSON where it begins like JSON, else YAML."""
    if is_yaml is None:
        is_yaml = not text.lstrip().startswith((b"{", b"["))
    documents = _yaml_documents(text, where) if is_yaml else [_json_document(text, where)]
    definitions = Definitions()
    for document in documents:
        for item in document if isinstance(document, list) else [document]:
            definitions += _definition(item, where)
    return definitions


def _definition(item: object, where: str) -> Definitions:
    if not isinstance(item, dict):
        raise CommandError(f"{where}: an app or a group is a JSON object, not {type(item).__name__}")
    if "apps" in item or "groups" in item or "pods" in item:
        for member in _definitions_in(item):
            if not isinstance(member, dict):
                raise CommandError(f"{where}: what a group holds are JSON objects, not {type(member).__name__}")
        return Definitions(groups=({"id": "/", **item},))
    if not isinstance(item.get("id"), str):
        raise CommandError(f'{where}: the app has no id; add "id": "/name"')
    return Definitions(pods=(item,)) if "containers" in item else Definitions(apps=(item,))


def _definitions_in(group: Json) -> Iterator[object]:
    for name in ("apps", "pods", "groups"):
        for member in group.get(name) or []:
            yield member
            if name == "groups" and isinstance(member, dict):
                yield from _definitions_in(member)


def _json_document(text: bytes, where: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise CommandError(f"{where}, line {error.lineno}, column {error.colno}: {error.msg}") from None


class _Loader(yaml.SafeLoader):
    """JSON's types alone: a date in YAML stays the text that it is."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _yaml_documents(text: bytes, where: str) -> list[Any]:
    try:
        documents = [document for document in yaml.load_all(text, _Loader) if document is not None]
        # Once through JSON: whatever YAML has and JSON has not is named here, not by the server.
        return [orjson.loads(orjson.dumps(document)) for document in documents]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise CommandError(f"{where}{place}: {error.problem or error.context}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CommandError(f"{where}: {str(error).splitlines()[0]}") from None
    except orjson.JSONEncodeError as error:
        raise CommandError(f"{where}: not to be said in JSON: {error}; quote keys that look like numbers") from None


def _members(group: Json, kind: str, parent: str = "/") -> Iterator[tuple[str, Json]]:
    here = absolute(str(group.get("id", "/")), parent)
    for member in group.get(kind) or []:
        if "id" in member:
            yield absolute(str(member["id"]), here), member
    for child in group.get("groups") or []:
        yield from _members(child, kind, here)
