"""What a Mesos status says of an instance: state and reason -> condition, and what that means for the next steps."""

from collections.abc import Sequence
from dataclasses import dataclass

from framework.model.instance import TERMINAL, Condition, IpAddress, Task

# A TASK_LOST without these reasons may come back: the agent is away, or the master does not know it yet.
_LOST_FOR_GOOD = frozenset(
    {
        "REASON_CONTAINER_LAUNCH_FAILED",
        "REASON_CONTAINER_LIMITATION",
        "REASON_CONTAINER_LIMITATION_DISK",
        "REASON_CONTAINER_LIMITATION_MEMORY",
        "REASON_CONTAINER_PREEMPTED",
        "REASON_CONTAINER_UPDATE_FAILED",
        "REASON_EXECUTOR_REGISTRATION_TIMEOUT",
        "REASON_EXECUTOR_REREGISTRATION_TIMEOUT",
        "REASON_EXECUTOR_TERMINATED",
        "REASON_EXECUTOR_UNREGISTERED",
        "REASON_FRAMEWORK_REMOVED",
        "REASON_GC_ERROR",
        "REASON_IO_SWITCHBOARD_EXITED",
        "REASON_AGENT_UNKNOWN",
        "REASON_TASK_UNKNOWN",
        "REASON_AGENT_REMOVED_BY_OPERATOR",
        "REASON_RECONCILIATION",
    }
)
_NEVER_STARTED = frozenset(
    {
        "REASON_INVALID_OFFERS",
        "REASON_RESOURCES_UNKNOWN",
        "REASON_INVALID_FRAMEWORKID",
        "REASON_TASK_INVALID",
        "REASON_TASK_UNAUTHORIZED",
        "REASON_TASK_GROUP_INVALID",
        "REASON_TASK_GROUP_UNAUTHORIZED",
        "REASON_AGENT_RESTARTED",
        "REASON_TASK_KILLED_DURING_LAUNCH",
    }
)
_STATES = {
    "TASK_STAGING": Condition.STAGING,
    "TASK_STARTING": Condition.STARTING,
    "TASK_RUNNING": Condition.RUNNING,
    "TASK_KILLING": Condition.KILLING,
    "TASK_FINISHED": Condition.FINISHED,
    "TASK_FAILED": Condition.FAILED,
    "TASK_KILLED": Condition.KILLED,
    "TASK_ERROR": Condition.ERROR,
    "TASK_DROPPED": Condition.DROPPED,
    "TASK_UNREACHABLE": Condition.UNREACHABLE,
    "TASK_GONE": Condition.GONE,
    "TASK_GONE_BY_OPERATOR": Condition.GONE,
    "TASK_UNKNOWN": Condition.UNKNOWN,
}

# How far a live task is. A later status that says less (an old one, sent again) does not turn it back.
_ORDER = (Condition.PROVISIONED, Condition.STAGING, Condition.STARTING, Condition.RUNNING, Condition.KILLING)


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """A status update as Mesos sent it; times in epoch seconds. `uuid` None: not to be acknowledged."""

    task_id: str
    state: str
    agent_id: str | None = None
    reason: str | None = None
    source: str | None = None
    message: str = ""
    healthy: bool | None = None
    uuid: str | None = None
    timestamp: float | None = None
    ip_addresses: tuple[IpAddress, ...] = ()


def condition_of(state: str, reason: str | None) -> Condition:
    """An unknown state is UNKNOWN only by name: a state that this framework has never heard of changes nothing (ValueError)."""
    if state == "TASK_LOST":
        if reason in _NEVER_STARTED:
            return Condition.DROPPED
        return Condition.GONE if reason in _LOST_FOR_GOOD else Condition.UNREACHABLE
    if state not in _STATES:
        raise ValueError(f"unknown task state {state}")
    return _STATES[state]


def next_condition(before: Condition, said: Condition) -> Condition:
    """The condition after a status. Terminal ones stay; live ones only go on, except back from unreachable."""
    if before in TERMINAL or said in TERMINAL:
        return before if before in TERMINAL else said
    if said is Condition.UNREACHABLE:
        return before if before is Condition.UNREACHABLE_INACTIVE else said
    if before in _ORDER and _ORDER.index(said) < _ORDER.index(before):
        return before
    return said


def overall(tasks: Sequence[Task], before: Condition) -> Condition:
    """Of a pod's instance, from its tasks: any failure fails it, and it runs when all run."""
    conditions = [condition_of(task.mesos_state, task.reason) for task in tasks]
    if len(conditions) == 1:
        return conditions[0]
    for bad in (Condition.ERROR, Condition.FAILED, Condition.GONE, Condition.DROPPED, Condition.UNKNOWN):
        if bad in conditions:
            return bad
    if all(condition in TERMINAL for condition in conditions):
        return Condition.KILLED if Condition.KILLED in conditions else Condition.FINISHED
    live = [condition for condition in conditions if condition not in TERMINAL]
    if Condition.UNREACHABLE in live:
        return Condition.UNREACHABLE
    if Condition.KILLING in live or len(live) < len(conditions):
        return Condition.KILLING if Condition.KILLED in conditions or Condition.KILLING in live else before
    return min(live, key=_ORDER.index)


def own_fault(condition: Condition, reason: str | None) -> bool:
    """Whether a terminal condition lengthens the launch delay. An offer that had gone meanwhile is nobody's fault."""
    return condition is not Condition.KILLED and reason != "REASON_INVALID_OFFERS"
