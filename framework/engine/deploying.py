"""What is declared, the deployments that bring it about, and the comparison of every spec's instances with what is wanted."""

from collections.abc import Mapping
from typing import Literal

from framework.decide.advance_deployment import Census, Orders, begin_restart, hold, max_capacity, restart, stop
from framework.decide.kill_order import ordered_victims
from framework.decide.rollout import held
from framework.engine.commands import Accepted, CancelDeployment, Declare, Killed, KillInstances
from framework.engine.core import Core
from framework.engine.errors import NotFound
from framework.engine.planning import Plan, Planner
from framework.engine.rollouts import Target, resumed
from framework.model.app import App
from framework.model.change import Change
from framework.model.deployment import Deployment, Progress, StepAction
from framework.model.group import Declared
from framework.model.instance import Instance
from framework.model.pod import Pod
from framework.model.run_spec import RunSpec
from framework.model.values import FrozenMap, replace

DEADLINE = "deadline"
AGAIN = "again"  # a spec that more is to be done for than one batch may
SETTLE = "settle"  # specs that one batch did not come to


class Deployer:
    def __init__(self, core: Core) -> None:
        self._core = core
        self._steps: dict[str, dict[str, dict[int, StepAction]]] = {}  # deployment id -> spec id -> its steps
        self._open: dict[str, set[str]] = {}  # deployment id -> specs whose action of the current step is not done
        self._planner = Planner(core, self._steps_of)
        self._kills_left = self._specs_left = 0  # of this batch
        self.begun = self.succeeded = self.failed = 0

    # --- commands

    def plan(self, command: Declare | CancelDeployment) -> Plan | None:
        """What the command would have carried out now; None where nothing. Changes nothing."""
        if isinstance(command, Declare):
            return self._planner.plan(command)
        deployment = self._core.ledger.deployments.get(command.deployment_id)
        return self._planner.plan_back(deployment) if deployment is not None and not command.force else None

    def declare(self, command: Declare, plan: Plan | None = None) -> Accepted:
        """`plan`: where it has been worked out already, and nothing has changed since."""
        plan = plan or self._planner.plan(command)
        if command.dry_run:
            return Accepted(plan.deployment, plan.entry.version, plan.before)
        return self._carry_out(plan)

    def cancel(self, command: CancelDeployment, plan: Plan | None = None) -> Accepted | None:
        deployment = self._core.ledger.deployments.get(command.deployment_id)
        if deployment is None:
            raise NotFound("Deployment", command.deployment_id)
        if command.force:
            self._end(deployment, "cancelled", success=False)
            return None
        return self.roll_back(deployment, plan=plan)

    def kill(self, command: KillInstances) -> Killed:
        ledger = self._core.ledger
        victims = tuple(ledger.instances[i] for i in dict.fromkeys(command.instance_ids) if i in ledger.instances)
        accepted = None
        if command.scale:  # of nobody too: who asks for it is told of a deployment in any case
            accepted = self._scale_down(victims, command.force)
        for instance in victims:
            self._core.killer.kill(instance, "asked for", wipe=command.wipe)
        return Killed(victims, accepted.deployment if accepted else None)

    def _scale_down(self, victims: tuple[Instance, ...], force: bool) -> Accepted:
        fewer: dict[str, int] = {}
        for instance in victims:
            fewer[instance.spec_id] = fewer.get(instance.spec_id, 0) + (not instance.leaving and not instance.parked)

        def edit(declared: Declared) -> Change:
            return Change(
                apps={i: _fewer(declared.apps[i], by) for i, by in fewer.items() if i in declared.apps},
                pods={i: _fewer(declared.pods[i], by) for i, by in fewer.items() if i in declared.pods},
            )

        return self.declare(Declare(edit, force=force))

    def _carry_out(self, plan: Plan) -> Accepted:
        core, settings, deployment = self._core, self._core.settings, plan.deployment
        for holder in plan.displaced:
            if holder in core.ledger.deployments:  # one that is rolled back has been ended
                self._end(core.ledger.deployments[holder], "cancelled by a newer deployment", success=False)
        core.ledger.declare(
            plan.after, plan.entry, versions_kept=settings.versions_kept, history_kept=settings.history_kept
        )
        core.announce("group_change_success", groupId=deployment.group_id, version=plan.entry.version)
        for app in plan.checked:  # the old configuration's checks are announced to be gone when it is
            for check in app.health_checks:
                core.announce("add_health_check_event", appId=app.id, version=app.version, healthCheck=check)
        self._begin(deployment)
        return Accepted(deployment, plan.entry.version, plan.after)

    # --- deployments

    def _begin(self, deployment: Deployment) -> None:
        core = self._core
        self.begun += 1
        if not deployment.steps:
            core.announce("deployment_success", id=deployment.id, plan=deployment)
            self.succeeded += 1
            return
        core.ledger.put_deployment(deployment)
        if deployment.deadline is not None:
            core.timers.set(DEADLINE, deployment.id, deployment.deadline)
        self._begin_step(deployment)

    def _begin_step(self, deployment: Deployment) -> None:
        core = self._core
        # What was taken over of a roll-out waits for its step.
        progress = {spec_id: known for spec_id, known in deployment.progress.items() if spec_id in deployment.rollouts}
        progress |= {action.spec_id: self._progress(deployment, action) for action in deployment.current_actions}
        deployment = replace(deployment, progress=FrozenMap(progress), step_since=core.now)
        core.ledger.put_deployment(deployment)
        core.announce("deployment_info", plan=deployment, currentStep=deployment.current_actions)
        self._open.pop(deployment.id, None)
        core.stirred.update(dict.fromkeys(deployment.changes))

    def _progress(self, deployment: Deployment, action: StepAction) -> Progress:
        change = deployment.changes[action.spec_id]
        spec = change.after or change.before
        assert spec is not None, "a change has a before or an after"
        census = self._core.ledger.census(spec.id, spec.last_config_change_at)
        if action.kind == "restart":
            fresh = begin_restart(spec.instances, spec.upgrade_strategy, spec.is_resident, census)
            return resumed(fresh, deployment, spec)
        return Progress(census.staying) if census.staying else _NOBODY

    def clear(self) -> None:
        self._steps.clear()
        self._open.clear()

    def adopt(self, deployment: Deployment) -> None:
        """After a start: goes on where it was."""
        if deployment.deadline is not None:
            self._core.timers.set(DEADLINE, deployment.id, deployment.deadline)
        for spec_id in deployment.changes:
            self._core.stir(spec_id)

    def deadline(self, deployment_id: str) -> None:
        deployment = self._core.ledger.deployments.get(deployment_id)
        if deployment is None:
            return
        if deployment.on_failure == "rollback":
            self.roll_back(deployment, "not done by its deadline, rolled back")
        else:
            self._end(deployment, "not done by its deadline", success=False)

    def roll_back(self, deployment: Deployment, why: str = "rolled back", plan: Plan | None = None) -> Accepted:
        """A new plan that reverts what this one changed, unless something newer has changed it since."""
        plan = plan or self._planner.plan_back(deployment)
        self._end(deployment, why, success=False)
        return self._carry_out(plan)

    def _end(self, deployment: Deployment, why: str, *, success: bool) -> None:
        core = self._core
        core.ledger.remove_deployment(core.ledger.deployments[deployment.id])
        core.timers.cancel(DEADLINE, deployment.id)
        core.rollouts.ended(deployment)
        self._steps.pop(deployment.id, None)
        self._open.pop(deployment.id, None)
        for spec_id in deployment.changes:
            core.stir(spec_id)
        if success:
            self.succeeded += 1
            core.announce("deployment_success", id=deployment.id, plan=deployment)
        else:
            self.failed += 1
            core.announce("deployment_step_failure", plan=deployment, currentStep=deployment.current_actions)
            core.announce("deployment_failed", id=deployment.id, plan=deployment, reason=why)

    # --- comparing

    def begin_batch(self) -> None:
        self._kills_left = self._core.settings.kills_in_batch
        self._specs_left = self._core.settings.specs_in_batch

    def settle(self) -> None:
        """At the end of a batch: looks at every spec that something happened to, until all is said, or the next batch is to go on."""
        core = self._core
        while core.stirred:
            if not self._specs_left:
                core.timers.set(SETTLE, "", core.now)
                return
            stirred = list(core.stirred)[: self._specs_left]
            self._specs_left -= len(stirred)
            for spec_id in stirred:
                del core.stirred[spec_id]
            touched: dict[str, None] = {}
            for spec_id in stirred:
                deployment = self._settle_spec(spec_id)
                if deployment is not None:
                    touched[deployment.id] = None
            for deployment_id in touched:
                self._advance(deployment_id)

    def _settle_spec(self, spec_id: str) -> Deployment | None:
        """Carries out the orders for one spec. The deployment whose current step is at it, if any."""
        core = self._core
        target = self.target(spec_id)
        core.rollouts.end_stranded(target, spec_id)
        if target.spec is None:
            self._kill(spec_id, None, stop(core.ledger.census(spec_id, "")), "no longer declared")
            core.residents.forget(spec_id)
            core.launcher.forget(spec_id)
            return None
        spec = target.spec
        census = core.ledger.census(spec_id, spec.last_config_change_at)
        moving = core.ledger.moving(spec_id)
        restarting = target.progress if target.mode == "restart" else None
        orders = self._orders(target, spec, core.evacuator.relieved(spec, census, moving, restarting))
        if moving:
            core.evacuator.end(spec, census, target.count)
        if orders.kill_old or orders.kill_new or orders.kill_any:
            change = target.deployment.changes[spec_id] if target.deployment else None
            former = change.before.last_config_change_at if change and change.before else None
            self._kill(spec_id, spec, orders, _WHY[target.mode], former)
        if target.mode == "stop":
            core.residents.forget(spec_id)
            core.launcher.forget(spec_id)
        else:
            self._want(target, spec, orders)
        core.rollouts.look(target, census)
        if target.deployment is not None and target.action is not None:
            self._open_specs(target.deployment)
            if orders.done:
                self._open[target.deployment.id].discard(spec_id)
            else:
                self._open[target.deployment.id].add(spec_id)
        return target.deployment

    def _want(self, target: Target, spec: RunSpec, orders: Orders) -> None:
        """A spec waits in one version at a time: the old one, whose place is empty, comes first, unless it is just being delayed."""
        before = target.deployment.changes[spec.id].before if target.deployment and orders.launch_old else None
        if before is not None and before.last_config_change_at == spec.last_config_change_at:
            before = None  # what is old is older still, left behind by a deployment that was stopped
        if before is not None and (not orders.launch or self._core.launcher.is_ripe(before)):
            self._core.launcher.want(before, orders.launch_old)
        else:
            self._core.launcher.want(spec, orders.launch)

    def _orders(self, target: Target, spec: RunSpec, census: Census) -> Orders:
        progress = target.progress
        if target.mode == "stop":
            return stop(census)
        if target.mode == "restart" and progress is not None:
            orders = restart(target.count, spec.upgrade_strategy, spec.is_resident, census, progress)
            here = target.pause
            if here is None:
                return orders
            most = max_capacity(target.count, spec.upgrade_strategy) + (progress.extra and not spec.is_resident)
            return held(orders, here, census, most - census.present)
        before = progress.old_at_start if progress else None
        return hold(target.count, spec.upgrade_strategy, census, before)

    def target(self, spec_id: str, deployment: Deployment | None = None) -> Target:
        ledger = self._core.ledger
        locks = ledger.locks(spec_id)
        if not locks:
            spec = ledger.declared_spec(spec_id)
            return Target("hold", spec, spec.instances if spec else 0)
        deployment = deployment or ledger.deployments[locks[0]]
        change = deployment.changes[spec_id]
        steps = self._steps_of(deployment).get(spec_id, {})
        current = deployment.current_step
        action = steps.get(current)
        if action is not None:
            if action.kind == "stop":
                return Target("stop", change.before, 0, deployment, action)
            assert change.after is not None, "only a stop has no after"
            if action.kind == "start":
                return Target("hold", change.after, 0, deployment, action)
            mode: Literal["hold", "restart"] = "restart" if action.kind == "restart" else "hold"
            return Target(mode, change.after, change.after.instances, deployment, action)
        if not steps or max(steps) < current:
            return Target("hold", change.after, change.after.instances if change.after else 0, deployment)
        # Its step is yet to come: it stays as it was, and what is new has no instances yet.
        if change.before is None:
            return Target("hold", change.after, 0, deployment)
        return Target("hold", change.before, change.before.instances, deployment)

    def _kill(self, spec_id: str, spec: RunSpec | None, orders: Orders, why: str, former: str | None = None) -> None:
        """As many of those who have to go as this batch may kill. `former`: the configuration that a roll-back would bring back."""
        staying = [i for i in self._core.ledger.instances_of(spec_id) if not (i.leaving or i.parked or i.evacuating)]
        victims = ordered_victims(staying, orders, spec, former)
        for instance in victims[: self._kills_left]:
            self._core.killer.kill(instance, why)
        if len(victims) > self._kills_left:
            self._core.timers.set(AGAIN, spec_id, self._core.now)
        self._kills_left = max(0, self._kills_left - len(victims))

    def _advance(self, deployment_id: str) -> None:
        core = self._core
        deployment = core.ledger.deployments.get(deployment_id)
        if deployment is None or self._open_specs(deployment):
            return
        core.announce("deployment_step_success", plan=deployment, currentStep=deployment.current_actions)
        for action in deployment.current_actions:
            former = deployment.changes[action.spec_id].before
            if action.kind in ("stop", "restart") and isinstance(former, App):
                for _ in former.health_checks:
                    core.announce("remove_health_check_event", appId=action.spec_id)
            if action.kind == "stop":
                core.launcher.forget(action.spec_id)
                core.prober.forget(action.spec_id)
                core.announce("app_terminated_event", appId=action.spec_id)
        following = replace(deployment, current_step=deployment.current_step + 1)
        if following.current_step >= len(following.steps):
            core.ledger.put_deployment(following)
            self._end(following, "", success=True)
        else:
            self._begin_step(following)

    def _open_specs(self, deployment: Deployment) -> set[str]:
        if deployment.id not in self._open:
            self._open[deployment.id] = {action.spec_id for action in deployment.current_actions}
        return self._open[deployment.id]

    def _steps_of(self, deployment: Deployment) -> Mapping[str, Mapping[int, StepAction]]:
        steps = self._steps.get(deployment.id)
        if steps is None:
            steps = self._steps[deployment.id] = {}
            for index, step in enumerate(deployment.steps):
                for action in step.actions:
                    steps.setdefault(action.spec_id, {})[index] = action
        return steps


_NOBODY = Progress(old_at_start=0)
_WHY = {"hold": "more than are wanted", "restart": "replaced by a newer version", "stop": "the app was removed"}


def _fewer(spec: App | Pod, by: int):  # type: ignore[no-untyped-def]  # gives what it takes: an App or a Pod
    return replace(spec, instances=max(0, spec.instances - by))
