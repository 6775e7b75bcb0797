"""Groups as `/v2/groups` shows them: a tree, made from what is declared flat."""

from collections.abc import Callable
from typing import Any

import orjson

from framework.model import path_id
from framework.model.app import App
from framework.model.codec import to_json
from framework.model.group import Declared, Group
from framework.model.pod import Pod

Document = dict[str, Any]
Spell = Callable[[App], bytes]
ALL_PARTS = frozenset({"group.groups", "group.apps", "group.pods"})


def group_json(group_id: str, declared: Declared, parts: frozenset[str], spell: Spell | None = None) -> Document:
    """The group with the parts (`group.groups`, `group.apps`, `group.pods`) that are asked for. `spell` gives an app's JSON."""
    tree = _Tree(declared, group_id)
    return tree.json(group_id, parts, spell)


def part_json(declared: Declared) -> Document:
    """The tree of a part of what is declared."""
    return group_json(path_id.ROOT, declared, ALL_PARTS)


class _Tree:
    """Members by group, found in one pass."""

    def __init__(self, declared: Declared, top: str) -> None:
        self._declared = declared
        self._apps: dict[str, list[App]] = {}
        self._pods: dict[str, list[Pod]] = {}
        self._groups: dict[str, list[str]] = {}
        for app in declared.apps.values():
            if path_id.is_below(app.id, top):
                self._apps.setdefault(path_id.parent(app.id), []).append(app)
        for pod in declared.pods.values():
            if path_id.is_below(pod.id, top):
                self._pods.setdefault(path_id.parent(pod.id), []).append(pod)
        for group in declared.groups:
            if path_id.is_below(group, top):
                self._groups.setdefault(path_id.parent(group), []).append(group)

    def json(self, group_id: str, parts: frozenset[str], spell: Spell | None) -> Document:
        group = self._declared.groups.get(group_id) or Group(group_id)
        document: Document = {"id": group_id, "dependencies": list(group.dependencies), "version": group.version}
        if group.enforce_role is not None:  # clients older than 1.9 do not know it
            document["enforceRole"] = group.enforce_role
        if "group.apps" in parts:
            apps = sorted(self._apps.get(group_id, ()), key=lambda app: app.id)
            document["apps"] = [orjson.Fragment(spell(app)) if spell else to_json(app) for app in apps]
        if "group.pods" in parts:
            document["pods"] = [to_json(p) for p in sorted(self._pods.get(group_id, ()), key=lambda pod: pod.id)]
        if "group.groups" in parts:
            document["groups"] = [self.json(g, parts, spell) for g in sorted(self._groups.get(group_id, ()))]
        return document
