"""What all that is declared has to fulfil together: no two things of one id, no cycles, residents that stay as they are.

Looks only at what a change touches, so that its cost does not grow with the number of apps.
"""

from collections.abc import Iterable, Iterator, Mapping

from framework.api.errors import Violation
from framework.decide.disks import persistent_volumes
from framework.decide.secret_source import SecretError, StoreName, may_use, parse_source
from framework.model import path_id
from framework.model.change import Change
from framework.model.group import Declared
from framework.model.run_spec import RunSpec


def violations(before: Declared, after: Declared, changed: Iterable[str]) -> list[Violation]:
    """`changed`: ids of the apps, pods and groups that differ."""
    ids = list(changed)
    found = list(_clashes(after, ids))
    for spec_id in ids:
        old = before.apps.get(spec_id) or before.pods.get(spec_id)
        new = after.apps.get(spec_id) or after.pods.get(spec_id)
        if old is not None and new is not None:
            found += _resident_changes(old, new)
    if _has_cycle(after, ids):
        found.append(Violation("/", "Dependency graph has cyclic dependencies."))
    return found


def secret_violations(change: Change, default: StoreName | None, *, scoped: bool) -> list[Violation]:
    """Sources that cannot be one, and, `scoped`, those that belong to others."""
    found = []
    for part in (change.apps, change.pods):
        for spec_id, spec in part.items():
            for name, secret in (spec.secrets if spec else {}).items():
                problem = _problem_of_source(spec_id, secret.source, default, scoped)
                if problem is not None:
                    found.append(Violation(f"/secrets/{name}/source", problem))
    return found


def _problem_of_source(spec_id: str, text: str, default: StoreName | None, scoped: bool) -> str | None:
    if ":" not in text and default is None and not scoped:
        return None  # known when it is fetched: the store may be settled later
    try:
        source = parse_source(text, default)
    except SecretError as error:
        return str(error)
    if scoped and not may_use(spec_id, source):
        return f"'{source.path[:100]}' is not in a folder that encloses {spec_id}"
    return None


def _clashes(after: Declared, changed: Iterable[str]) -> Iterator[Violation]:
    for spec_id in changed:
        if spec_id in after.apps and spec_id in after.pods:
            yield Violation("/", f"Applications and Pods may not share the same id: {spec_id}")
        for path in (spec_id, *path_id.ancestors(spec_id)):
            if path in after.groups and path in after.apps:
                yield Violation("/", f"Groups and Applications may not have the same identifier: {path}")
            if path in after.groups and path in after.pods:
                yield Violation("/", f"Groups and Pods may not have the same identifier: {path}")


def _resident_changes(before: RunSpec, after: RunSpec) -> Iterator[Violation]:
    """The reservation and the volumes of a resident app's or pod's instances were made for what it asked then."""
    if not before.is_resident:
        return
    if set(persistent_volumes(after)) != set(persistent_volumes(before)):
        yield Violation("/", "Persistent volumes can not be changed!")
    if before.resources != after.resources:
        yield Violation("/", "Resident Tasks may not change resource requirements!")


def _has_cycle(declared: Declared, changed: Iterable[str]) -> bool:
    """Whether something changed depends on itself, through apps or through groups."""
    needs = _Needs(declared)
    done: set[str] = set()
    for start in changed:
        if start not in declared.apps and start not in declared.groups:
            continue
        path: list[tuple[str, Iterator[str]]] = [(start, needs.of(start))]
        on_path = {start}
        while path:
            node, rest = path[-1]
            following = next(rest, None)
            if following is None:
                path.pop()
                on_path.discard(node)
                done.add(node)
            elif following in on_path:
                return True
            elif following not in done:
                on_path.add(following)
                path.append((following, needs.of(following)))
    return False


class _Needs:
    """What has to be there before an id: for an app its dependencies and its groups' dependencies, for a group all in it."""

    def __init__(self, declared: Declared) -> None:
        self._apps, self._groups = declared.apps, declared.groups
        self._members: Mapping[str, list[str]] | None = None

    def of(self, spec_id: str) -> Iterator[str]:
        if spec_id in self._apps:
            yield from self._known(self._apps[spec_id].dependencies)
            for group in path_id.ancestors(spec_id):
                if group in self._groups:
                    yield from self._known(self._groups[group].dependencies)
        elif spec_id in self._groups:
            yield from self._members_of(spec_id)

    def _known(self, dependencies: Iterable[str]) -> Iterator[str]:
        return (d for d in dependencies if d in self._apps or d in self._groups)

    def _members_of(self, group: str) -> Iterable[str]:
        if self._members is None:
            members: dict[str, list[str]] = {}
            for app_id in self._apps:
                for ancestor in path_id.ancestors(app_id):
                    members.setdefault(ancestor, []).append(app_id)
            self._members = members
        return self._members.get(group, ())
