"""A group as clients write it, with apps, pods and groups nested in it -> a change of what is declared.

`apps`, `pods`, `groups` and `dependencies` each replace what is there if they are given, and leave it if they are not.
"""

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from typing import Any

from framework.api import autoscaled
from framework.api.changes import DraftEdit, ids_below
from framework.api.errors import ConflictError, InvalidObjectError, NotFoundError, Violation
from framework.api.forms import app_form, pod_form, rules, shapes
from framework.api.forms.app_form import Defaults
from framework.api.forms.rules import MOST_INSTANCES
from framework.api.forms.type_check import check_types
from framework.model import path_id
from framework.model.app import App
from framework.model.change import Change
from framework.model.codec import from_json
from framework.model.group import Declared, Group
from framework.model.pod import Pod

Document = dict[str, Any]
_NOT_ALONE = "not allowed in conjunction with other properties"
_DEEPEST = 32


def read(document: object) -> Document:
    """Types, and what must stand alone. Raises InvalidJsonError or InvalidObjectError."""
    given = check_types(shapes.Group, document)
    others = set(given) - {"id"}
    violations = [
        Violation(f"/{alone}", _NOT_ALONE) for alone in ("version", "scaleBy") if alone in given and others != {alone}
    ]
    if given.get("scaleBy", 0) < 0:
        violations.append(Violation("/scaleBy", f"got {given['scaleBy']:g}, expected 0 or more"))
    if violations:
        raise InvalidObjectError(violations)
    return given


def creation(given: Document, group_id: str) -> DraftEdit:
    def edit(declared: Declared, defaults: Defaults) -> Change:
        if group_id in declared.groups:
            raise ConflictError(f"Group {group_id} is already created. Use PUT to change this group.")
        if group_id in declared.apps:
            raise ConflictError(f"An app with the path {group_id} already exists.")
        if group_id in declared.pods:
            raise ConflictError(f"A pod with the path {group_id} already exists.")
        return _updated(given, group_id, declared, defaults)

    return edit


def update(given: Document, group_id: str) -> DraftEdit:
    if "scaleBy" in given:
        return scaling(group_id, given["scaleBy"])
    return lambda declared, defaults: _updated(given, group_id, declared, defaults)


def scaling(group_id: str, factor: float) -> DraftEdit:
    """Every app in the group, at any depth, gets ceil(instances x factor)."""

    def edit(declared: Declared, _defaults: Defaults) -> Change:
        if group_id not in declared.groups:
            raise NotFoundError.of("Group", group_id)
        scaled: dict[str, App | None] = {}
        for app_id in ids_below(group_id, declared.apps):
            app = declared.apps[app_id]
            # Rounded first: 10 x 1.1 is 11.000000000000002.
            wanted = round(app.instances * factor, 6)
            most = 1 if app.is_single_instance else MOST_INSTANCES
            if wanted > most:
                raise InvalidObjectError([Violation("/scaleBy", f"{app_id} may have {most} instances at most")])
            scaled[app_id] = replace(app, instances=ceil(wanted))
        return Change(apps=scaled)

    return edit


def roll_back(group_id: str, version: str, former: Declared | None) -> DraftEdit:
    """The group and all in it as they were."""

    def edit(declared: Declared, _defaults: Defaults) -> Change:
        if former is None:
            raise NotFoundError.of("Group", group_id, version)
        gone = removal_of(group_id, declared)
        return Change(
            apps={**gone.apps, **former.apps},
            pods={**gone.pods, **former.pods},
            groups={**gone.groups, **former.groups},
        )

    return edit


def removal(group_id: str) -> DraftEdit:
    def edit(declared: Declared, _defaults: Defaults) -> Change:
        if group_id not in declared.groups:
            raise NotFoundError.of("Group", group_id)
        return removal_of(group_id, declared)

    return edit


def removal_of(group_id: str, declared: Declared) -> Change:
    """The group goes with all in it; the root itself stays, empty."""
    itself: dict[str, Group | None] = {} if group_id == path_id.ROOT else {group_id: None}
    return Change(
        apps=dict.fromkeys(ids_below(group_id, declared.apps)),
        pods=dict.fromkeys(ids_below(group_id, declared.pods)),
        groups={**dict.fromkeys(ids_below(group_id, declared.groups)), **itself},
    )


def enforcement(group_id: str, document: object) -> DraftEdit:
    """PATCH: whether specs of a top-level group have to take its role; without a word of it, as where it was never said."""
    given = check_types(shapes.Group, document)
    if set(given) - {"id", "enforceRole"}:
        raise InvalidObjectError([Violation("/", "only enforceRole can be patched")])

    def edit(declared: Declared, _defaults: Defaults) -> Change:
        group = declared.groups.get(group_id)
        if group is None:
            raise NotFoundError.of("Group", group_id)
        if path_id.parent(group_id) != path_id.ROOT or group_id == path_id.ROOT:
            raise InvalidObjectError([Violation("/enforceRole", "enforceRole can only be set for top-level groups")])
        return Change(groups={group_id: replace(group, enforce_role=given.get("enforceRole"))})

    return edit


# --- structure


class _Collected:
    """What the nested document declares, and all that is wrong with it."""

    def __init__(self) -> None:
        self.apps: dict[str, App | None] = {}
        self.pods: dict[str, Pod | None] = {}
        self.groups: dict[str, Group | None] = {}
        self.violations: list[Violation] = []

    def under(self, at: str, violations: list[Violation]) -> None:
        self.violations += [Violation(at + ("" if v.path == "/" else v.path) or "/", v.message) for v in violations]


def _updated(given: Document, group_id: str, declared: Declared, defaults: Defaults) -> Change:
    collected = _Collected()
    enforced = {group_id: Group(group_id, enforce_role=given["enforceRole"])} if "enforceRole" in given else {}
    known: Mapping[str, Group] = ChainMap(enforced, dict(defaults.groups)) if enforced else defaults.groups
    _collect(given, group_id, declared, replace(defaults, groups=known), collected, at="", depth=0)
    if collected.violations:
        raise InvalidObjectError(collected.violations)
    return Change(collected.apps, collected.pods, collected.groups)


def _collect(
    given: Document, group_id: str, declared: Declared, defaults: Defaults, into: _Collected, *, at: str, depth: int
) -> None:
    _group_itself(given, group_id, declared, into, at)
    if "apps" in given:
        into.apps.update(dict.fromkeys(i for i in declared.apps if path_id.parent(i) == group_id))
        for index, app in enumerate(given["apps"]):
            _app(app, group_id, declared, defaults, into, f"{at}/apps({index})")
    if "pods" in given:
        into.pods.update(dict.fromkeys(i for i in declared.pods if path_id.parent(i) == group_id))
        for index, pod in enumerate(given["pods"]):
            _pod(pod, group_id, defaults, into, f"{at}/pods({index})")
    if "groups" not in given:
        return
    kept = {path_id.canonical(g["id"], group_id) for g in given["groups"] if g.get("id")}
    for child in [i for i in declared.groups if i != path_id.ROOT and path_id.parent(i) == group_id and i not in kept]:
        gone = removal_of(child, declared)
        into.apps.update(gone.apps)
        into.pods.update(gone.pods)
        into.groups.update(gone.groups)
    for index, group in enumerate(given["groups"]):
        inner = f"{at}/groups({index})"
        if not group.get("id"):
            into.under(f"{inner}/id", [Violation("/", "error.path.missing")])
        elif depth >= _DEEPEST:
            into.under(inner, [Violation("/", f"groups may not be nested more than {_DEEPEST} deep")])
        else:
            child = path_id.canonical(group["id"], group_id)
            into.under(inner, _child_of(group_id, child))
            _collect(group, child, declared, defaults, into, at=inner, depth=depth + 1)


def _group_itself(given: Document, group_id: str, declared: Declared, into: _Collected, at: str) -> None:
    found = rules.Found()
    if group_id != path_id.ROOT:
        rules.id_rules(found, "/id", group_id)
    group = declared.groups.get(group_id) or Group(group_id)
    if "dependencies" in given:
        dependencies = tuple(path_id.canonical(d, group_id) for d in given["dependencies"])
        rules.dependency_rules(found, "/dependencies", dependencies)
        group = replace(group, dependencies=dependencies)
    if "enforceRole" in given:
        if group_id == path_id.ROOT or path_id.parent(group_id) != path_id.ROOT:
            found.add("/enforceRole", "enforceRole can only be set for top-level groups")
        group = replace(group, enforce_role=given["enforceRole"])
    into.groups[group_id] = group
    into.under(at, found.violations)


def _app(given: Document, group_id: str, declared: Declared, defaults: Defaults, into: _Collected, at: str) -> None:
    if not given.get("id"):
        into.under(f"{at}/id", [Violation("/", "error.path.missing")])
        return
    document, violations = app_form.completed(given, defaults, base=group_id)
    violations = _child_of(group_id, document["id"]) + violations
    if document["id"] in into.apps and into.apps[document["id"]] is not None:
        violations.append(Violation("/id", "Applications may not share the same id"))
    into.under(at, violations)
    if not violations:
        app = from_json(App, document)
        into.apps[app.id] = autoscaled.kept(declared.apps.get(app.id), app, given)


def _pod(given: Document, group_id: str, defaults: Defaults, into: _Collected, at: str) -> None:
    document, violations = pod_form.completed(given, defaults, base=group_id)
    violations = _child_of(group_id, document["id"]) + violations
    into.under(at, violations)
    if not violations:
        into.pods[document["id"]] = from_json(Pod, document)


def _child_of(group_id: str, spec_id: str) -> list[Violation]:
    if path_id.parent(spec_id) == group_id:
        return []
    return [Violation("/id", f"Identifier is not child of '{group_id}'. Hint: use relative paths.")]
