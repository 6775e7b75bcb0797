"""Schedules with all that users may run: canaries and blue/green, persistent volumes, pods, changes with a deadline; on agents that go
into maintenance."""

from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate
from typing import Literal

from framework.decide.rollout import FAILURES_LABEL, HEALTHY_LABEL, SHARE_LABEL, STRATEGY_LABEL
from framework.engine.commands import Declare, KillInstances, Proceed, ResetDelay
from framework.engine.ledger import Ledger
from framework.model.app import App
from framework.model.container import Container
from framework.model.deployment import Deployment
from framework.model.network import Endpoint
from framework.model.pod import Pod, PodContainer
from framework.model.resources import Resources
from framework.model.run_spec import RunSpec
from framework.model.strategy import UnreachableDisabled, UnreachableStrategy, UpgradeStrategy
from framework.model.values import FrozenMap
from framework.model.volume import PersistentInfo, PersistentVolume
from tests.simulation.faults import DOUBTS, MORE_FAULTS
from tests.simulation.invariants import COMMAND, RESIDENT
from tests.simulation.master import MOUNT
from tests.simulation.run import ASKED, Schedule, is_pod

FIRST = 1_000_000  # seeds below mean what they meant before there were such schedules
FIRST_PACED = 10_000_000  # in those below users are always as busy as can be
FIRST_DOUBTED = 10**13  # in those below the store always says what came of a commit
PACES = (
    1.0,
    2.0,
    3.0,
)  # busy ones have changes cut each other short, quieter ones let each run its course while things break
_ASKED = {**ASKED, "go": 4, "wipe": 1, "reset": 1}


class WideSchedule(Schedule):
    app_ids = ("/a", "/b", RESIDENT, "/pod")
    kinds, weights = tuple(_ASKED), tuple(accumulate(_ASKED.values()))
    breaks = MORE_FAULTS

    def _new(self, app_id: str) -> RunSpec:
        if is_pod(app_id):
            return self._pod(app_id)
        app = super()._new(app_id)
        assert isinstance(app, App)
        if app_id == RESIDENT:
            return self._resident(app)
        return replace(app, labels=FrozenMap(self._strategy())) if self.random.random() < 0.6 else app

    def _strategy(self) -> dict[str, str]:
        rnd = self.random
        labels = {STRATEGY_LABEL: rnd.choice(["canary", "canary", "blue-green"])}
        labels[SHARE_LABEL] = rnd.choice(["10%", "30%,60%"])
        if rnd.random() < 0.5:
            labels[HEALTHY_LABEL] = rnd.choice(["0", "20"])
        labels[FAILURES_LABEL] = rnd.choice(["0", "2"])
        return labels

    def _resident(self, app: App) -> App:
        volume = PersistentVolume(MOUNT, PersistentInfo(10))
        return replace(
            app,
            role="db",
            container=Container("MESOS", volumes=(volume,)),
            constraints=(),
            upgrade_strategy=UpgradeStrategy(self.random.choice([0, 0.5, 1.0]), 0),
            unreachable_strategy=UnreachableDisabled(),
        )

    def _pod(self, pod_id: str) -> Pod:
        rnd = self.random
        small = Resources(0.1, 32)
        return Pod(
            pod_id,
            containers=(
                PodContainer("one", small, endpoints=(Endpoint("web", host_port=0),)),
                PodContainer("two", small),
            ),
            labels=FrozenMap({COMMAND: f"run {self.tickets}", **(self._strategy() if rnd.random() < 0.3 else {})}),
            instances=rnd.randint(0, 4),
            max_launch_delay_seconds=20,
            upgrade_strategy=UpgradeStrategy(rnd.choice([0, 0.5, 1.0]), rnd.choice([0, 0.3, 1.0])),
            unreachable_strategy=rnd.choice([UnreachableStrategy(), UnreachableStrategy(30, 120)]),
        )

    def _create(self, app_id: str) -> Declare | None:
        return self._in_time(super()._create(app_id))

    def _edit(self, app_id: str, kind: str, **fields: object) -> Declare | None:
        return self._in_time(super()._edit(app_id, kind, **fields))

    def _in_time(self, command: Declare | None) -> Declare | None:
        """Sometimes with a deadline."""
        if command is None or self.random.random() < 0.8:
            return command
        seconds = self.random.choice([5.0, 30.0, 120.0])
        on_failure: Literal["stop", "rollback"] = "rollback" if self.random.random() < 0.7 else "stop"
        self.world.note(f"user: … within {seconds:.0f} s, else {on_failure}")
        return replace(command, deadline=seconds, on_failure=on_failure)

    def _reset(self, app_id: str) -> ResetDelay:
        return ResetDelay(app_id)

    def _go(self, app_id: str) -> Proceed | None:
        waiting = [i for i in self.ledger.locks(app_id) if self.ledger.deployments[i].rollouts]
        return self._proceed(self.ledger.deployments[waiting[0]], force=self.random.random() < 0.2) if waiting else None

    def _proceed(self, deployment: Deployment, *, force: bool) -> Proceed:
        for app_id in deployment.rollouts:
            after = deployment.changes[app_id].after
            assert after is not None, "what goes has no new version to be tried"
            self.invariants.goes.add((app_id, after.last_config_change_at))
        self.world.note(f"user: go on with {deployment.id} force={force}")
        return Proceed(deployment.id, force=force)

    def _wipe(self, app_id: str) -> KillInstances:
        victims = self._victims(app_id)
        self.invariants.user_kills.update(victims)
        self.world.note(f"user: kill and wipe {victims}")
        return KillInstances(victims, wipe=True)

    def tidy(self) -> None:
        """Gives every go; says which agents are gone for good, and gives up what was kept there, or where there is no way back."""
        super().tidy()
        master, leader = self.cluster.master, self.cluster.leader
        for agent in master.agents.values():
            if not agent.up:
                master.declare_gone(agent)
        if leader is None or leader.engine is None:
            return
        ledger = leader.engine.state.ledger
        for deployment in ledger.deployments.values():
            if deployment.rollouts:
                self.tickets += 1
                leader.command(self.tickets, self._proceed(deployment, force=True))
        lost = [i.id for i in ledger.instances.values() if i.parked and not master.agents[i.agent.id].up]
        if lost or (lost := self._shut_out(ledger)):
            self.tickets += 1
            self.world.note(f"user: wipe {lost}")
            leader.command(self.tickets, KillInstances(tuple(lost), wipe=True))

    def _shut_out(self, ledger: Ledger) -> list[str]:
        """Instances that are waited for in vain, as others have long had all the ports where their volumes are: no more than must be."""
        master, spec = self.cluster.master, ledger.declared_spec(RESIDENT)
        if spec is None or not self.out_of_patience:
            return []
        instances = list(ledger.instances_of(RESIDENT))
        parked = [i for i in instances if i.parked]
        full = [i.id for i in parked if master.is_full(master.agents[i.agent.id])]
        missing = min(spec.instances - (len(instances) - len(parked)), len(parked))
        return full[: max(0, missing - (len(parked) - len(full)))]


def schedule_of(seed: int) -> Schedule:
    kind: Callable[[int], Schedule] = WideSchedule if seed >= FIRST and seed % 2 else Schedule
    schedule = kind(seed)
    if seed >= FIRST_PACED:
        schedule.pace = PACES[seed // 2 % len(PACES)]
    if seed >= FIRST_DOUBTED:
        schedule.breaks = (*schedule.breaks, *DOUBTS)
    return schedule
