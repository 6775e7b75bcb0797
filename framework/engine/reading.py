"""The View on the state in memory; old versions come from the store."""

from collections.abc import Iterable

from framework.engine import records
from framework.engine.state import State
from framework.engine.view import Activity, Counts, FrameworkInfo, QueueItem, Readiness, UnusedOffer
from framework.model import path_id
from framework.model.app import App
from framework.model.deployment import Deployment
from framework.model.group import Declared, Group
from framework.model.instance import HealthResult, Instance, TaskFailure
from framework.model.pod import Pod
from framework.model.run_spec import RunSpec
from framework.model.values import FrozenMap
from framework.store.base import Store


class StateView:
    def __init__(self, state: State, store: Store, *, framework_name: str) -> None:
        self._state, self._store, self._name = state, store, framework_name

    def show(self, state: State) -> None:
        """From now on the view is on this state."""
        self._state = state

    @property
    def declared(self) -> Declared:
        return self._state.ledger.durable

    def instance(self, instance_id: str) -> Instance | None:
        return self._state.ledger.instances.get(instance_id)

    def instance_of_task(self, task_id: str) -> Instance | None:
        return self._state.ledger.instance_of_task(task_id)

    def instances(self, spec_id: str) -> Iterable[Instance]:
        return tuple(i for i in self._state.ledger.instances_of(spec_id) if not i.parked)

    def parked(self, spec_id: str) -> Iterable[Instance]:
        return tuple(i for i in self._state.ledger.instances_of(spec_id) if i.parked)

    def all_instances(self) -> Iterable[Instance]:
        return tuple(i for i in self._state.ledger.instances.values() if not i.parked)

    def counts(self, spec_id: str) -> Counts:
        return self._state.ledger.counts(spec_id)

    def health(self, instance_id: str) -> tuple[HealthResult, ...]:
        return self._state.prober.results(instance_id)

    def readiness(self, spec_id: str) -> tuple[Readiness, ...]:
        return self._state.prober.readiness(spec_id)

    def last_failure(self, spec_id: str) -> TaskFailure | None:
        return self._state.ledger.failures.get(spec_id)

    def spec_of(self, instance: Instance) -> RunSpec | None:
        return self._state.ledger.spec_of(instance)

    def deployments(self) -> tuple[Deployment, ...]:
        return tuple(sorted(self._state.ledger.durable_deployments, key=lambda d: (d.started_at, d.version)))

    def deployments_of(self, spec_id: str) -> tuple[str, ...]:
        return tuple(self._state.ledger.locks(spec_id))

    def waiting(self) -> tuple[str, ...]:
        return tuple(spec.id for spec in self._state.launcher.specs())

    def queue(self, spec_id: str | None = None) -> tuple[QueueItem, ...]:
        return self._state.launcher.queue(spec_id)

    def unused_offers(self, spec_id: str) -> tuple[UnusedOffer, ...]:
        return self._state.launcher.unused_offers(spec_id)

    def versions(self, spec_id: str) -> tuple[str, ...]:
        ledger = self._state.ledger
        if spec_id in ledger.declared.groups:
            return tuple(sorted(self._group_versions(spec_id), reverse=True))
        if ledger.declared_spec(spec_id) is None:
            return ()
        return tuple(reversed(ledger.versions.get(spec_id, ())))

    def _group_versions(self, group_id: str) -> set[str]:
        """The moments at which something in the group changed, as far back as the history goes."""
        ledger = self._state.ledger
        found = {
            entry.version
            for entry in ledger.history.values()
            if any(path_id.is_below(i, group_id) for i in entry.specs)
            or any(i == group_id or path_id.is_below(i, group_id) for i in entry.groups)
        }
        return found | {ledger.declared.groups[group_id].version} - {""}

    async def spec_at(self, spec_id: str, version: str) -> RunSpec | None:
        known = self._state.ledger.spec(spec_id, version)
        if known is not None:
            return known
        data = await self._store.get(records.SPECS, records.spec_key(spec_id, version))
        return records.decode_spec(data) if data else None

    async def group_at(self, group_id: str, version: str) -> Declared | None:
        ledger = self._state.ledger
        if group_id not in ledger.declared.groups or version not in self._group_versions(group_id):
            return None
        part = ledger.declared.below(group_id)
        specs: dict[str, str | None] = {i: app.version for i, app in part.apps.items()}
        specs.update({i: pod.version for i, pod in part.pods.items()})
        groups: dict[str, Group | None] = dict(part.groups)
        # Back in time: what each later change did is taken back.
        for entry in reversed([entry for entry in ledger.history.values() if entry.version > version]):
            specs.update({i: before for i, (before, _) in entry.specs.items() if path_id.is_below(i, group_id)})
            for i, (before_group, _) in entry.groups.items():
                if i == group_id or path_id.is_below(i, group_id):
                    groups[i] = before_group
        apps: dict[str, App] = {}
        pods: dict[str, Pod] = {}
        for spec_id, spec_version in specs.items():
            if spec_version is None:
                continue
            spec = await self.spec_at(spec_id, spec_version)
            if spec is None:
                return None
            if isinstance(spec, Pod):
                pods[spec_id] = spec
            else:
                apps[spec_id] = spec
        kept = {i: group for i, group in groups.items() if group is not None}
        return Declared(FrozenMap(apps), FrozenMap(pods), FrozenMap(kept))

    @property
    def framework(self) -> FrameworkInfo:
        state = self._state
        return FrameworkInfo(
            name=self._name,
            id=state.ledger.framework_id,
            master=state.master,
            master_info=state.master_info,
            connected=state.core.connected,
        )

    @property
    def activity(self) -> Activity:
        state, launcher = self._state, self._state.launcher
        return Activity(
            leading_since=state.leading_since,
            deployments=state.deployer.begun,
            deployments_dismissed=state.dismissed,
            tasks_launched=launcher.launched,
            groups_launched=launcher.groups_launched,
            reserved=launcher.reserved,
            offers_received=launcher.offers_received,
            offers_used=launcher.offers_used,
            offers_declined=launcher.offers_declined,
            revives=launcher.revives,
            suppresses=launcher.suppresses,
            kills_in_flight=state.killer.in_flight,
            kill_attempts=state.killer.attempts,
        )

    @property
    def leader(self) -> str | None:
        return self._state.leader

    @property
    def is_leader(self) -> bool:
        return self._state.core.leading
