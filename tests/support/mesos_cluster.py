"""A real Apache Mesos behind the engine's seam, with the handles of `memory_cluster.Cluster`: the same API tests run on either.

Everything is Mesos' own, but for what a test asks for by name: a task's command is a long sleep, or a failure where its app is in
`failing`; of a task of an app in `stuck` nothing is heard before its end; while `offering` is False every offer goes back.
"""

import getpass
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from framework.engine.actions import Launch
from framework.engine.events import OffersReceived, Probed, SecretsResolved, StatusReceived
from framework.engine.loop import Engine
from framework.mesos.scheduler import MesosScheduler
from framework.model.app import App
from framework.model.instance import Instance
from framework.model.offer import Offer, Pool
from framework.model.run_spec import RunSpec

RUNS, FAILS = "exec sleep 1000", "exit 1"
ENDED = frozenset(
    {"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR", "TASK_LOST", "TASK_DROPPED", "TASK_GONE"}
)


class MesosCluster:
    """`master` is host:port. The framework registers without a failover timeout: its tasks end with its subscription."""

    def __init__(self, engine: Engine, master: str) -> None:
        self.engine = engine
        self.failing: set[str] = set()
        self.stuck: set[str] = set()
        self.running: dict[str, str] = {}  # task id -> agent id
        self.secret_problems: dict[str, str] = {}
        self.agents: set[str] = set()
        self.offering = True
        self._silent: set[str] = set()
        info = {"name": "api", "user": getpass.getuser(), "failover_timeout": 0.0}
        self._mesos = MesosScheduler(info, master, self._heard)

    async def close(self) -> None:
        await self._mesos.close()

    # --- what the master says

    def _heard(self, event: Any) -> None:
        match event:
            case OffersReceived(offers):
                self.agents |= {offer.agent.id for offer in offers}
                if not self.offering:
                    self._mesos.decline([offer.id for offer in offers], 0.0)
                    return
            case StatusReceived(status) if status.state in ENDED:
                self.running.pop(status.task_id, None)
            case StatusReceived(status) if status.task_id in self._silent and status.state != "TASK_KILLING":
                if status.uuid and status.agent_id:
                    self._mesos.acknowledge(status.task_id, status.agent_id, status.uuid)
                return
        self.engine.post(event)

    # --- the engine's Mesos

    def subscribe(self, framework_id: str | None, roles: Sequence[str]) -> None:
        self._mesos.subscribe(framework_id, roles)

    def unsubscribe(self) -> None:
        self._mesos.unsubscribe()

    def update_roles(self, roles: Sequence[str]) -> None:
        self._mesos.update_roles(roles)

    def accept(
        self, offer: Offer, launches: Sequence[Launch], refuse_seconds: float, releases: Sequence[Pool] = ()
    ) -> None:
        for launch in launches:
            for task in launch.instance.tasks:
                if launch.spec.id in self.stuck:
                    self._silent.add(task.id)
                if launch.spec.id not in self.failing:
                    self.running[task.id] = offer.agent.id
        harmless = [replace(launch, spec=self._harmless(launch.spec)) for launch in launches]
        self._mesos.accept(offer, harmless, refuse_seconds, releases)

    def _harmless(self, spec: RunSpec) -> RunSpec:
        if isinstance(spec, App):
            return replace(spec, cmd=FAILS if spec.id in self.failing else RUNS, args=())
        return spec

    def decline(self, offer_ids: Sequence[str], refuse_seconds: float) -> None:
        self._mesos.decline(offer_ids, refuse_seconds)

    def answer_inverse_offers(self, accepted: Sequence[str], declined: Sequence[str]) -> None:
        self._mesos.answer_inverse_offers(accepted, declined)

    def revive(self, roles: Sequence[str]) -> None:
        self._mesos.revive(roles)

    def suppress(self, roles: Sequence[str]) -> None:
        self._mesos.suppress(roles)

    def acknowledge(self, task_id: str, agent_id: str, uuid: str) -> None:
        self._mesos.acknowledge(task_id, agent_id, uuid)

    def kill(self, task_id: str, agent_id: str | None, grace_seconds: float | None) -> None:
        self._mesos.kill(task_id, agent_id, grace_seconds)

    def reconcile(self, tasks: Sequence[tuple[str, str | None]]) -> None:
        self._mesos.reconcile(tasks)

    def fetch_secrets(self, sources: Sequence[str]) -> None:
        self.engine.post(SecretsResolved({source: self.secret_problems.get(source) for source in sources}))

    # --- the engine's probes: every health check finds a healthy instance, as in `memory_cluster`

    def start(self, instance: Instance, spec: RunSpec, readiness: bool) -> None:
        for index, _check in enumerate(getattr(spec, "health_checks", ())):
            self.engine.post(Probed(instance.id, index, True))

    def stop(self, instance_id: str) -> None:
        pass
