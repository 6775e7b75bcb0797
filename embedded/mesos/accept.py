"""ACCEPT: what a framework does with offers. Launches and operations are carried out in their order; what they leave over is
free again.
"""

import base64
import uuid
from collections.abc import Iterable
from typing import Any

from embedded.mesos.cluster import Cluster
from embedded.mesos.operations import OperationError, conversion
from embedded.mesos.reconcile import master_status
from embedded.mesos.records import AgentRecord, Framework, Offer, Task
from embedded.mesos.resources import Resources
from embedded.mesos.validation import executor_problem, task_problem

Json = dict[str, Any]

DEFAULT_REFUSE_SECONDS = 5.0


def accept(cluster: Cluster, framework: Framework, content: Json) -> None:
    """The `accept` of an ACCEPT call; whatever is wrong with it is told by events."""
    offer_ids = [id["value"] for id in content.get("offer_ids", [])]
    operations = content.get("operations", [])
    refuse_seconds = content.get("filters", {}).get("refuse_seconds", DEFAULT_REFUSE_SECONDS)
    problem = _offers_problem(cluster, framework, offer_ids)
    offers = [framework.offers[id] for id in dict.fromkeys(offer_ids) if id in framework.offers]
    if problem:
        for offer in offers:
            cluster.remove_offer(offer)
        _refuse_all(framework, operations, problem)
        return
    cluster.counters["offers_accepted"] += len(offers)
    _Acceptance(cluster, framework, offers).carry_out(operations, refuse_seconds)


def _offers_problem(cluster: Cluster, framework: Framework, offer_ids: list[str]) -> str | None:
    if not offer_ids:
        return "No offers specified"
    agent_id: str | None = None
    seen = set()
    for offer_id in offer_ids:
        if offer_id in seen:
            return f"Duplicate offer {offer_id} in offer list"
        seen.add(offer_id)
        offer = cluster.offers.get(offer_id)
        if offer is None:
            return f"Offer {offer_id} is no longer valid"
        if offer.framework_id != framework.framework_id:
            return (
                f"Offer {offer_id} has invalid framework {offer.framework_id} while framework"
                f" {framework.framework_id} is expected"
            )
        if agent_id not in (None, offer.agent_id):
            return (
                "Aggregated offers must belong to one single agent."
                f" Offer {offer_id} uses agent {offer.agent_id} and agent {agent_id}"
            )
        agent_id = offer.agent_id
    return None


def _refuse_all(framework: Framework, operations: Iterable[Json], problem: str) -> None:
    """Tasks are lost, as an offer that has become stale is nobody's mistake."""
    for operation in operations:
        message = f"Task launched with invalid offers: {problem}"
        for task in _tasks_of(operation):
            status = master_status(
                task["task_id"]["value"],
                framework.lost_state("TASK_DROPPED"),
                "REASON_INVALID_OFFERS",
                message,
                agent_id=task["agent_id"]["value"],
            )
            framework.send_status(status)
        if operation.get("type") not in ("LAUNCH", "LAUNCH_GROUP"):
            _tell_operation(
                framework, operation, "OPERATION_DROPPED", f"Operation attempted with invalid offers: {problem}"
            )


def _tasks_of(operation: Json) -> list[Json]:
    if operation.get("type") == "LAUNCH":
        tasks: list[Json] = operation.get("launch", {}).get("task_infos", [])
        return tasks
    if operation.get("type") == "LAUNCH_GROUP" and "launch_group" in operation:
        group: list[Json] = operation["launch_group"]["task_group"].get("tasks", [])
        return group
    return []


def _tell_operation(framework: Framework, operation: Json, state: str, message: str) -> None:
    """Frameworks hear of an operation's fate only if they gave it an id."""
    if "id" in operation:
        status: Json = {"operation_id": operation["id"], "state": state, "message": message}
        framework.send({"type": "UPDATE_OPERATION_STATUS", "update_operation_status": {"status": status}})


class _Acceptance:
    """One ACCEPT on the offers of one agent: what of them is still left."""

    def __init__(self, cluster: Cluster, framework: Framework, offers: list[Offer]) -> None:
        self.cluster = cluster
        self.framework = framework
        self.agent: AgentRecord = cluster.agents[offers[0].agent_id]
        self.role = offers[0].role
        self.left = Resources()
        for offer in offers:
            self.left += offer.resources
            cluster.forget_offer(offer)

    def carry_out(self, operations: list[Json], refuse_seconds: float) -> None:
        launches: list[tuple[list[Json], bool, Json | None]] = []
        for operation in operations:
            kind = operation.get("type")
            if kind == "LAUNCH":
                tasks = [task for task in _tasks_of(operation) if self._take(task)]
                if tasks:
                    launches.append((tasks, False, None))
            elif kind == "LAUNCH_GROUP":
                executor = self._take_group(operation)
                if executor:
                    launches.append((_tasks_of(operation), True, executor))
            elif kind is not None:
                self._convert(operation)
        self.cluster.recover(self.framework.framework_id, self.role, self.agent.agent_id, self.left, refuse_seconds)
        for tasks, group, executor in launches:
            self.agent.agent.launch(self.framework.info, tasks, group, executor)

    # Launches

    def _take(self, info: Json) -> bool:
        """Takes one task's resources out of what is left; tells the framework where the task is invalid."""
        executor = info.get("executor")
        known = executor is not None and self._executor_key(executor) in self.agent.executors
        problem = self._problem(info, executor_known=known)
        if problem:
            self._tell_error(info, "REASON_TASK_INVALID", problem)
            return False
        if executor and not known:
            self._add_executor(executor)
        self._add_task(info)
        return True

    def _take_group(self, operation: Json) -> Json | None:
        """All of the group or nothing: its executor with the framework's id, or None if anything in it is invalid."""
        group = operation.get("launch_group")
        if not group:
            return None
        executor = {**group["executor"], "framework_id": {"value": self.framework.framework_id}}
        tasks = _tasks_of(operation)
        problem = self._group_problem(executor, tasks)
        if problem:
            for task in tasks:
                self._tell_error(task, "REASON_TASK_GROUP_INVALID", problem)
            return None
        if self._executor_key(executor) not in self.agent.executors:
            self._add_executor(executor)
        for task in tasks:
            self._add_task(task, executor["executor_id"]["value"])
        return executor

    def _group_problem(self, executor: Json, tasks: list[Json]) -> str | None:
        if not tasks:
            return "Task group cannot be empty"
        problem = executor_problem(executor)
        if problem:
            return problem
        left, taken = self.left, set(self.framework.tasks)
        if self._executor_key(executor) not in self.agent.executors:
            needed = Resources.from_json(executor.get("resources", []))
            if not left.contains(needed):
                return f"Total resources {needed} required by the executor is more than available {left}"
            left -= needed
        for task in tasks:
            problem = self._problem(task, left=left, taken=taken, executor=executor)
            if problem:
                return f"Task '{task['task_id']['value']}' is invalid: {problem}"
            taken.add(task["task_id"]["value"])
            left -= Resources.from_json(task["resources"])
        return None

    def _problem(
        self,
        info: Json,
        *,
        left: Resources | None = None,
        taken: Iterable[str] | None = None,
        executor: Json | None = None,
        executor_known: bool = False,
    ) -> str | None:
        return task_problem(
            info,
            agent_id=self.agent.agent_id,
            task_ids=self.framework.tasks if taken is None else set(taken),
            available=self.left if left is None else left,
            roles=(self.role,),
            executor=executor,
            executor_known=executor_known,
        )

    def _add_task(self, info: Json, executor_id: str | None = None) -> None:
        task = Task.launched(info, self.framework.framework_id, self.role, executor_id)
        self.left -= task.resources
        self.cluster.add_task(self.framework, self.agent, task)

    def _add_executor(self, executor: Json) -> None:
        self.left -= Resources.from_json(executor.get("resources", []))
        self.cluster.add_executor(self.framework, self.agent, executor, self.role)

    def _executor_key(self, executor: Json) -> tuple[str, str]:
        return self.framework.framework_id, executor["executor_id"]["value"]

    def _tell_error(self, info: Json, reason: str, problem: str) -> None:
        status = master_status(
            info["task_id"]["value"], "TASK_ERROR", reason, problem, agent_id=info["agent_id"]["value"]
        )
        self.framework.send_status(status)

    # Other operations

    def _convert(self, operation: Json) -> None:
        principal = self.framework.info.get("principal")
        try:
            change = conversion(operation, available=self.left, role=self.role, principal=principal)
        except OperationError as error:
            where = f"on agent {self.agent.agent_id} at {self.agent.pid} ({self.agent.info['hostname']})"
            _tell_operation(self.framework, operation, "OPERATION_ERROR", f"{error}; {where}")
            return
        self.left = self.left - change.consumed + change.made
        self.agent.total = self.agent.total - change.consumed + change.made
        self.cluster.allocator.convert(self.agent.agent_id, self.agent.total)
        self.cluster.remember_agent(self.agent)
        for volume in operation.get("destroy", {}).get("volumes", []):
            self.agent.agent.destroy_volume(volume["disk"]["persistence"]["id"])
        self._tell_finished(operation)

    def _tell_finished(self, operation: Json) -> None:
        if "id" in operation:
            status: Json = {
                "operation_id": operation["id"],
                "state": "OPERATION_FINISHED",
                "uuid": {"value": base64.b64encode(uuid.uuid4().bytes).decode()},
                "agent_id": {"value": self.agent.agent_id},
            }
            self.framework.operations[operation["id"]["value"]] = status
            self.framework.send({"type": "UPDATE_OPERATION_STATUS", "update_operation_status": {"status": status}})
