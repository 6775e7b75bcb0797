"""A change, worked out to the last step: what it makes of what is declared, whether it may be carried out, and the deployment that does.

Reads the state and changes nothing. So a large change can be worked out beside the event loop, while the one writer waits for it.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from framework.decide.plan_deployment import plan_deployment
from framework.engine.commands import Declare
from framework.engine.core import Core
from framework.engine.errors import Locked, TooManyDeployments
from framework.engine.records import HistoryEntry
from framework.engine.rollouts import Legacy, legacy_of, rollouts_of
from framework.model import path_id
from framework.model.app import App, VersionInfo
from framework.model.change import Change
from framework.model.deployment import Deployment, SpecChange, StepAction
from framework.model.group import Declared, Group
from framework.model.pod import Pod
from framework.model.run_spec import RunSpec, Spec, stamped
from framework.model.timestamp import to_epoch, to_text
from framework.model.values import FrozenMap, replace

StepsOf = Callable[[Deployment], Mapping[str, Mapping[int, StepAction]]]


@dataclass(frozen=True, slots=True)
class Plan:
    """`displaced`: ids of the deployments that make way. `checked`: apps whose new configuration has health checks."""

    before: Declared
    after: Declared
    entry: HistoryEntry
    deployment: Deployment
    displaced: tuple[str, ...]
    checked: tuple[App, ...]


class Planner:
    """`steps_of`: by spec id and number, what each step of a deployment does."""

    def __init__(self, core: Core, steps_of: StepsOf) -> None:
        self._core, self._steps_of = core, steps_of

    def plan(self, command: Declare) -> Plan:
        """Raises Locked, TooManyDeployments, and what the edit raises."""
        declared = self._core.ledger.declared
        change = command.edit(declared)
        version = self._next_version()
        return self._worked_out(self._stamp(declared, change, version), version, command)

    def plan_back(self, deployment: Deployment) -> Plan:
        """What reverts what a deployment changed, unless something newer has changed it since.

        A configuration comes back with its own lastConfigChangeAt: instances of it that still run are not restarted.
        """
        ledger = self._core.ledger
        version = self._next_version()
        apps: dict[str, App | None] = {}
        pods: dict[str, Pod | None] = {}
        for spec_id, change in deployment.changes.items():
            current = ledger.declared_spec(spec_id)
            if (current and current.version) != (change.after and change.after.version):
                continue
            is_pod = isinstance(change.before or change.after, Pod)
            reverted = change.before and _restored(change.before, version)
            if is_pod:
                pods[spec_id] = reverted  # type: ignore[assignment]
            else:
                apps[spec_id] = reverted  # type: ignore[assignment]
        back = Change(apps, pods, self._groups_back(deployment, {*apps, *pods}, version))
        command = Declare(lambda _declared: back, force=True, group=deployment.group_id)
        return self._worked_out(back, version, command, reverts=deployment.id)

    def _next_version(self) -> str:
        """The time, but always later than any version before: versions name what was declared."""
        version = to_text(self._core.now)
        last = self._core.ledger.last_version
        return version if version > last else to_text(to_epoch(last) + 0.001)

    def _worked_out(self, change: Change, version: str, command: Declare, reverts: str | None = None) -> Plan:
        core, ledger = self._core, self._core.ledger
        before = ledger.declared
        after = change.applied_to(before)
        changes = _spec_changes(before, after, {*change.apps, *change.pods})
        displaced = tuple(dict.fromkeys(holder for spec_id in changes for holder in ledger.locks(spec_id)))
        if displaced and not command.force:
            raise Locked([spec_id for spec_id in changes if ledger.locks(spec_id)], list(displaced))
        if len(ledger.deployments) - len(displaced) >= core.settings.max_running_deployments and changes:
            raise TooManyDeployments(core.settings.max_running_deployments)
        checked = tuple(_newly_checked(before, changes))
        inherited = {} if reverts else self._inherited(changes)
        changes |= {spec_id: legacy.change for spec_id, legacy in inherited.items()}
        deployment = Deployment(
            id=next(core.ids),
            version=version,
            steps=plan_deployment(changes, after, is_outdated=lambda spec_id: self._is_outdated(changes[spec_id])),
            changes=FrozenMap(changes),
            group_id=command.group,
            started_at=core.now,
            step_since=core.now,
            deadline=None if command.deadline is None else core.now + command.deadline,
            on_failure=command.on_failure,
            reverts=reverts,
            progress=FrozenMap({spec_id: legacy.progress for spec_id, legacy in inherited.items() if legacy.progress}),
            rollouts=FrozenMap(
                {}
                if reverts
                else rollouts_of(changes, command.rollout)
                | {spec_id: legacy.rollout for spec_id, legacy in inherited.items() if legacy.rollout}
            ),
        )
        return Plan(before, after, _entry(before, after, change, version), deployment, displaced, checked)

    # --- versions

    def _stamp(self, declared: Declared, change: Change, version: str) -> Change:
        """The change with versions, reduced to what differs."""
        apps = _stamped(change.apps, declared.apps, version, change.restart)
        pods = _stamped(change.pods, declared.pods, version, change.restart)
        return Change(apps, pods, self._stamp_groups(declared, change, {*apps, *pods}, version))

    def _stamp_groups(
        self, declared: Declared, change: Change, spec_ids: set[str], version: str
    ) -> dict[str, Group | None]:
        groups: dict[str, Group | None] = {}
        for group_id, group in change.groups.items():
            before = declared.groups.get(group_id)
            if group is None or before is None or replace(group, version=before.version) != before:
                groups[group_id] = group
        for path in [*spec_ids, *groups]:
            for group_id in path_id.ancestors(path):
                if group_id not in groups:
                    groups[group_id] = declared.groups.get(group_id) or Group(group_id)
        for group_id, group in groups.items():
            groups[group_id] = group and replace(group, version=version)
        return groups

    def _groups_back(self, deployment: Deployment, spec_ids: set[str], version: str) -> dict[str, Group | None]:
        """Groups as they were; those that the deployment made go, if nothing else is in them."""
        ledger = self._core.ledger
        entry = ledger.history.get(deployment.version)
        groups: dict[str, Group | None] = {}
        if entry is not None:
            stays = [i for i in (*ledger.declared.apps, *ledger.declared.pods) if i not in spec_ids]
            for group_id, (before, _) in entry.groups.items():
                if before is not None:
                    groups[group_id] = replace(before, version=version)
                elif group_id in ledger.declared.groups and not any(path_id.is_below(i, group_id) for i in stays):
                    groups[group_id] = None
        return groups

    # --- what runs already

    def _inherited(self, changes: Mapping[str, SpecChange]) -> dict[str, Legacy]:
        """What is taken over of the deployments that these changes cut short: their way back, and how far a roll-out is."""
        ledger, found = self._core.ledger, {}
        for spec_id, change in changes.items():
            for holder in ledger.locks(spec_id):
                deployment = ledger.deployments[holder]
                steps = self._steps_of(deployment).get(spec_id, {})
                under_way = any(
                    action.kind == "restart" and step >= deployment.current_step for step, action in steps.items()
                )
                legacy = legacy_of(deployment, spec_id, change) if under_way else None
                if legacy is not None:
                    found[spec_id] = legacy
        return found

    def _is_outdated(self, change: SpecChange) -> bool:
        """Whether instances of a configuration run that is neither the one before nor the one after."""
        if change.after is None:
            return False
        census = self._core.ledger.census(change.after.id, change.after.last_config_change_at)
        return census.old.present > 0


def _stamped(
    given: Mapping[str, Spec | None], declared: Mapping[str, Spec], version: str, restart: Collection[str]
) -> dict[str, Spec | None]:
    found: dict[str, Spec | None] = {}
    for spec_id, spec in given.items():
        before = declared.get(spec_id)
        after = spec and stamped(spec, before, version, restart=spec_id in restart)
        if after is not before:
            found[spec_id] = after
    return found


def _spec_changes(before: Declared, after: Declared, spec_ids: set[str]) -> dict[str, SpecChange]:
    changes = {}
    for spec_id in sorted(spec_ids):
        old = before.apps.get(spec_id) or before.pods.get(spec_id)
        new = after.apps.get(spec_id) or after.pods.get(spec_id)
        if old is not new:
            changes[spec_id] = SpecChange(old, new)
    return changes


def _newly_checked(before: Declared, changes: Mapping[str, SpecChange]) -> list[App]:
    found = []
    for spec_id, change in changes.items():
        known, after = before.apps.get(spec_id), change.after
        same = known and after and known.last_config_change_at == after.last_config_change_at
        if isinstance(after, App) and after.health_checks and not same:
            found.append(after)
    return found


def _entry(before: Declared, after: Declared, change: Change, version: str) -> HistoryEntry:
    def version_of(declared: Declared, spec_id: str) -> str | None:
        spec = declared.apps.get(spec_id) or declared.pods.get(spec_id)
        return spec.version if spec else None

    group_ids = [*change.groups, *(g for g in after.groups if g not in before.groups and g not in change.groups)]
    return HistoryEntry(
        version,
        {i: (version_of(before, i), version_of(after, i)) for i in (*change.apps, *change.pods)},
        {g: (before.groups.get(g), after.groups.get(g)) for g in group_ids},
    )


def _restored(spec: RunSpec, version: str) -> RunSpec:
    info = spec.version_info
    config = info.last_config_change_at if info else spec.version
    return replace(spec, version=version, version_info=VersionInfo(version, config))
