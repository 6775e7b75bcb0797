"""Entries of the store <-> values. One function pair for each table; the layout of every entry is here and nowhere else."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from framework.model.app import App
from framework.model.codec import from_json, to_json
from framework.model.deployment import Deployment, Progress, Rollout, SpecChange, Step, StepAction
from framework.model.group import Group
from framework.model.instance import Agent, Condition, ContainerEnd, Goal, Instance, IpAddress, Task, TaskFailure
from framework.model.pod import Pod
from framework.model.run_spec import RunSpec
from framework.model.values import FrozenMap

FRAMEWORK = "framework"  # "id" -> the framework id
SPECS = "specs"  # "<spec id>@<version>" -> a spec in this version
DECLARED = "declared"  # spec id -> its declared version
GROUPS = "groups"  # group id -> the group
INSTANCES = "instances"
DEPLOYMENTS = "deployments"
FAILURES = "failures"  # spec id -> its last failure
HISTORY = "history"  # root version -> what changed with it

SpecKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """What one accepted change did: for each spec its versions before and after, for each group what it was and is."""

    version: str
    specs: Mapping[str, tuple[str | None, str | None]]
    groups: Mapping[str, tuple[Group | None, Group | None]]


def spec_key(spec_id: str, version: str) -> str:
    return f"{spec_id}@{version}"


def split_spec_key(key: str) -> SpecKey:
    spec_id, _, version = key.rpartition("@")
    return spec_id, version


def encode(table: str, value: Any) -> bytes:
    return orjson.dumps(_ENCODE[table](value))


def decode_text(data: bytes) -> str:
    return str(orjson.loads(data))


def _spec(spec: RunSpec) -> dict[str, Any]:
    return {"pod" if isinstance(spec, Pod) else "app": to_json(spec)}


def decode_spec(data: bytes) -> RunSpec:
    document = orjson.loads(data)
    return from_json(App, document["app"]) if "app" in document else from_json(Pod, document["pod"])


def decode_group(data: bytes) -> Group:
    return from_json(Group, orjson.loads(data))


def _instance(i: Instance) -> list[Any]:
    agent = i.agent
    return [
        i.id,
        i.spec_id,
        i.spec_version,
        i.config_version,
        i.role,
        [agent.id, agent.host, agent.attributes, agent.region, agent.zone],
        [_task(task) for task in i.tasks],
        i.condition,
        i.goal,
        i.incarnation,
        i.checked,
        i.healthy,
        i.ready,
        i.provisioned_at,
        i.since,
        i.active_since,
        i.unreachable_since,
        i.draining_since,
        i.kill_reason,
        i.wipe,
        *([i.evacuating, True] if i.held else [True] if i.evacuating else []),
    ]


def _task(t: Task) -> list[Any]:
    return [
        t.id,
        t.container,
        t.mesos_state,
        t.reason,
        t.message,
        t.staged_at,
        t.started_at,
        t.healthy,
        t.host_ports,
        [(ip.ip_address, ip.protocol) for ip in t.ip_addresses],
    ]


_CONDITIONS = {condition.value: condition for condition in Condition}
_GOALS = {goal.value: goal for goal in Goal}


def decode_instance(data: bytes) -> Instance:
    row: Any = orjson.loads(data)
    agent_id, host, attributes, region, zone = row[5]
    agent = Agent(agent_id, host, tuple((name, value) for name, value in attributes), region, zone)
    tasks = tuple(Task(*_task_fields(task)) for task in row[6])
    fields: list[Any] = [*row[:5], agent, tasks, _CONDITIONS[row[7]], _GOALS[row[8]], *row[9:]]
    return Instance(*fields)


def _task_fields(row: list[Any]) -> list[Any]:
    *scalars, ports, addresses = row
    return [*scalars, tuple(ports), tuple(IpAddress(address, protocol) for address, protocol in addresses)]


def _deployment(d: Deployment) -> dict[str, Any]:
    return {
        "id": d.id,
        "version": d.version,
        "steps": [[[action.kind, action.spec_id, action.pod] for action in step.actions] for step in d.steps],
        "changes": {
            spec_id: [change.before and change.before.version, change.after and change.after.version]
            for spec_id, change in d.changes.items()
        },
        "group": d.group_id,
        "currentStep": d.current_step,
        "startedAt": d.started_at,
        "stepSince": d.step_since,
        "deadline": d.deadline,
        "onFailure": d.on_failure,
        "reverts": d.reverts,
        "progress": {spec_id: _progress(progress) for spec_id, progress in d.progress.items()},
        "rollouts": {spec_id: _rollout(rollout) for spec_id, rollout in d.rollouts.items()},
    }


def _progress(p: Progress) -> list[Any]:
    return [p.old_at_start, p.kill_at_once, p.extra, p.phase, p.well_since, p.failures]


def _rollout(r: Rollout) -> list[Any]:
    return [r.blue_green, r.shares, r.healthy_seconds, r.max_failures]


def _decode_rollout(row: list[Any]) -> Rollout:
    blue_green, shares, *others = row
    return Rollout(blue_green, tuple(shares), *others)


def specs_of_deployment(data: bytes) -> list[SpecKey]:
    """The versions that a stored deployment refers to."""
    changes = orjson.loads(data)["changes"]
    return [(spec_id, version) for spec_id, versions in changes.items() for version in versions if version]


def decode_deployment(data: bytes, specs: Mapping[SpecKey, RunSpec]) -> Deployment:
    """`specs` holds the versions of `specs_of_deployment`."""
    row = orjson.loads(data)
    changes = {
        spec_id: SpecChange(*(specs[spec_id, version] if version else None for version in versions))
        for spec_id, versions in row["changes"].items()
    }
    return Deployment(
        id=row["id"],
        version=row["version"],
        steps=tuple(Step(tuple(StepAction(*action) for action in step)) for step in row["steps"]),
        changes=FrozenMap(changes),
        group_id=row["group"],
        current_step=row["currentStep"],
        started_at=row["startedAt"],
        step_since=row["stepSince"],
        deadline=row["deadline"],
        on_failure=row["onFailure"],
        reverts=row["reverts"],
        progress=FrozenMap({spec_id: Progress(*values) for spec_id, values in row["progress"].items()}),
        rollouts=FrozenMap({spec_id: _decode_rollout(values) for spec_id, values in row.get("rollouts", {}).items()}),
    )


def _failure(f: TaskFailure) -> list[Any]:
    containers = [list(end) for end in f.containers]
    return [f.app_id, f.task_id, f.state, f.message, f.host, f.agent_id, f.version, f.at, f.started_at, containers]


def decode_failure(data: bytes) -> TaskFailure:
    values = orjson.loads(data)
    started_at, ends = values[8:] or (None, ())  # those of older stores have neither
    return TaskFailure(*[*values[:8], started_at, tuple(ContainerEnd(*end) for end in ends)])


def _history(entry: HistoryEntry) -> dict[str, Any]:
    return {
        "version": entry.version,
        "specs": entry.specs,
        "groups": {
            group_id: [group and to_json(group) for group in groups] for group_id, groups in entry.groups.items()
        },
    }


def decode_history(data: bytes) -> HistoryEntry:
    row = orjson.loads(data)
    return HistoryEntry(
        row["version"],
        {spec_id: (before, after) for spec_id, (before, after) in row["specs"].items()},
        {
            group_id: (before and from_json(Group, before), after and from_json(Group, after))
            for group_id, (before, after) in row["groups"].items()
        },
    )


_ENCODE: Mapping[str, Callable[[Any], Any]] = {
    FRAMEWORK: str,
    SPECS: _spec,
    DECLARED: str,
    GROUPS: to_json,
    INSTANCES: _instance,
    DEPLOYMENTS: _deployment,
    FAILURES: _failure,
    HISTORY: _history,
}
