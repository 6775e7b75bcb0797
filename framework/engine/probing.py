"""Health and readiness: which instances are probed, what the results mean, who is killed for them."""

from framework.decide.health_verdict import KillBudget, is_due, judge, overall_health
from framework.engine.actions import StartProbing, StopProbing
from framework.engine.core import Core
from framework.engine.events import Probed, ReadinessProbed
from framework.engine.view import Readiness
from framework.model.app import App
from framework.model.instance import HealthResult, Instance
from framework.model.pod import Pod
from framework.model.run_spec import RunSpec
from framework.model.values import replace


class Prober:
    def __init__(self, core: Core) -> None:
        self._core = core
        self._results: dict[str, dict[int, HealthResult]] = {}
        self._probed: set[str] = set()
        self._failing: set[str] = set()
        self._readiness: dict[str, dict[str, Readiness]] = {}
        self._held: set[str] = set()  # instances whose kill was held back, and said so

    # --- who is probed

    def start(self, instance: Instance) -> None:
        """It runs. Also after a start of this daemon, for what ran before."""
        spec = self._core.ledger.spec_of(instance)
        if not isinstance(spec, App):
            return
        own = any(not check.by_mesos for check in spec.health_checks)
        readiness = bool(spec.readiness_checks) and not instance.ready
        if own:
            self._probed.add(instance.id)
            if instance.healthy is False:
                self._failing.add(instance.id)
        if own or readiness:
            self._core.act(StartProbing(instance, spec, readiness))

    def stop(self, instance: Instance) -> None:
        self._failing.discard(instance.id)
        self._held.discard(instance.id)
        self._readiness.get(instance.spec_id, {}).pop(instance.id, None)
        self._results.pop(instance.id, None)
        if instance.id in self._probed or not instance.ready:
            self._probed.discard(instance.id)
            self._core.act(StopProbing(instance.id))

    # --- results

    def probed(self, event: Probed) -> None:
        core = self._core
        instance = core.ledger.instances.get(event.instance_id)
        spec = core.ledger.spec_of(instance) if instance else None
        if instance is None or not isinstance(spec, App) or not instance.running or instance.leaving:
            return
        if event.check_index >= len(spec.health_checks):
            return
        check = spec.health_checks[event.check_index]
        results = self._results.setdefault(instance.id, {})
        before = results.get(event.check_index) or _remembered(instance)
        since = instance.active_since if instance.active_since is not None else core.now
        result = judge(check, before, event.alive, event.cause, active_since=since, now=core.now)
        results[event.check_index] = result
        if instance.healthy and result.alive and before.alive:
            return  # as nearly always: nothing has changed
        instance = self._settle_health(instance, spec)
        if event.alive is False and result.consecutive_failures:
            core.announce(
                "failed_health_check_event",
                appId=spec.id,
                taskId=instance.id,
                instanceId=instance.id,
                healthCheck=check,
            )
            if is_due(check, result):
                self._kill(instance, spec, result)

    def told(self, instance: Instance) -> None:
        """A status of Mesos may carry the result of a check that the agent makes."""
        if instance.checked and instance.running and not instance.leaving:
            self._settle_health(instance, self._core.ledger.spec_of(instance))

    def _settle_health(self, instance: Instance, spec: RunSpec | None) -> Instance:
        core = self._core
        found = self._found(instance, spec)
        healthy = overall_health(found)
        if healthy is None and instance.healthy is not None and any(result is None for result in found):
            return instance  # not all have been probed since this daemon started: what was known still holds
        if healthy is False:
            self._failing.add(instance.id)
        else:
            self._failing.discard(instance.id)
            self._held.discard(instance.id)
        if healthy is instance.healthy:
            return instance
        changed = replace(instance, healthy=healthy)
        core.put(changed, f"healthy: {healthy}")
        if healthy is not None:
            core.announce(
                "health_status_changed_event",
                appId=instance.spec_id,
                instanceId=instance.id,
                version=instance.spec_version,
                alive=healthy,
            )
        core.announce(
            "instance_health_changed_event",
            instanceId=instance.id,
            runSpecId=instance.spec_id,
            healthy=healthy,
            runSpecVersion=instance.spec_version,
        )
        return changed

    def _found(self, instance: Instance, spec: RunSpec | None) -> list[HealthResult | None]:
        """The latest result of every check, our own and Mesos'."""
        if isinstance(spec, Pod):
            checked = {container.name for container in spec.containers if container.health_check}
            return [_of_mesos(instance, task.healthy) for task in instance.tasks if task.container in checked]
        checks = spec.health_checks if spec else ()
        results = self._results.get(instance.id, {})
        found: list[HealthResult | None] = [results.get(i) for i, check in enumerate(checks) if not check.by_mesos]
        if len(found) < len(checks):
            found += [_of_mesos(instance, task.healthy) for task in instance.tasks]
        return found

    def _kill(self, instance: Instance, spec: App, result: HealthResult) -> None:
        core, settings = self._core, self._core.settings
        budget = KillBudget(
            failing=len(self._failing & self._probed),
            probed=len(self._probed),
            replacing=self._replacing(spec),
            instances=spec.instances,
        )
        refusal = budget.refusal(
            mass_share=settings.mass_failure_share,
            mass_least=settings.mass_failure_least,
            spec_share=settings.health_kill_share,
        )
        if refusal is not None:
            if instance.id not in self._held:
                self._held.add(instance.id)
                core.warn("unhealthy, but not killed", instance=instance.id, why=refusal)
            return
        reason = result.last_failure_cause or "health check failed"
        for task in instance.tasks:
            core.announce(
                "unhealthy_instance_kill_event",
                appId=spec.id,
                taskId=task.id,
                instanceId=instance.id,
                version=instance.spec_version,
                reason=reason,
                host=instance.agent.host,
                slaveId=instance.agent.id,
            )
        core.rollouts.instance_failed(instance)
        core.killer.kill(instance, f"unhealthy: {reason}", drain=False)

    def _replacing(self, spec: App) -> int:
        """Instances that are missing, or that have not shown yet that they are well."""
        census = self._core.ledger.census(spec.id, spec.last_config_change_at)
        instances = self._core.ledger.instances_of(spec.id)
        young = sum(not i.leaving and not i.parked and not i.ok and i.healthy is None for i in instances)
        return young + max(0, spec.instances - census.staying)

    def ready(self, event: ReadinessProbed) -> None:
        instance = self._core.ledger.instances.get(event.instance_id)
        if instance is None or instance.leaving:
            return
        answers = self._readiness.setdefault(instance.spec_id, {})
        answers[instance.id] = Readiness(
            instance.id, event.name, event.ready, event.status, event.content_type, event.body
        )
        if event.ready and not instance.ready:
            self._core.put(replace(instance, ready=True), "ready")

    # --- reading

    def results(self, instance_id: str) -> tuple[HealthResult, ...]:
        return tuple(result for _, result in sorted(self._results.get(instance_id, {}).items()))

    def readiness(self, spec_id: str) -> tuple[Readiness, ...]:
        return tuple(self._readiness.get(spec_id, {}).values())

    def forget(self, spec_id: str) -> None:
        self._readiness.pop(spec_id, None)

    @property
    def failing(self) -> int:
        return len(self._failing)


def _remembered(instance: Instance) -> HealthResult:
    """Before the first probe: one that was healthy when this daemon stopped had its first success already."""
    if instance.healthy is True:
        return HealthResult(
            instance.id, alive=True, first_success=instance.active_since, last_success=instance.active_since
        )
    return HealthResult(instance.id)


def _of_mesos(instance: Instance, healthy: bool | None) -> HealthResult | None:
    if healthy is None:
        return None
    return HealthResult(instance.id, alive=healthy, consecutive_failures=0 if healthy else 1)
