"""What the master knows, in the two forms that it is read: v1 messages, and the older short form of /state."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from embedded.mesos.records import AgentRecord, Framework, Task
from embedded.mesos.resources import Resources, show_ranges, summary

if TYPE_CHECKING:
    from embedded.mesos.master import Master

Json = dict[str, Any]

VERSION = "1.11.0"
AGENT_CAPABILITIES = ("MULTI_ROLE", "HIERARCHICAL_ROLE", "RESERVATION_REFINEMENT", "AGENT_DRAINING")
SUMMARY_STATES = (
    "TASK_STAGING",
    "TASK_STARTING",
    "TASK_RUNNING",
    "TASK_KILLING",
    "TASK_FINISHED",
    "TASK_KILLED",
    "TASK_FAILED",
    "TASK_LOST",
    "TASK_ERROR",
    "TASK_UNREACHABLE",
)


def total(parts: Iterable[Resources]) -> Resources:
    return sum(parts, Resources())


def held(framework: Framework) -> Resources:
    """What the framework's tasks use."""
    return total(task.resources for task in framework.tasks.values() if not task.terminal)


def offered(framework: Framework) -> Resources:
    return total(offer.resources for offer in framework.offers.values())


def _nanoseconds(seconds: float) -> Json:
    return {"nanoseconds": int(seconds * 1e9)}


# v1


def framework(master: "Master", framework: Framework) -> Json:
    """v1 GetFrameworks.Framework"""
    shown: Json = {
        "framework_info": framework.info,
        "active": framework.connected,
        "connected": framework.connected,
        "recovered": framework.recovered,
        "registered_time": _nanoseconds(framework.registered_time),
        "reregistered_time": _nanoseconds(framework.reregistered_time or framework.registered_time),
        "offers": [master.offer_json(offer) for offer in framework.offers.values()],
        "allocated_resources": _by_role(task_resources(framework)),
        "offered_resources": _by_role((offer.role, offer.resources) for offer in framework.offers.values()),
    }
    if framework.unregistered_time:
        shown["unregistered_time"] = _nanoseconds(framework.unregistered_time)
    return shown


def task_resources(framework: Framework) -> Iterable[tuple[str, Resources]]:
    return ((task.role, task.resources) for task in framework.tasks.values() if not task.terminal)


def _by_role(parts: Iterable[tuple[str, Resources]]) -> list[Json]:
    sums: dict[str, Resources] = {}
    for role, resources in parts:
        sums[role] = sums.get(role, Resources()) + resources
    return [item for role, resources in sums.items() for item in resources.to_json(allocated_to=role)]


def agent(agent: AgentRecord) -> Json:
    """v1 GetAgents.Agent"""
    shown: Json = {
        "agent_info": {**agent.info, "id": {"value": agent.agent_id}},
        "active": True,
        "deactivated": agent.deactivated,
        "version": VERSION,
        "pid": agent.pid,
        "registered_time": _nanoseconds(agent.registered_time),
        "total_resources": agent.total.to_json(),
        "allocated_resources": _by_role(
            (task.role, task.resources) for task in agent.tasks.values() if not task.terminal
        ),
        "offered_resources": _by_role((offer.role, offer.resources) for offer in agent.offers.values()),
        "capabilities": [{"type": name} for name in AGENT_CAPABILITIES],
    }
    if agent.reregistered_time:
        shown["reregistered_time"] = _nanoseconds(agent.reregistered_time)
    if agent.drain:
        shown["drain_info"] = agent.drain
        shown["estimated_drain_start_time"] = _nanoseconds(agent.registered_time)
    return shown


def tasks(master: "Master") -> Json:
    """v1 GetTasks"""
    living, completed, unreachable = [], [], []
    for framework in _all_frameworks(master):
        living += [task.to_json() for task in framework.tasks.values()]
        unreachable += [task.to_json() for task in framework.unreachable_tasks.values()]
        completed += [task.to_json() for task in framework.completed_tasks]
    return {"tasks": living, "unreachable_tasks": unreachable, "completed_tasks": completed}


def executors(master: "Master") -> Json:
    """v1 GetExecutors"""
    return {
        "executors": [
            {"executor_info": executor, "agent_id": {"value": agent.agent_id}}
            for agent in master.agents.values()
            for executor, _, _ in agent.executors.values()
        ]
    }


def frameworks(master: "Master") -> Json:
    """v1 GetFrameworks"""
    return {
        "frameworks": [framework(master, each) for each in master.frameworks.values()],
        "completed_frameworks": [framework(master, each) for each in master.completed_frameworks.values()],
    }


def agents(master: "Master") -> Json:
    """v1 GetAgents"""
    return {
        "agents": [agent(each) for each in master.agents.values()],
        "recovered_agents": [{"id": {"value": agent_id}} for agent_id in master.recovered_agents],
    }


def state(master: "Master") -> Json:
    """v1 GetState"""
    return {
        "get_tasks": tasks(master),
        "get_executors": executors(master),
        "get_frameworks": frameworks(master),
        "get_agents": agents(master),
    }


def _all_frameworks(master: "Master") -> list[Framework]:
    return [*master.frameworks.values(), *master.completed_frameworks.values()]


# /state and its kin


def short_attributes(attributes: list[Json]) -> Json:
    short: Json = {}
    for attribute in attributes:
        if attribute["type"] == "RANGES":
            short[attribute["name"]] = show_ranges(tuple((r["begin"], r["end"]) for r in attribute["ranges"]["range"]))
        else:
            short[attribute["name"]] = attribute[attribute["type"].lower()]["value"]
    return short


def short_agent(agent: AgentRecord) -> Json:
    by_role = agent.total.by_role()
    shown: Json = {
        "id": agent.agent_id,
        "hostname": agent.info["hostname"],
        "port": agent.info["port"],
        "attributes": short_attributes(agent.info.get("attributes", [])),
        "pid": agent.pid,
        "registered_time": agent.registered_time,
        "resources": summary(agent.total),
        "used_resources": summary(agent.used),
        "offered_resources": summary(agent.offered),
        "reserved_resources": {role: summary(part) for role, part in by_role.items() if role != "*"},
        "unreserved_resources": summary(by_role.get("*", Resources())),
        "active": True,
        "deactivated": agent.deactivated,
        "version": VERSION,
        "capabilities": list(AGENT_CAPABILITIES),
    }
    if agent.reregistered_time:
        shown["reregistered_time"] = agent.reregistered_time
    if agent.drain:
        shown["drain_info"] = agent.drain
    return shown


def full_agent(agent: AgentRecord) -> Json:
    """As /slaves has it: with whole Resource objects besides the short ones."""
    by_role = agent.total.by_role()
    return short_agent(agent) | {
        "reserved_resources_full": {role: part.to_json() for role, part in by_role.items() if role != "*"},
        "unreserved_resources_full": by_role.get("*", Resources()).to_json(),
        "used_resources_full": _by_role((t.role, t.resources) for t in agent.tasks.values() if not t.terminal),
        "offered_resources_full": _by_role((o.role, o.resources) for o in agent.offers.values()),
    }


def short_task(task: Task) -> Json:
    described = task.description
    shown: Json = {
        "id": task.task_id,
        "name": described.get("name", ""),
        "framework_id": task.framework_id,
        "executor_id": task.executor_id or "",
        "slave_id": task.agent_id,
        "state": task.state,
        "resources": summary(task.resources),
        "role": task.role,
        "statuses": [
            {k: status[k] for k in ("state", "timestamp", "labels", "container_status", "healthy") if k in status}
            for status in task.statuses
        ],
    }
    if "labels" in described:
        shown["labels"] = described["labels"].get("labels", [])
    for name in ("user", "discovery", "container", "health_check"):
        if name in described:
            shown[name] = described[name]
    return shown


def short_framework_head(framework: Framework) -> Json:
    """What /state-summary has of it, less the counts."""
    info = framework.info
    return {
        "id": framework.framework_id,
        "name": info["name"],
        "used_resources": summary(held(framework)),
        "offered_resources": summary(offered(framework)),
        "capabilities": framework.capabilities,
        "hostname": info.get("hostname", ""),
        "webui_url": info.get("webui_url", ""),
        "active": framework.connected,
        "connected": framework.connected,
        "recovered": framework.recovered,
    }


def short_framework(framework: Framework) -> Json:
    info = framework.info
    shown = short_framework_head(framework) | {
        "user": info["user"],
        "failover_timeout": info["failover_timeout"],
        "checkpoint": info["checkpoint"],
        "registered_time": framework.registered_time,
        "unregistered_time": framework.unregistered_time,
        "resources": summary(held(framework) + offered(framework)),
        "tasks": [short_task(task) for task in framework.tasks.values()],
        "unreachable_tasks": [short_task(task) for task in framework.unreachable_tasks.values()],
        "completed_tasks": [short_task(task) for task in framework.completed_tasks],
        "offers": [
            {
                "id": offer.offer_id,
                "framework_id": offer.framework_id,
                "allocation_info": {"role": offer.role},
                "slave_id": offer.agent_id,
                "resources": summary(offer.resources),
            }
            for offer in framework.offers.values()
        ],
        "executors": [],
    }
    if framework.is_capable_of("MULTI_ROLE"):
        shown["roles"] = framework.roles
    else:
        shown["role"] = framework.roles[0]
    if framework.reregistered_time:
        shown["reregistered_time"] = framework.reregistered_time
    if "principal" in info:
        shown["principal"] = info["principal"]
    if "labels" in info:
        shown["labels"] = info["labels"].get("labels", [])
    return shown
