"""Canary and blue/green: a version that has a share of the instances and waits, for a go or until it has been well for long enough."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from framework.decide.advance_deployment import Census
from framework.decide.rollout import Pause, pause, reached, rollout_of
from framework.engine.commands import Accepted, Proceed
from framework.engine.core import Core
from framework.engine.errors import NotFound, NotWaiting
from framework.model.deployment import Deployment, Progress, Rollout, SpecChange, StepAction
from framework.model.instance import Instance
from framework.model.run_spec import RunSpec
from framework.model.values import FrozenMap, replace

WELL = "well"
GIVE_UP = "give up"


@dataclass(frozen=True, slots=True)
class Target:
    """What is wanted of one spec now. `action` and `deployment` where a step is at it."""

    mode: Literal["hold", "restart", "stop"]
    spec: RunSpec | None
    count: int
    deployment: Deployment | None = None
    action: StepAction | None = None

    @property
    def progress(self) -> Progress | None:
        if self.deployment is None or self.action is None:
            return None
        return self.deployment.progress.get(self.action.spec_id)

    @property
    def rollout(self) -> Rollout | None:
        if self.deployment is None or self.action is None or self.mode != "restart":
            return None
        return self.deployment.rollouts.get(self.action.spec_id)

    @property
    def pause(self) -> Pause | None:
        """Where a rollout is to wait now."""
        if self.rollout is None or self.progress is None or self.spec is None:
            return None
        return pause(self.count, self.spec.upgrade_strategy, self.rollout, self.progress)

    @property
    def held_config(self) -> str | None:
        """The configuration whose instances get no traffic yet."""
        if self.pause is None or self.rollout is None or not self.rollout.blue_green or self.spec is None:
            return None
        return self.spec.last_config_change_at


class Rollouts:
    def __init__(self, core: Core) -> None:
        self._core = core

    def holds(self, spec: RunSpec) -> bool:
        """Whether an instance that is launched now is to get no traffic until the go."""
        return self._core.deployer.target(spec.id).held_config == spec.last_config_change_at

    def end_stranded(self, target: Target, spec_id: str) -> None:
        """Held instances that no go can release any more: of a version that was given up, or whose deployment was stopped. They serve
        nobody, so nothing is to be drained, and nobody misses them."""
        for instance in self._core.ledger.held(spec_id):
            if not instance.leaving and instance.config_version != target.held_config:
                self._core.killer.kill(instance, "its version was given up before its go", drain=False)

    def look(self, target: Target, census: Census) -> None:
        """The share that is tried: is it there, is it well, for how long, or has it shown that it is not?"""
        if target.deployment is None:
            return
        core, here = self._core, target.pause
        deployment, rollout, progress, spec = target.deployment, target.rollout, target.progress, target.spec
        if here is None or deployment is None or rollout is None or progress is None or spec is None:
            return
        if progress.failures > rollout.max_failures:
            core.timers.set(GIVE_UP, deployment.id, core.now)  # as an event of its own: this look goes on first
            return
        timer = _timer(deployment, spec.id)
        if not reached(here, census):
            core.timers.cancel(WELL, timer)
            if progress.well_since is not None:
                self._put(deployment, spec.id, replace(progress, well_since=None))
            return
        if progress.well_since is None:
            progress = replace(progress, well_since=core.now)
            self._put(deployment, spec.id, progress)
            self._announce("rollout_waiting_event", deployment, spec.id, progress)
        if rollout.healthy_seconds is not None and (WELL, timer) not in core.timers:
            core.timers.set(WELL, timer, (progress.well_since or core.now) + rollout.healthy_seconds)

    def instance_failed(self, instance: Instance) -> None:
        """An instance ended by itself, or has to be ended for what it does: does that speak against the version that is tried?"""
        core = self._core
        for deployment_id in core.ledger.locks(instance.spec_id):
            deployment = core.ledger.deployments[deployment_id]
            target = core.deployer.target(instance.spec_id, deployment)
            if target.pause is None or target.progress is None or target.spec is None:
                continue
            if instance.config_version == target.spec.last_config_change_at:
                self._put(deployment, instance.spec_id, replace(target.progress, failures=target.progress.failures + 1))
                core.stir(instance.spec_id)

    def proceed(self, command: Proceed) -> Accepted:
        ledger = self._core.ledger
        deployment = ledger.deployments.get(command.deployment_id)
        if deployment is None:
            raise NotFound("Deployment", command.deployment_id)
        waiting = [
            spec_id
            for spec_id in deployment.rollouts
            if self._core.deployer.target(spec_id, deployment).pause is not None
            and (command.force or deployment.progress[spec_id].well_since is not None)
        ]
        if not waiting:
            raise NotWaiting(deployment.id)
        for spec_id in waiting:
            deployment = self._go(deployment, spec_id, "a go was given")
        return Accepted(deployment, deployment.version, ledger.declared)

    def well(self, timer: str) -> None:
        """A share has been well for as long as was asked."""
        deployment_id, _, spec_id = timer.partition(" ")
        deployment = self._core.ledger.deployments.get(deployment_id)
        progress = deployment.progress.get(spec_id) if deployment else None
        if deployment is not None and progress is not None and progress.well_since is not None:
            self._go(deployment, spec_id, "it has been well for as long as was asked")

    def give_up(self, deployment_id: str) -> None:
        deployment = self._core.ledger.deployments.get(deployment_id)
        if deployment is not None:
            self._core.deployer.roll_back(deployment, "instances of the new version failed, rolled back")

    def ended(self, deployment: Deployment) -> None:
        self._core.timers.cancel(GIVE_UP, deployment.id)
        for spec_id in deployment.rollouts:
            self._core.timers.cancel(WELL, _timer(deployment, spec_id))

    def _go(self, deployment: Deployment, spec_id: str, why: str) -> Deployment:
        progress = deployment.progress[spec_id]
        progress = replace(progress, phase=progress.phase + 1, well_since=None)
        self._core.timers.cancel(WELL, _timer(deployment, spec_id))
        self._announce("rollout_continued_event", deployment, spec_id, progress, reason=why)
        self._release(deployment, spec_id)
        self._core.stir(spec_id)
        return self._put(deployment, spec_id, progress)

    def _release(self, deployment: Deployment, spec_id: str) -> None:
        after = deployment.changes[spec_id].after
        for instance in self._core.ledger.held(spec_id):
            if after is not None and instance.config_version == after.last_config_change_at and not instance.leaving:
                self._core.put(replace(instance, held=False), "released by the go")

    def _put(self, deployment: Deployment, spec_id: str, progress: Progress) -> Deployment:
        # Several specs of a deployment may be looked at in one round: the ledger has the latest.
        latest = self._core.ledger.deployments[deployment.id]
        changed = replace(latest, progress=FrozenMap({**latest.progress, spec_id: progress}))
        self._core.ledger.put_deployment(changed)
        return changed

    def _announce(self, kind: str, deployment: Deployment, spec_id: str, progress: Progress, **more: object) -> None:
        rollout = deployment.rollouts[spec_id]
        self._core.announce(
            kind,
            id=deployment.id,
            appId=spec_id,
            strategy=rollout.strategy,
            phase=progress.phase,
            phases=len(rollout.shares),
            waitsFor=rollout.waits_for,
            **more,
        )


def rollouts_of(changes: Mapping[str, SpecChange], given: Mapping[str, str]) -> dict[str, Rollout]:
    """Of what is changed, not of what is new or goes: there must be an old version to go back to. `given`: labels above their own."""
    found = {
        spec_id: rollout_of({**change.after.labels, **given})
        for spec_id, change in changes.items()
        if change.before is not None and change.after is not None
    }
    return {spec_id: rollout for spec_id, rollout in found.items() if rollout is not None}


@dataclass(frozen=True, slots=True)
class Legacy:
    """What a forced change takes over of the deployment that it cuts short, for one spec. `rollout` and `progress`: of a version that
    goes on being tried."""

    change: SpecChange
    rollout: Rollout | None = None
    progress: Progress | None = None


def legacy_of(deployment: Deployment, spec_id: str, change: SpecChange) -> Legacy | None:
    """`change` is forced while `deployment` still replaces instances of the spec. None where nothing is taken over, as in Marathon.

    A change of the count alone carries the replacement on, share and all. One of the configuration takes the place of a version that
    was still being tried. Either way it is the version before the first of them that a roll-back brings back.
    """
    cut, after = deployment.changes[spec_id], change.after
    if cut.before is None or cut.after is None or after is None:
        return None
    rollout, progress = deployment.rollouts.get(spec_id), deployment.progress.get(spec_id)
    way_back = SpecChange(cut.before, after)
    if after.last_config_change_at == cut.after.last_config_change_at:
        return Legacy(way_back, rollout, progress if rollout else None)
    tried = rollout is not None and (progress is None or progress.phase < len(rollout.shares))
    return Legacy(way_back) if tried else None


def resumed(fresh: Progress, deployment: Deployment, spec: RunSpec) -> Progress:
    """The progress with which a restart begins, where it goes on with a roll-out that an earlier deployment began."""
    rollout, known = deployment.rollouts.get(spec.id), deployment.progress.get(spec.id)
    if rollout is None or known is None:
        return fresh
    waits = known.phase < len(rollout.shares)
    # While it waits, the old version grows with the count.
    old = max(fresh.old_at_start, spec.instances) if waits else fresh.old_at_start
    return replace(fresh, old_at_start=old, phase=known.phase, failures=known.failures)


def _timer(deployment: Deployment, spec_id: str) -> str:
    return f"{deployment.id} {spec_id}"
