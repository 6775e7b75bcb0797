"""Groups. Flat: what is in a group follows from the ids, so that a change to one of 10,000 apps copies no tree."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from framework.model import path_id
from framework.model.app import App
from framework.model.pod import Pod
from framework.model.values import FrozenMap


@dataclass(frozen=True, slots=True)
class Group:
    """What is declared of a group itself. `enforce_role` is of top-level groups only; None leaves it to the setting."""

    id: str
    dependencies: tuple[str, ...] = ()
    enforce_role: bool | None = None
    version: str = ""


@dataclass(frozen=True, slots=True)
class Declared:
    """All that is declared, or the part below one group: by id. Every enclosing group of an entry has an entry of its own."""

    apps: Mapping[str, App] = field(default_factory=FrozenMap)
    pods: Mapping[str, Pod] = field(default_factory=FrozenMap)
    groups: Mapping[str, Group] = field(default_factory=FrozenMap)

    def below(self, group: str) -> "Declared":
        """The group and everything in it."""
        return Declared(
            FrozenMap({i: app for i, app in self.apps.items() if path_id.is_below(i, group)}),
            FrozenMap({i: pod for i, pod in self.pods.items() if path_id.is_below(i, group)}),
            FrozenMap({i: g for i, g in self.groups.items() if i == group or path_id.is_below(i, group)}),
        )

    def without(self, group: str) -> "Declared":
        """Everything but the group and what is in it."""
        return Declared(
            FrozenMap({i: app for i, app in self.apps.items() if not path_id.is_below(i, group)}),
            FrozenMap({i: pod for i, pod in self.pods.items() if not path_id.is_below(i, group)}),
            FrozenMap({i: g for i, g in self.groups.items() if i != group and not path_id.is_below(i, group)}),
        )

    def with_enclosing_groups(self) -> "Declared":
        """With an entry for every group that an id implies."""
        groups = dict(self.groups)
        for path in [*self.apps, *self.pods, *self.groups]:
            for group in path_id.ancestors(path):
                groups.setdefault(group, Group(group))
        return self if len(groups) == len(self.groups) else replace(self, groups=FrozenMap(groups))
