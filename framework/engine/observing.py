"""What Mesos says of tasks becomes what instances are."""

from framework.decide.instance_state import TaskStatus, condition_of, next_condition, overall, own_fault
from framework.engine.actions import Acknowledge, Measure
from framework.engine.core import Core
from framework.model.instance import TERMINAL, Condition, ContainerEnd, Instance, Task, TaskFailure
from framework.model.strategy import UnreachableStrategy
from framework.model.values import replace

INACTIVE = "inactive"
EXPUNGE = "expunge"
LAUNCH = "launch"
UNCERTAIN = "uncertain"

_ENDED = frozenset({"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR"})
_NO_FAILURE = frozenset({Condition.FINISHED, Condition.KILLED})


class Observer:
    def __init__(self, core: Core) -> None:
        self._core = core

    def status(self, status: TaskStatus) -> None:
        core = self._core
        if status.uuid is not None and status.agent_id is not None:
            # Leaves after the commit: what is acknowledged is never told again.
            core.act(Acknowledge(status.task_id, status.agent_id, status.uuid))
        try:
            said = condition_of(status.state, status.reason)
        except ValueError as error:
            core.warn(str(error), task=status.task_id)
            return
        core.reconciler.answered(status.task_id)
        instance = core.ledger.instance_of_task(status.task_id)
        if instance is None:
            core.reconciler.stranger(status, terminal=said in TERMINAL)
            return
        self._update(instance, status)

    def _update(self, before: Instance, status: TaskStatus) -> None:
        core = self._core
        if before.parked:
            if condition_of(status.state, status.reason) not in TERMINAL:
                core.reconciler.stranger(status, terminal=False)  # it was given up, and came back
            return
        if self._too_soon(before, status):
            core.timers.set(UNCERTAIN, before.id, core.now + core.settings.launch_grace)
            return
        tasks = tuple(_told(task, status) if task.id == status.task_id else task for task in before.tasks)
        condition = next_condition(before.condition, overall(tasks, before.condition))
        if condition is before.condition and tasks == before.tasks:
            if condition is not Condition.UNREACHABLE:
                core.prober.told(before)
            return
        changed = [task for task, old in zip(tasks, before.tasks, strict=True) if task.mesos_state != old.mesos_state]
        for task in changed:
            self._announce_status(before, task, status)
        moved = condition is not before.condition
        instance = replace(
            before,
            tasks=tasks,
            condition=condition,
            since=core.now if moved else before.since,
            active_since=_active_since(before, condition, core.now),
            unreachable_since=_unreachable_since(before, condition, status, core.now),
        )
        if instance.terminal:
            self._ended(instance, status)
            return
        if instance != before:
            core.put(instance, f"{status.state} {status.reason or ''} {status.message}".strip())
        if moved and condition is Condition.RUNNING:
            self._runs(instance)
        elif moved and condition is Condition.UNREACHABLE:
            self._lost(instance)
        elif moved and condition in (Condition.STAGING, Condition.STARTING):
            core.timers.set_unless_sooner(LAUNCH, instance.id, core.now + core.settings.launch_timeout)
        core.prober.told(instance)

    def _too_soon(self, instance: Instance, status: TaskStatus) -> bool:
        """Whether the master says that it does not know a task whose launch may still be on its way to it."""
        return (instance.condition is Condition.PROVISIONED or instance.tasks[0].mesos_state == "TASK_STAGING") and (
            status.reason == "REASON_RECONCILIATION"
            and condition_of(status.state, status.reason) in (Condition.GONE, Condition.UNKNOWN)
            and self._core.now < instance.provisioned_at + self._core.settings.launch_grace
        )

    def _runs(self, instance: Instance) -> None:
        for what in (INACTIVE, EXPUNGE, LAUNCH):
            self._core.timers.cancel(what, instance.id)
        if instance.active_since == self._core.now:
            self._core.act(Measure("launch_seconds", self._core.now - instance.provisioned_at))
        if not instance.leaving:
            self._core.prober.start(instance)

    def _lost(self, instance: Instance) -> None:
        """Its agent is away. The spec says when it is replaced, and when it is forgotten."""
        core = self._core
        spec = core.ledger.spec_of(instance)
        if instance.leaving:
            if not core.residents.stays(instance):
                core.send_away(instance, "unreachable while it was to be killed")
            return
        if spec is None or not isinstance(spec.unreachable_strategy, UnreachableStrategy):
            return
        since = instance.unreachable_since or core.now
        core.timers.set(INACTIVE, instance.id, since + spec.unreachable_strategy.inactive_after_seconds)
        core.timers.set(EXPUNGE, instance.id, since + spec.unreachable_strategy.expunge_after_seconds)

    def adopt(self, instance: Instance) -> None:
        """After a start: the timers that an instance's condition asks for."""
        if instance.condition in (Condition.UNREACHABLE, Condition.UNREACHABLE_INACTIVE):
            self._lost(instance)
        elif instance.condition in (Condition.STAGING, Condition.STARTING):
            at = max(self._core.now, instance.since) + self._core.settings.launch_timeout
            self._core.timers.set(LAUNCH, instance.id, at)

    def inactive(self, instance_id: str) -> None:
        instance = self._core.ledger.instances.get(instance_id)
        if instance is not None and instance.condition is Condition.UNREACHABLE:
            inactive = replace(instance, condition=Condition.UNREACHABLE_INACTIVE, since=self._core.now)
            self._core.put(inactive, "unreachable for too long, to be replaced")

    def expunge(self, instance_id: str) -> None:
        instance = self._core.ledger.instances.get(instance_id)
        if instance is not None and instance.condition in (Condition.UNREACHABLE, Condition.UNREACHABLE_INACTIVE):
            self._core.send_away(instance, "unreachable for too long, given up")

    def launch_overdue(self, instance_id: str) -> None:
        instance = self._core.ledger.instances.get(instance_id)
        if instance is not None and instance.condition in (Condition.STAGING, Condition.STARTING):
            self._core.rollouts.instance_failed(instance)
            self._core.killer.kill(instance, "did not start in time", drain=False)

    def _ended(self, instance: Instance, status: TaskStatus) -> None:
        core = self._core
        if not instance.leaving and own_fault(instance.condition, status.reason):
            core.launcher.failed(instance)
            core.rollouts.instance_failed(instance)
        unhealthy = instance.condition is Condition.KILLED and status.healthy is False
        if unhealthy or (instance.condition not in _NO_FAILURE and not instance.leaving):
            core.ledger.put_failure(_failure(instance, status, core.now))
        why = f"{status.state} {status.reason or ''} {status.message}".strip()
        if core.residents.stays(instance, status.state):
            core.residents.park(instance, why)
        else:
            core.send_away(instance, why)

    def _announce_status(self, instance: Instance, task: Task, status: TaskStatus) -> None:
        self._core.announce(
            "status_update_event",
            slaveId=instance.agent.id,
            taskId=task.id,
            taskStatus=task.mesos_state,
            message=status.message,
            appId=instance.spec_id,
            host=instance.agent.host,
            ipAddresses=[{"ipAddress": ip.ip_address, "protocol": ip.protocol} for ip in task.ip_addresses],
            ports=list(task.host_ports),
            version=instance.spec_version,
        )


def _told(task: Task, status: TaskStatus) -> Task:
    if task.mesos_state in _ENDED:
        return task  # of a pod whose other containers go on; the master, asked for this one later, says that it is gone
    if status.reason == "REASON_RECONCILIATION" and status.state == task.mesos_state and not _more(task, status):
        return task  # asked for and nothing new: thousands of those after a start are not worth a write each
    started = task.started_at
    if started is None and status.state == "TASK_RUNNING":
        started = status.timestamp
    return replace(
        task,
        mesos_state=status.state,
        reason=status.reason,
        message=status.message,
        started_at=started,
        healthy=task.healthy if status.healthy is None else status.healthy,
        ip_addresses=status.ip_addresses or task.ip_addresses,
    )


def _more(task: Task, status: TaskStatus) -> bool:
    """Whether a status tells more than the state."""
    healthy = status.healthy is not None and status.healthy is not task.healthy
    return healthy or bool(status.ip_addresses and status.ip_addresses != task.ip_addresses)


def _active_since(before: Instance, condition: Condition, now: float) -> float | None:
    return now if condition is Condition.RUNNING and before.active_since is None else before.active_since


def _unreachable_since(before: Instance, condition: Condition, status: TaskStatus, now: float) -> float | None:
    if condition not in (Condition.UNREACHABLE, Condition.UNREACHABLE_INACTIVE):
        return None
    return before.unreachable_since or status.timestamp or now


def _failure(instance: Instance, status: TaskStatus, now: float) -> TaskFailure:
    task = next((task for task in instance.tasks if task.id == status.task_id), instance.tasks[0])
    is_pod = any(task.container for task in instance.tasks)
    return TaskFailure(
        app_id=instance.spec_id,
        task_id=status.task_id,
        state=status.state,
        message=status.message or (status.reason or ""),
        host=instance.agent.host,
        agent_id=instance.agent.id,
        version=instance.spec_version,
        at=now,
        started_at=task.started_at if task.started_at is not None else task.staged_at,
        containers=tuple(ContainerEnd(t.id, t.mesos_state, t.message or t.reason or "") for t in instance.tasks)
        if is_pod
        else (),
    )
