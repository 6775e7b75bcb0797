"""The scheduler's calls other than SUBSCRIBE and ACCEPT, on a framework that is subscribed."""

from collections.abc import Iterable
from typing import Any

from embedded.mesos import reconcile as decide
from embedded.mesos.cluster import Cluster
from embedded.mesos.records import TERMINAL, AgentRecord, Framework

Json = dict[str, Any]


def decline(cluster: Cluster, framework: Framework, offer_ids: Iterable[str], refuse_seconds: float) -> None:
    for offer_id in offer_ids:
        offer = framework.offers.get(offer_id)
        if offer:
            cluster.counters["offers_declined"] += 1
            cluster.remove_offer(offer, refuse_seconds=refuse_seconds)


def suppress(cluster: Cluster, framework: Framework, roles: list[str]) -> None:
    """No more offers for these roles; for all of the framework's where none is named."""
    known = [role for role in roles if role in framework.roles]
    if known or not roles:
        cluster.allocator.suppress(framework.framework_id, known)


def revive(cluster: Cluster, framework: Framework, roles: list[str]) -> None:
    known = [role for role in roles if role in framework.roles]
    if known or not roles:
        cluster.allocator.revive(framework.framework_id, known)
        cluster.allocate_soon()


def acknowledge(cluster: Cluster, framework: Framework, content: Json) -> AgentRecord | None:
    """Passes it on; the agent whose task is over by it, if one is."""
    agent_id, task_id, uuid = content["agent_id"]["value"], content["task_id"]["value"], content["uuid"]
    agent = cluster.agents.get(agent_id)
    if not agent:
        cluster.counters["invalid_status_update_acknowledgements"] += 1
        return None
    cluster.counters["valid_status_update_acknowledgements"] += 1
    task = framework.tasks.get(task_id)
    over = task and task.update_uuid == uuid and task.update_state in TERMINAL and task.agent_id == agent_id
    if task and over:
        cluster.complete_task(framework, task)
    agent.agent.acknowledge(framework.framework_id, task_id, uuid)
    return agent if over else None


def kill(cluster: Cluster, framework: Framework, content: Json) -> None:
    """Of an unknown task the framework is told what reconciliation would tell."""
    task_id, agent_id = content["task_id"]["value"], content.get("agent_id", {}).get("value")
    task = framework.tasks.get(task_id)
    if task is None:
        reconcile(cluster, framework, [(task_id, agent_id)])
        return
    agent = cluster.agents.get(task.agent_id)
    if agent and agent_id in (None, task.agent_id):
        agent.agent.kill(framework.framework_id, task_id, content.get("kill_policy"))


def reconcile(cluster: Cluster, framework: Framework, asked: list[tuple[str, str | None]]) -> None:
    """Explicit where (task, agent) are named, else implicit: the latest state of each task."""
    if not asked:
        for task in framework.tasks.values():
            message = "Reconciliation: Latest task state"
            framework.send_status(decide.latest_status(task, "REASON_RECONCILIATION", message))
    for task_id, agent_id in asked:
        status = decide.answer(
            framework,
            task_id,
            agent_id,
            registered=cluster.agents,
            recovered=cluster.recovered_agents,
            unreachable=cluster.unreachable_agents,
            gone=cluster.gone_agents,
        )
        if status:
            framework.send_status(status)


def message(cluster: Cluster, framework: Framework, content: Json) -> None:
    agent = cluster.agents.get(content["agent_id"]["value"])
    if agent:
        agent.agent.message(framework.framework_id, content["executor_id"]["value"], content["data"])


def shut_down_executor(cluster: Cluster, framework: Framework, content: Json) -> None:
    """Kills the tasks of the executor, with which it ends."""
    agent = cluster.agents.get(content["agent_id"]["value"])
    executor_id = content["executor_id"]["value"]
    if agent:
        for (framework_id, task_id), task in list(agent.tasks.items()):
            if framework_id == framework.framework_id and executor_id in (task.executor_id, task_id):
                agent.agent.kill(framework_id, task_id, None)


def reconcile_operations(framework: Framework, content: Json) -> None:
    """Explicit where operations are named, else implicit. Those that were acknowledged are unknown."""
    named = [operation["operation_id"]["value"] for operation in content.get("operations", [])]
    for id in named or framework.operations:
        known = framework.operations.get(id, {"operation_id": {"value": id}, "state": "OPERATION_UNKNOWN"})
        status = {name: value for name, value in known.items() if name != "uuid"}
        framework.send({"type": "UPDATE_OPERATION_STATUS", "update_operation_status": {"status": status}})
