"""What the master answers when a framework asks for the state of a task. Pure."""

import time
from collections.abc import Collection, Container, Mapping
from typing import Any

from embedded.mesos.records import Framework, Task

Json = dict[str, Any]

# What a status made by the master repeats of the task's latest.
_REPEATED = ("healthy", "check_status", "container_status", "labels")


def master_status(
    task_id: str,
    state: str,
    reason: str | None,
    message: str,
    *,
    agent_id: str | None = None,
    executor_id: str | None = None,
    unreachable_since: float | None = None,
) -> Json:
    """A TaskStatus that the master makes. It has no uuid: it is not to be acknowledged."""
    status: Json = {"task_id": {"value": task_id}, "state": state, "message": message, "source": "SOURCE_MASTER"}
    if reason:
        status["reason"] = reason
    if agent_id is not None:
        status["agent_id"] = {"value": agent_id}
    if executor_id:
        status["executor_id"] = {"value": executor_id}
    status["timestamp"] = time.time()
    if unreachable_since is not None:
        status["unreachable_time"] = {"nanoseconds": int(unreachable_since * 1e9)}
    return status


def latest_status(task: Task, reason: str, message: str) -> Json:
    status = master_status(task.task_id, task.update_state or task.state, reason, message, agent_id=task.agent_id)
    last = task.statuses[-1] if task.statuses else {}
    return status | {name: last[name] for name in _REPEATED if name in last}


def answer(
    framework: Framework,
    task_id: str,
    agent_id: str | None,
    *,
    registered: Container[str],
    recovered: Collection[str],
    unreachable: Mapping[str, float],
    gone: Container[str],
) -> Json | None:
    """The status that answers, or None where the master cannot know yet: the agent may still come back with the task."""
    task = framework.tasks.get(task_id)
    if task:
        return latest_status(task, "REASON_RECONCILIATION", "Reconciliation: Latest task state")
    unreachable_since = None
    if agent_id is not None and agent_id in recovered:
        return None
    if agent_id is not None and agent_id in registered:
        state, message = "TASK_GONE", "Reconciliation: Task is unknown to the agent"
    elif agent_id is not None and agent_id in unreachable:
        state, message = "TASK_UNREACHABLE", "Reconciliation: Task is unreachable"
        unreachable_since = unreachable[agent_id]
    elif agent_id is not None and agent_id in gone:
        state, message = "TASK_GONE_BY_OPERATOR", "Reconciliation: Task is gone"
    elif recovered:
        return None
    else:
        state, message = "TASK_UNKNOWN", "Reconciliation: Task is unknown"
    return master_status(
        task_id,
        framework.lost_state(state),
        "REASON_RECONCILIATION",
        message,
        agent_id=agent_id,
        unreachable_since=unreachable_since,
    )
