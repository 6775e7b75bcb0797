"""What a definition would change about the app or pod that runs: pure, on JSON documents.

Both sides are brought to the canonical form first, so that a default that one of them spells out is no difference.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from dromos.errors import CommandError
from framework.api.errors import ApiError
from framework.api.forms import app_form, pod_form
from framework.api.forms.app_form import Defaults
from framework.model.codec import to_json

Json = dict[str, Any]
Kind = Literal["app", "pod"]

# What the server knows of an app beside its definition.
_STATE = frozenset({"version", "versionInfo", "tasks", "tasksStaged", "tasksRunning", "tasksHealthy", "tasksUnhealthy"})
_STATE |= {"tasksStats", "deployments", "lastTaskFailure", "readinessCheckResults"}
_GIVEN_OUT = frozenset({"port", "servicePort", "hostPort"})  # 0 asks the server for a number
_COUNTS = frozenset({"/instances", "/scaling/instances"})


@dataclass(frozen=True)
class Difference:
    """One value that changes; `path` as Marathon writes it: `/env/COLOR`, `/ports(0)`. None stands for absent."""

    path: str
    before: Any
    after: Any

    @property
    def sign(self) -> str:
        return "+" if self.before is None else "-" if self.after is None else "~"


@dataclass(frozen=True)
class SpecDiff:
    """What becomes of one app or pod."""

    kind: Kind
    id: str
    change: Literal["created", "changed", "unchanged", "destroyed"]
    differences: tuple[Difference, ...] = ()
    instances: int = 0

    @property
    def effect(self) -> str:
        """In plain words."""
        if self.change == "created":
            return f"created with {_instances(self.instances)}"
        if self.change == "destroyed":
            return f"destroyed, and {_instances(self.instances)} with it"
        if self.change == "unchanged":
            return "no change"
        if {difference.path for difference in self.differences} <= _COUNTS:
            count = self.differences[0]
            return f"scaled from {count.before} to {count.after}; none is restarted"
        return f"changed; {_instances(self.instances)} replaced"


def spec_diff(kind: Kind, spec_id: str, running: Json | None, wanted: Json | None) -> SpecDiff:
    """`running` as the API gives it, `wanted` as a file does; None where there is none. Raises CommandError."""
    if wanted is None:
        assert running is not None
        return SpecDiff(kind, spec_id, "destroyed", instances=_count(running))
    role = wanted.get("role") or (running or {}).get("role") or "*"
    after = canonical(kind, spec_id, wanted, role)
    if running is None:
        return SpecDiff(kind, spec_id, "created", tuple(differences({}, after)), _count(after))
    try:
        before = canonical(kind, spec_id, running, role)
    except CommandError:  # a foreign Marathon may know what this one does not
        before = {name: value for name, value in running.items() if name not in _STATE}
    found = tuple(differences(before, after))
    return SpecDiff(kind, spec_id, "changed" if found else "unchanged", found, _count(running))


def canonical(kind: Kind, spec_id: str, document: Json, role: str) -> Json:
    """The definition alone, with every default. Raises CommandError with all that is wrong."""
    given = {name: value for name, value in document.items() if name not in _STATE}
    try:
        if kind == "app":
            return dict(to_json(app_form.whole_app(spec_id, given, Defaults(role=role))))
        made = to_json(pod_form.new_pod({**given, "id": spec_id}, Defaults(role=role)))
        return {name: value for name, value in made.items() if name not in _STATE}
    except ApiError as error:
        details = error.body.get("details")
        wrong = (
            "; ".join(f"{item['path']} {', '.join(item['errors'])}" for item in details)
            if isinstance(details, list)
            else str(details or "")
        )
        raise CommandError(f"{spec_id}: {error.body['message']}{': ' + wrong if wrong else ''}") from None


def differences(before: Any, after: Any, path: str = "") -> Iterator[Difference]:
    """Depth first, by name."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted({*before, *after}):
            if name in _STATE and not path:
                continue
            old, new = before.get(name), after.get(name)
            if name in _GIVEN_OUT and new == 0 and old is not None:
                continue
            yield from differences(old, new, f"{path}/{name}")
    elif isinstance(before, list) and isinstance(after, list) and (_has_parts(before) or _has_parts(after)):
        for index in range(max(len(before), len(after))):
            old = before[index] if index < len(before) else None
            new = after[index] if index < len(after) else None
            yield from differences(old, new, f"{path}({index})")
    elif before != after and (before or after or {type(before), type(after)} - {dict, list, type(None)}):
        yield Difference(path or "/", before, after)


def _has_parts(items: list[Any]) -> bool:
    return any(isinstance(item, dict) for item in items)


def _count(document: Json) -> int:
    return int((document.get("scaling") or document).get("instances", 1))


def _instances(count: int) -> str:
    return f"{count} instance" if count == 1 else f"{count} instances"
