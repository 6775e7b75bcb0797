"""What the master knows, in the two forms that it is read: v1 messages, and the older short form of /state."""

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from embedded.mesos.records import AgentRecord, Framework, Task
from embedded.mesos.resources import Resources, show_ranges, summary

if TYPE_CHECKING:
    from embedded.mesos.cluster import Cluster

Json = dict[str, Any]

VERSION = "1.11.0"  # of the Mesos whose behaviour this is
BUILT, BUILD_TIME = "2020-11-24 15:38:37", 1606232317.0
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


# The master itself


def version() -> Json:
    """v1 VersionInfo"""
    return {"version": VERSION, "build_date": BUILT, "build_time": BUILD_TIME, "build_user": "dromos"}


def master_info(cluster: "Cluster") -> Json:
    """v1 MasterInfo"""
    return {
        "id": cluster.master_id,
        "ip": _ip_number(cluster.host),
        "port": cluster.port,
        "pid": cluster.pid,
        "hostname": cluster.host,
        "version": VERSION,
        "address": {"hostname": cluster.host, "ip": cluster.host, "port": cluster.port},
        "capabilities": [{"type": "AGENT_UPDATE"}, {"type": "AGENT_DRAINING"}],
    }


def flags(cluster: "Cluster") -> dict[str, str]:
    """By Mesos's names and in its units."""
    settings = cluster.settings
    return {
        "agent_ping_timeout": _duration(settings.agent_ping_timeout),
        "agent_reregister_timeout": _duration(settings.agent_reregister_timeout),
        "allocation_interval": _duration(settings.allocation_interval),
        "allocator": "hierarchical",
        "authenticate_agents": "false",
        "authenticate_frameworks": "false",
        "authenticate_http_frameworks": "false",
        "authenticate_http_readonly": "false",
        "authenticate_http_readwrite": "false",
        "hostname": cluster.host,
        "ip": cluster.host,
        "max_agent_ping_timeouts": str(settings.max_agent_ping_timeouts),
        "max_completed_frameworks": str(settings.max_completed_frameworks),
        "max_completed_tasks_per_framework": str(settings.max_completed_tasks_per_framework),
        "max_operator_event_stream_subscribers": str(settings.max_operator_streams),
        "max_unreachable_tasks_per_framework": str(settings.max_unreachable_tasks_per_framework),
        "min_allocatable_resources": "cpus:0.01|mem:32",
        "port": str(cluster.port),
        "registry": "in_memory",
        "root_submissions": "true",
        "work_dir": str(settings.state_dir),
    }


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hrs", 3600), ("mins", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds:g}secs" if seconds >= 1 else f"{seconds * 1000:g}ms"


def _ip_number(host: str) -> int:
    """An IPv4 address as MasterInfo has it: the bytes in network order, read as a little-endian number."""
    parts = host.split(".")
    if len(parts) != 4 or not all(part.isdigit() for part in parts):
        return 0
    return sum(int(part) << (8 * i) for i, part in enumerate(parts))


# v1


def framework(cluster: "Cluster", framework: Framework) -> Json:
    """v1 GetFrameworks.Framework"""
    shown: Json = {
        "framework_info": framework.info,
        "active": framework.connected,
        "connected": framework.connected,
        "recovered": framework.recovered,
        "registered_time": _nanoseconds(framework.registered_time),
        "reregistered_time": _nanoseconds(framework.reregistered_time or framework.registered_time),
        "offers": [cluster.offer_json(offer) for offer in framework.offers.values()],
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
        "active": not agent.deactivated,
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
        shown["estimated_drain_start_time"] = _nanoseconds(agent.drain_started)
    return shown


def tasks(cluster: "Cluster") -> Json:
    """v1 GetTasks"""
    living, completed, unreachable = [], [], []
    for framework in all_frameworks(cluster):
        living += [task.to_json() for task in framework.tasks.values()]
        unreachable += [task.to_json() for task in framework.unreachable_tasks.values()]
        completed += [task.to_json() for task in framework.completed_tasks]
    return {"tasks": living, "unreachable_tasks": unreachable, "completed_tasks": completed}


def executors(cluster: "Cluster") -> Json:
    """v1 GetExecutors"""
    return {
        "executors": [
            {"executor_info": executor, "agent_id": {"value": agent.agent_id}}
            for agent in cluster.agents.values()
            for executor, _, _ in agent.executors.values()
        ]
    }


def frameworks(cluster: "Cluster") -> Json:
    """v1 GetFrameworks"""
    return {
        "frameworks": [framework(cluster, each) for each in cluster.frameworks.values()],
        "completed_frameworks": [framework(cluster, each) for each in cluster.completed_frameworks.values()],
    }


def agents(cluster: "Cluster") -> Json:
    """v1 GetAgents"""
    return {
        "agents": [agent(each) for each in cluster.agents.values()],
        "recovered_agents": [{"id": {"value": agent_id}} for agent_id in cluster.recovered_agents],
    }


def state(cluster: "Cluster") -> Json:
    """v1 GetState"""
    return {
        "get_tasks": tasks(cluster),
        "get_executors": executors(cluster),
        "get_frameworks": frameworks(cluster),
        "get_agents": agents(cluster),
    }


def all_frameworks(cluster: "Cluster") -> list[Framework]:
    return [*cluster.frameworks.values(), *cluster.completed_frameworks.values()]


def roles(cluster: "Cluster") -> list[Json]:
    """v1 Role"""
    return [
        {
            "name": role,
            "weight": 1.0,
            "frameworks": [{"value": framework.framework_id} for framework in members],
            "resources": total(part for f in members for part in _parts_of(f, role)).to_json(),
        }
        for role, members in _members(cluster).items()
    ]


def _members(cluster: "Cluster") -> dict[str, list[Framework]]:
    """Role -> the frameworks that subscribe for it or still hold something of it."""
    members: dict[str, list[Framework]] = {}
    for each in cluster.frameworks.values():
        for role in dict.fromkeys([*each.roles, *(task.role for task in each.tasks.values())]):
            members.setdefault(role, []).append(each)
    return members


def _parts_of(framework: Framework, role: str) -> Iterable[Resources]:
    yield from (resources for held_by, resources in task_resources(framework) if held_by == role)
    yield from (offer.resources for offer in framework.offers.values() if offer.role == role)


# /state and its kin


def short_roles(cluster: "Cluster") -> list[Json]:
    shown = []
    for role, members in _members(cluster).items():
        allocated = total(part for f in members for held_by, part in task_resources(f) if held_by == role)
        offers = total(offer.resources for f in members for offer in f.offers.values() if offer.role == role)
        shown.append(
            {
                "name": role,
                "weight": 1.0,
                "quota": {"role": role, "guarantee": {}, "limit": {}, "consumed": _quantities(allocated)},
                "resources": _quantities(allocated + offers),
                "allocated": _quantities(allocated),
                "offered": _quantities(offers),
                "reserved": _quantities(
                    total(a.total.by_role().get(role, Resources()) for a in cluster.agents.values())
                ),
                "frameworks": [framework.framework_id for framework in members],
            }
        )
    return shown


def _quantities(resources: Resources) -> Json:
    return {name: amount / 1000 for name, amount in resources.quantities().items()}


def state_summary(cluster: "Cluster") -> Json:
    """Agents and frameworks with their number of tasks in each state."""
    by_agent: dict[str, Counter[str]] = {}
    by_framework: dict[str, Counter[str]] = {}
    frameworks_of: dict[str, dict[str, None]] = {}
    for each in cluster.frameworks.values():
        for task in [*each.tasks.values(), *each.unreachable_tasks.values(), *each.completed_tasks]:
            by_agent.setdefault(task.agent_id, Counter())[task.state] += 1
            by_framework.setdefault(each.framework_id, Counter())[task.state] += 1
            frameworks_of.setdefault(task.agent_id, {})[each.framework_id] = None
    return {
        "hostname": cluster.host,
        "cluster": "",
        "slaves": [
            short_agent(agent)
            | _counts(by_agent.get(agent.agent_id))
            | {"framework_ids": list(frameworks_of.get(agent.agent_id, {}))}
            for agent in cluster.agents.values()
        ],
        "frameworks": [
            short_framework_head(each)
            | _counts(by_framework.get(each.framework_id))
            | {"slave_ids": [agent for agent, found in frameworks_of.items() if each.framework_id in found]}
            for each in cluster.frameworks.values()
        ],
    }


def _counts(counter: Counter[str] | None) -> Json:
    return {state: (counter or Counter())[state] for state in SUMMARY_STATES}


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
        "active": not agent.deactivated,
        "deactivated": agent.deactivated,
        "version": VERSION,
        "capabilities": list(AGENT_CAPABILITIES),
    }
    if agent.reregistered_time:
        shown["reregistered_time"] = agent.reregistered_time
    if agent.drain:
        shown["drain_info"] = agent.drain
        shown["estimated_drain_start_time_seconds"] = agent.drain_started
    return shown


def full_agent(agent: AgentRecord) -> Json:
    """As /slaves has it: with whole Resource objects besides the short ones."""
    by_role = agent.total.by_role()
    return short_agent(agent) | {
        "reserved_resources_full": {
            role: [old | new for old, new in zip(part.to_json(), part.to_json(refined=True), strict=True)]
            for role, part in by_role.items()
            if role != "*"
        },
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
