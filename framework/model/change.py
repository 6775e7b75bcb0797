"""A change to what is declared, as one value: what one API call asks for, whether it names an app or a whole tree of groups."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from framework.model import path_id
from framework.model.app import App
from framework.model.group import Declared, Group
from framework.model.pod import Pod
from framework.model.values import FrozenMap

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Change:
    """By id, the new definition, or None where it goes. `restart` names specs that start afresh though nothing about them changed."""

    apps: Mapping[str, App | None] = field(default_factory=FrozenMap)
    pods: Mapping[str, Pod | None] = field(default_factory=FrozenMap)
    groups: Mapping[str, Group | None] = field(default_factory=FrozenMap)
    restart: frozenset[str] = frozenset()

    @property
    def ids(self) -> set[str]:
        return {*self.apps, *self.pods, *self.groups}

    def applied_to(self, declared: Declared) -> Declared:
        """`declared` with this change, with a group for every id that implies one.

        An empty group makes room for an app or a pod of its name.
        """
        groups = {**self.groups}
        for spec_id in (i for part in (self.apps, self.pods) for i, spec in part.items() if spec is not None):
            if spec_id in declared.groups and _is_empty(spec_id, declared):
                groups.setdefault(spec_id, None)
        present = [i for part in (self.apps, self.pods, groups) for i, value in part.items() if value is not None]
        for path in present:
            for group in path_id.ancestors(path):
                if groups.get(group) is None and (group in groups or group not in declared.groups):
                    groups[group] = Group(group)
        return Declared(
            _merged(declared.apps, self.apps), _merged(declared.pods, self.pods), _merged(declared.groups, groups)
        )


# A change often depends on what is declared already (a partial update, a roll-back, a free port). The one writer calls the edit
# with what is declared at that moment, so that two clients cannot overwrite each other; what it raises goes to the caller.
Edit = Callable[[Declared], Change]


def _merged(before: Mapping[str, V], changes: Mapping[str, V | None]) -> Mapping[str, V]:
    if not changes:
        return before
    merged = {**before, **changes}
    return FrozenMap({key: value for key, value in merged.items() if value is not None})


def _is_empty(group: str, declared: Declared) -> bool:
    return not any(path_id.is_below(i, group) for i in (*declared.apps, *declared.pods, *declared.groups))
