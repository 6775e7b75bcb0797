"""All durable state in memory, with its indexes: changed through a handful of methods that note what is to be written, and that can be
undone as long as it is not.

    ledger.put_instance(instance)   # in memory at once
    ledger.pending()                # what the loop commits
    ledger.committed() | ledger.undo()
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from framework.decide.advance_deployment import Census, Side
from framework.engine import records
from framework.engine.records import HistoryEntry, SpecKey
from framework.engine.view import Counts
from framework.model.deployment import Deployment
from framework.model.group import Declared, Group
from framework.model.instance import Condition, Goal, Instance, TaskFailure
from framework.model.pod import Pod
from framework.model.run_spec import RunSpec
from framework.model.values import FrozenMap
from framework.store.base import Store, Write

_STAGED = frozenset({Condition.PROVISIONED, Condition.STAGING, Condition.STARTING})


class Tally:
    """Counts over the instances of one spec with one configuration, kept as instances change."""

    __slots__ = ("healthy", "held", "inactive", "leaving", "moving", "ok", "running", "staged", "staying", "unhealthy")

    def __init__(self) -> None:
        self.staying = self.ok = self.leaving = self.inactive = self.moving = self.held = 0
        self.staged = self.running = self.healthy = self.unhealthy = 0

    def count(self, instance: Instance, by: int) -> None:
        condition = instance.condition
        self.held += by * instance.held
        if instance.goal is not Goal.RUNNING:
            if instance.parked:
                self.inactive += by
            else:
                self.leaving += by
        elif condition is Condition.KILLING:
            self.leaving += by
        elif instance.evacuating:
            self.leaving += by
            self.moving += by
        elif condition is Condition.UNREACHABLE_INACTIVE:
            self.inactive += by
        else:
            self.staying += by
            self.ok += by * instance.ok
        if condition is Condition.RUNNING or condition is Condition.KILLING:
            self.running += by
            self.healthy += by * (instance.healthy is True)
            self.unhealthy += by * (instance.healthy is False)
        elif condition in _STAGED:
            self.staged += by

    @property
    def empty(self) -> bool:
        return not (self.staying or self.leaving or self.inactive)


_NOBODY = Side()
_EMPTY = Census(_NOBODY, _NOBODY)
_NO_TALLIES: Mapping[str, Tally] = {}

_Place = tuple[str, str]  # where a value is kept, for undo and for the store: table and key


class Ledger:
    def __init__(self) -> None:
        self.framework_id: str | None = None
        self.declared = Declared().with_enclosing_groups()
        self.instances: dict[str, Instance] = {}
        self.deployments: dict[str, Deployment] = {}
        self.failures: dict[str, TaskFailure] = {}
        self.history: dict[str, HistoryEntry] = {}
        self.versions: dict[str, list[str]] = {}  # spec id -> kept versions, oldest first
        self.last_version = ""
        # Specs in the versions that are declared, run, or are being deployed.
        self._specs: dict[SpecKey, RunSpec] = {}
        # Indexes.
        self._by_spec: dict[str, dict[str, Instance]] = {}
        self._by_task: dict[str, str] = {}
        self._tallies: dict[str, dict[str, Tally]] = {}
        self._uses: Counter[SpecKey] = Counter()
        self._on_agent: dict[str, Counter[str]] = {}
        self._locks: dict[str, list[str]] = {}
        # The batch: values before it, and after it.
        self._before: dict[_Place, Any] = {}
        self._declared_before: tuple[Declared, str] | None = None
        self._versions_before: dict[str, tuple[str, ...]] = {}
        self._perhaps_unused: set[SpecKey] = set()
        self._writes: dict[_Place, Any] = {}

    # --- reading

    @property
    def durable(self) -> Declared:
        """What is declared by the last commit. Nobody is to be told of what the present batch makes of it: it may yet be undone."""
        return self.declared if self._declared_before is None else self._declared_before[0]

    @property
    def durable_deployments(self) -> Iterable[Deployment]:
        """Those that run for what is `durable`: one that the present batch begins or ends is known together with what that declares."""
        if self._declared_before is None:
            return self.deployments.values()
        found = dict(self.deployments)
        for (table, key), before in self._before.items():
            if table == records.DEPLOYMENTS:
                _set(found, key, before)
        return found.values()

    def instances_of(self, spec_id: str) -> Iterable[Instance]:
        return self._by_spec.get(spec_id, {}).values()

    def instance_of_task(self, task_id: str) -> Instance | None:
        instance_id = self._by_task.get(task_id)
        return self.instances[instance_id] if instance_id else None

    def specs_with_instances(self) -> Iterable[str]:
        return self._by_spec

    def declared_spec(self, spec_id: str) -> RunSpec | None:
        return self.declared.apps.get(spec_id) or self.declared.pods.get(spec_id)

    def spec(self, spec_id: str, version: str) -> RunSpec | None:
        """In a version that is declared, runs, or is being deployed."""
        declared = self.declared_spec(spec_id)
        return declared if declared and declared.version == version else self._specs.get((spec_id, version))

    def spec_of(self, instance: Instance) -> RunSpec | None:
        return self.spec(instance.spec_id, instance.spec_version) or self.declared_spec(instance.spec_id)

    def census(self, spec_id: str, config_version: str) -> Census:
        """`config_version` tells new instances from old ones."""
        tallies = self._tallies.get(spec_id)
        if tallies is None:
            return _EMPTY
        new, staying, ok, leaving = _NOBODY, 0, 0, 0
        for version, tally in tallies.items():
            if version == config_version:
                new = Side(tally.staying, tally.ok, tally.leaving)
            else:
                staying, ok, leaving = staying + tally.staying, ok + tally.ok, leaving + tally.leaving
        return Census(new, Side(staying, ok, leaving) if staying or leaving else _NOBODY)

    def counts(self, spec_id: str) -> Counts:
        tallies = self._tallies.get(spec_id)
        if not tallies:
            return Counts()
        found = tallies.values()
        return Counts(
            staged=sum(t.staged for t in found),
            running=sum(t.running for t in found),
            healthy=sum(t.healthy for t in found),
            unhealthy=sum(t.unhealthy for t in found),
        )

    @property
    def staged(self) -> int:
        """Instances that are launched and do not run yet, of all specs."""
        return sum(tally.staged for tallies in self._tallies.values() for tally in tallies.values())

    def moving(self, spec_id: str) -> int:
        """How many instances are to leave their agent; they are among those on their way out."""
        moving = 0
        for tally in self._tallies.get(spec_id, _NO_TALLIES).values():
            moving += tally.moving
        return moving

    def held(self, spec_id: str) -> list[Instance]:
        """Those that get no traffic before a go."""
        for tally in self._tallies.get(spec_id, _NO_TALLIES).values():
            if tally.held:
                return [instance for instance in self.instances_of(spec_id) if instance.held]
        return []

    def on_agents(self, spec_id: str) -> Mapping[str, int]:
        """Agent id -> how many instances of the spec are there."""
        return self._on_agent.get(spec_id, {})

    def locks(self, spec_id: str) -> Sequence[str]:
        """Ids of running deployments that change a spec."""
        return self._locks.get(spec_id, ())

    # --- changing

    def set_framework_id(self, framework_id: str) -> None:
        self._note((records.FRAMEWORK, "id"), self.framework_id, framework_id)
        self.framework_id = framework_id

    def forget_framework(self) -> None:
        """The framework is gone from Mesos, and all of its tasks with it."""
        self._note((records.FRAMEWORK, "id"), self.framework_id, None)
        self.framework_id = None
        for instance in list(self.instances.values()):
            self.remove_instance(instance)

    def put_instance(self, instance: Instance) -> None:
        before = self.instances.get(instance.id)
        self._note((records.INSTANCES, instance.id), before, instance)
        self._index_instance(before, instance)

    def remove_instance(self, instance: Instance) -> None:
        before = self.instances[instance.id]
        self._note((records.INSTANCES, instance.id), before, None)
        self._index_instance(before, None)

    def put_deployment(self, deployment: Deployment) -> None:
        before = self.deployments.get(deployment.id)
        self._note((records.DEPLOYMENTS, deployment.id), before, deployment)
        self._index_deployment(before, deployment)

    def remove_deployment(self, deployment: Deployment) -> None:
        before = self.deployments[deployment.id]
        self._note((records.DEPLOYMENTS, deployment.id), before, None)
        self._index_deployment(before, None)

    def put_failure(self, failure: TaskFailure) -> None:
        self._note((records.FAILURES, failure.app_id), self.failures.get(failure.app_id), failure)
        self.failures[failure.app_id] = failure

    def declare(self, after: Declared, entry: HistoryEntry, *, versions_kept: int, history_kept: int) -> None:
        """Makes `after` what is declared. `entry` names what differs."""
        if self._declared_before is None:
            self._declared_before = (self.declared, self.last_version)
        # In few passes over all of them: one change may be of thousands.
        self._writes.update({(records.DECLARED, spec_id): new for spec_id, (_, new) in entry.specs.items()})
        fresh = [i for i, (old, new) in entry.specs.items() if new is not None and new != old]
        self._keep_versions([after.apps.get(i) or after.pods[i] for i in fresh], versions_kept)
        for spec_id in [i for i in self.failures if i in entry.specs and entry.specs[i][1] is None]:
            self._note((records.FAILURES, spec_id), self.failures.pop(spec_id), None)
        for group_id, (_, group) in entry.groups.items():
            self._write((records.GROUPS, group_id), group)
        self.declared = after
        self.last_version = max(self.last_version, entry.version)
        self._note((records.HISTORY, entry.version), None, entry)
        self.history[entry.version] = entry
        while len(self.history) > history_kept:
            self._drop_history(next(iter(self.history)))
        self._perhaps_unused.update((i, old) for i, (old, new) in entry.specs.items() if old is not None and old != new)

    def _keep_versions(self, specs: Sequence[RunSpec], kept: int) -> None:
        rows = {(records.SPECS, records.spec_key(spec.id, spec.version)): spec for spec in specs}
        self._before = {**dict.fromkeys(rows), **self._before}
        self._writes.update(rows)
        self._specs.update({(spec.id, spec.version): spec for spec in specs})
        for spec in specs:
            versions = self._changed_versions(spec.id)
            versions.append(spec.version)
            if len(versions) > kept:
                surplus = versions[: len(versions) - kept]
                self._drop_versions(spec.id, [v for v in surplus if (spec.id, v) not in self._specs])

    def _drop_versions(self, spec_id: str, versions: Sequence[str]) -> None:
        kept = self._changed_versions(spec_id)
        for version in versions:
            kept.remove(version)
            self._write((records.SPECS, records.spec_key(spec_id, version)), None)
        if not kept:
            del self.versions[spec_id]

    def _changed_versions(self, spec_id: str) -> list[str]:
        versions = self.versions.setdefault(spec_id, [])
        self._versions_before.setdefault(spec_id, tuple(versions))
        return versions

    def _drop_history(self, version: str) -> None:
        """With it go the versions of specs that it removed: until then a group can still be rolled back to them."""
        entry = self.history.pop(version)
        self._note((records.HISTORY, version), entry, None)
        for spec_id, (_, after) in entry.specs.items():
            if after is None and self.declared_spec(spec_id) is None and spec_id in self.versions:
                self._drop_versions(spec_id, [v for v in self.versions[spec_id] if (spec_id, v) not in self._specs])

    # --- the batch

    @property
    def changed(self) -> bool:
        """Whether there is anything to be committed."""
        return bool(self._writes)

    def pending(self) -> Iterator[Write]:
        """What is to be committed, encoded one by one: a large batch takes its time."""
        for (table, key), value in self._writes.items():
            yield Write(table, key, None if value is None else records.encode(table, value))

    def committed(self) -> None:
        if not self._writes:
            return  # as after most batches
        self._before.clear()
        self._writes.clear()
        self._versions_before.clear()
        self._declared_before = None
        # Only now: until then an undo may need them again.
        for key in self._perhaps_unused:
            if not self._uses[key]:
                del self._uses[key]
                self._specs.pop(key, None)
        self._perhaps_unused.clear()

    def undo(self) -> None:
        """Everything since the last `committed` has not been."""
        if self._declared_before is not None:
            self.declared, self.last_version = self._declared_before
        for place, value in self._before.items():
            self._restore(place, value)
        for spec_id, versions in self._versions_before.items():
            _set(self.versions, spec_id, list(versions) or None)
        self.committed()

    def _restore(self, place: _Place, value: Any) -> None:
        table, key = place
        match table:
            case records.FRAMEWORK:
                self.framework_id = value
            case records.INSTANCES:
                self._index_instance(self.instances.get(key), value)
            case records.DEPLOYMENTS:
                self._index_deployment(self.deployments.get(key), value)
            case records.FAILURES:
                _set(self.failures, key, value)
            case records.HISTORY:
                _set(self.history, key, value)
                self.history = dict(sorted(self.history.items()))
            case records.SPECS:
                self._perhaps_unused.add(records.split_spec_key(key))

    def _note(self, place: _Place, before: Any, after: Any) -> None:
        self._before.setdefault(place, before)
        self._write(place, after)

    def _write(self, place: _Place, value: Any) -> None:
        self._writes[place] = value

    # --- indexes

    def _index_instance(self, before: Instance | None, after: Instance | None) -> None:
        if before is not None:
            self._tally(before).count(before, -1)
        if after is not None:
            self._tally(after).count(after, 1)
        if before is None and after is not None:
            self.instances[after.id] = after
            self._by_spec.setdefault(after.spec_id, {})[after.id] = after
            self._on_agent.setdefault(after.spec_id, Counter())[after.agent.id] += 1
        elif after is not None:
            self.instances[after.id] = after
            self._by_spec[after.spec_id][after.id] = after
        if after is not None and (before is None or before.spec_version != after.spec_version):
            self._uses[after.spec_id, after.spec_version] += 1
        if before is not None and (after is None or before.spec_version != after.spec_version):
            self._release((before.spec_id, before.spec_version))
        if before is not None and (after is None or before.tasks is not after.tasks):
            for task in before.tasks:
                self._by_task.pop(task.id, None)
        if after is not None and (before is None or before.tasks is not after.tasks):
            for task in after.tasks:
                self._by_task[task.id] = after.id
        if before is not None and after is None:
            self._remove_from_indexes(before)
        if before is not None and after is not None and before.config_version != after.config_version:
            self._drop_tally_if_empty(before)

    def _drop_tally_if_empty(self, instance: Instance) -> None:
        tallies = self._tallies[instance.spec_id]
        if tallies[instance.config_version].empty:
            del tallies[instance.config_version]

    def _remove_from_indexes(self, instance: Instance) -> None:
        spec_id = instance.spec_id
        del self.instances[instance.id]
        del self._by_spec[spec_id][instance.id]
        on_agent = self._on_agent[spec_id]
        on_agent[instance.agent.id] -= 1
        if not on_agent[instance.agent.id]:
            del on_agent[instance.agent.id]
        self._drop_tally_if_empty(instance)
        if not self._by_spec[spec_id]:
            del self._by_spec[spec_id], self._on_agent[spec_id], self._tallies[spec_id]

    def _tally(self, instance: Instance) -> Tally:
        tallies = self._tallies.setdefault(instance.spec_id, {})
        tally = tallies.get(instance.config_version)
        if tally is None:
            tally = tallies[instance.config_version] = Tally()
        return tally

    def _release(self, key: SpecKey) -> None:
        self._uses[key] -= 1
        if not self._uses[key]:
            self._perhaps_unused.add(key)

    def _index_deployment(self, before: Deployment | None, after: Deployment | None) -> None:
        if before is not None and after is None:
            del self.deployments[before.id]
            for spec_id, change in before.changes.items():
                locks = self._locks[spec_id]
                locks.remove(before.id)
                if not locks:
                    del self._locks[spec_id]
                for spec in (change.before, change.after):
                    if spec is not None:
                        self._release((spec_id, spec.version))
        if after is not None:
            self.deployments[after.id] = after
            if before is None:
                for spec_id in after.changes:
                    self._locks.setdefault(spec_id, []).append(after.id)
                known = [spec for change in after.changes.values() for spec in (change.before, change.after) if spec]
                self._specs.update({(spec.id, spec.version): spec for spec in known})
                self._uses.update([(spec.id, spec.version) for spec in known])


def _set(table: dict[str, Any], key: str, value: Any) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value


async def load_ledger(store: Store) -> Ledger:
    """Everything durable, as the last commit left it."""
    ledger = Ledger()
    framework_id = await store.get(records.FRAMEWORK, "id")
    ledger.framework_id = records.decode_text(framework_id) if framework_id else None
    for key in await store.keys(records.SPECS):
        spec_id, version = records.split_spec_key(key)
        ledger.versions.setdefault(spec_id, []).append(version)
    declared = {key: records.decode_text(data) for key, data in (await store.load(records.DECLARED)).items()}
    instances = [records.decode_instance(data) for data in (await store.load(records.INSTANCES)).values()]
    deployments = list((await store.load(records.DEPLOYMENTS)).values())
    needed = {*declared.items(), *((i.spec_id, i.spec_version) for i in instances)}
    needed.update(key for data in deployments for key in records.specs_of_deployment(data))
    rows = await store.get_many(records.SPECS, [records.spec_key(*key) for key in needed])
    ledger._specs = {records.split_spec_key(key): records.decode_spec(data) for key, data in rows.items()}
    groups = {key: records.decode_group(data) for key, data in (await store.load(records.GROUPS)).items()}
    ledger.declared = _declared(ledger._specs, declared, groups)
    for instance in sorted(instances, key=lambda i: (i.provisioned_at, i.id)):
        ledger._index_instance(None, instance)
    for data in deployments:
        ledger._index_deployment(None, records.decode_deployment(data, ledger._specs))
    failures = (records.decode_failure(data) for data in (await store.load(records.FAILURES)).values())
    ledger.failures = {failure.app_id: failure for failure in failures}
    history = (records.decode_history(data) for data in (await store.load(records.HISTORY)).values())
    ledger.history = {entry.version: entry for entry in sorted(history, key=lambda entry: entry.version)}
    ledger.last_version = max([*declared.values(), *ledger.history, *(g.version for g in groups.values())], default="")
    return ledger


def _declared(specs: Mapping[SpecKey, RunSpec], declared: Mapping[str, str], groups: Mapping[str, Group]) -> Declared:
    current = [specs[key] for key in declared.items()]
    return Declared(
        FrozenMap({spec.id: spec for spec in current if not isinstance(spec, Pod)}),
        FrozenMap({spec.id: spec for spec in current if isinstance(spec, Pod)}),
        FrozenMap(dict(groups)),
    ).with_enclosing_groups()
