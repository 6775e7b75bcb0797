"""Environments, values and versions, and what follows from them. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from consul_template_py.errors import ConfigError

MOST_VALUE_BYTES = 500 * 1024  # Consul allows 512 KB
DEFAULT_PARENT = "base"

_ENVIRONMENT = re.compile(r"[a-z0-9][a-z0-9_\-]{0,62}")
_SECRET = re.compile(r"passw|secret|token|credential|api_?key|private_?key", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Change:
    """None stands for no value."""

    path: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Version:
    number: int
    at: float  # epoch seconds
    author: str
    reason: str
    changes: tuple[Change, ...]

    def encode(self) -> bytes:
        changes = [{"path": c.path, "before": c.before, "after": c.after} for c in self.changes]
        return orjson.dumps(
            {"number": self.number, "at": self.at, "author": self.author, "reason": self.reason, "changes": changes}
        )

    @staticmethod
    def decode(body: bytes) -> "Version":
        """Raises ValueError, KeyError or TypeError for what is not one."""
        found = orjson.loads(body)
        changes = tuple(Change(c["path"], c["before"], c["after"]) for c in found["changes"])
        return Version(found["number"], found["at"], found["author"], found["reason"], changes)


@dataclass(frozen=True, slots=True)
class Effective:
    """A value, and the environment that it comes from."""

    value: str
    origin: str


def check_environment(name: str) -> str:
    if _ENVIRONMENT.fullmatch(name) is None:
        raise ConfigError(f"environment {name!r}: a name has lower-case letters, digits, - and _")
    return name


def check_path(path: str) -> str:
    path = path.strip("/")
    if (
        not path
        or not path.isprintable()
        or any(part in ("", ".", "..") for part in path.split("/"))
        or len(path) > 400
    ):
        raise ConfigError(f"path {path!r}: write it as folder/name, without empty parts, at most 400 characters")
    return path


def check_value(path: str, value: str) -> str:
    if len(value.encode("utf-8", "surrogateescape")) > MOST_VALUE_BYTES:
        raise ConfigError(f"{path}: the value is larger than {MOST_VALUE_BYTES} bytes")
    return value


def chain(environment: str, parents: Mapping[str, str | None]) -> tuple[str, ...]:
    """The environment, and those that it inherits from, nearest first. Raises ConfigError for a circle."""
    found: list[str] = []
    at: str | None = environment
    while at is not None:
        if at in found:
            raise ConfigError(f"environments inherit in a circle: {' -> '.join([*found, at])}")
        found.append(at)
        at = parents[at] if at in parents else chain_step(at, None)
    return tuple(found)


def chain_step(environment: str, said: str | None) -> str | None:
    """Whom an environment inherits from. `said`: what its key `inherits` holds, "" for nobody; None where there is no such key."""
    if said is None:
        return None if environment == DEFAULT_PARENT else DEFAULT_PARENT
    return said or None


def resolve(layers: Sequence[tuple[str, Mapping[str, str]]]) -> dict[str, Effective]:
    """`layers`: environments with their own values, nearest first. Sorted by path."""
    found: dict[str, Effective] = {}
    for environment, values in layers:
        for path, value in values.items():
            found.setdefault(path, Effective(value, environment))
    return dict(sorted(found.items()))


def changes_to(before: Mapping[str, str], wanted: Mapping[str, str | None]) -> tuple[Change, ...]:
    """What of `wanted` (None: removed) is another than what is there."""
    return tuple(
        Change(path, before.get(path), after) for path, after in sorted(wanted.items()) if before.get(path) != after
    )


def differences(one: Mapping[str, str], other: Mapping[str, str]) -> tuple[Change, ...]:
    """From `one` to `other`."""
    return changes_to(one, {path: other.get(path) for path in {*one, *other}})


def values_at(current: Mapping[str, str], later: Iterable[Version]) -> dict[str, str]:
    """The values before `later`, which are all versions since then, in any order."""
    values = dict(current)
    for version in sorted(later, key=lambda version: -version.number):
        for change in version.changes:
            if change.before is None:
                values.pop(change.path, None)
            else:
                values[change.path] = change.before
    return values


def is_secret(path: str) -> bool:
    return _SECRET.search(path) is not None
