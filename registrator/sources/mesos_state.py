"""PURE: what a Mesos master says, in the shapes of its v1 operator API, as a copy that events keep up to date.

`/state` of older masters is translated to the same shapes first. Facts of the wire are those of Apache Mesos 1.11.0.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from registrator.errors import SourceError
from registrator.model import Health, HealthCheck, Instance, Look, Phase, Port
from registrator.sources.base import Remembered

Json = dict[str, Any]

# States that a task never leaves. LOST, UNREACHABLE and ERROR are not among them: a lost task may come back, and an ERROR may be
# the answer to a second launch under an id whose first task goes on running.
FINAL = frozenset(f"TASK_{state}" for state in ("FINISHED", "FAILED", "KILLED", "DROPPED", "GONE", "GONE_BY_OPERATOR"))
_PHASES = {
    "TASK_STAGING": Phase.STARTING,
    "TASK_STARTING": Phase.STARTING,
    "TASK_RUNNING": Phase.RUNNING,
    "TASK_KILLING": Phase.RUNNING,
    "TASK_UNREACHABLE": Phase.UNREACHABLE,
}
_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_MARATHON_TASK = re.compile(rf"^(?P<app>.+)\.(?:instance-|marathon-)?{_UUID}(?:\.[^.]+)?(?:\.\d+)?$")
_MOST_PORTS = 64  # of a task that declares none and holds a range of port resources


class MesosState:
    """The tasks, agents and frameworks of one cluster. `most_ended` bounds how many ended tasks are remembered."""

    def __init__(self, state: Json, *, most_ended: int, of_agent: bool = False) -> None:
        """`state` is the body of GET_STATE; an agent's (`of_agent`) is complete whatever is in it. Raises SourceError if it is not."""
        self._of_agent = of_agent
        self._agents: dict[str, Json] = {}
        self._tasks: dict[str, Json] = {}
        self._frameworks: dict[str, bool] = {}
        self._instances: dict[str, Instance | None] = {}
        self._ended = Remembered(most_ended)
        try:
            self._recovered = {_id(agent, "id") for agent in state["get_agents"].get("recovered_agents", [])}
            for agent in state["get_agents"].get("agents", []):
                self._agents[_id(agent["agent_info"], "id")] = agent
            for framework in state["get_frameworks"].get("frameworks", []):
                self._framework(framework)
            tasks = state["get_tasks"]
            for task in tasks.get("unreachable_tasks", []):
                self._add({**task, "state": "TASK_UNREACHABLE"})
            for task in tasks.get("completed_tasks", []):
                if task.get("state") in FINAL:
                    self._ended.add(_id(task, "task_id"))
            for task in tasks.get("tasks", []):
                self._add(task)
        except (KeyError, TypeError, AttributeError) as error:
            raise SourceError(f"the master's answer is not a state: {error!r}") from None

    def apply(self, event: Json) -> bool:
        """One event of the operator stream; True if it may have changed what runs. Unknown events are passed over."""
        try:
            return self._apply(event)
        except (KeyError, TypeError, AttributeError) as error:
            raise SourceError(f"an event of the master that cannot be read: {error!r}") from None

    def look(self) -> Look:
        for key, known in self._instances.items():
            if known is None:
                self._instances[key] = readable_instance(self._tasks[key], self._agents)
        why_incomplete = self._why_incomplete()
        return Look(
            instances={key: found for key, found in self._instances.items() if found},
            ended=self._ended.frozen(),
            complete=not why_incomplete,
            why_incomplete=why_incomplete,
            frameworks=frozenset(id for id, connected in self._frameworks.items() if connected),
        )

    def _why_incomplete(self) -> str:
        if self._of_agent:
            return ""
        if self._recovered:
            return f"{len(self._recovered)} agents have not come back to the master yet"
        if not self._agents:
            return "no agent is registered with the master"
        if not self._instances and not any(self._frameworks.values()):
            return "no task runs, and no framework is connected that would start any"
        return ""

    def _apply(self, event: Json) -> bool:
        match event["type"]:
            case "TASK_ADDED":
                self._add(event["task_added"]["task"])
            case "TASK_UPDATED":
                return self._update(event["task_updated"])
            case "AGENT_ADDED":
                agent = event["agent_added"]["agent"]
                id = _id(agent["agent_info"], "id")
                self._agents[id] = agent
                self._recovered.discard(id)
                for key, task in self._tasks.items():
                    if _id(task, "agent_id") == id:
                        self._instances[key] = None
            case "AGENT_REMOVED":
                # Its address stays known: its tasks may be unreachable, and served by it all the same.
                pass
            case "FRAMEWORK_ADDED":
                self._framework(event["framework_added"]["framework"])
            case "FRAMEWORK_UPDATED":
                self._framework(event["framework_updated"]["framework"])
            case "FRAMEWORK_REMOVED":
                self._frameworks.pop(_id(event["framework_removed"]["framework_info"], "id"), None)
            case _:
                return False
        return True

    def _framework(self, framework: Json) -> None:
        self._frameworks[_id(framework["framework_info"], "id")] = bool(framework.get("connected", True))

    def _add(self, task: Json) -> None:
        key = _id(task, "task_id")
        if task.get("state") in FINAL:
            self._end(key)
        elif key not in self._ended:
            self._tasks[key] = task
            self._instances[key] = None

    def _update(self, update: Json) -> bool:
        status = update["status"]
        key, state = _id(status, "task_id"), update.get("state") or status["state"]
        if state in FINAL:
            self._end(key)
            return True
        task = self._tasks.get(key)
        if task is None:
            return False
        before = (task.get("state"), self._instances[key] or readable_instance(task, self._agents))
        self._tasks[key] = {**task, "state": state, "statuses": [*task.get("statuses", []), status][-3:]}
        self._instances[key] = readable_instance(self._tasks[key], self._agents)
        return before != (state, self._instances[key])

    def _end(self, key: str) -> None:
        self._ended.add(key)
        self._tasks.pop(key, None)
        self._instances.pop(key, None)


def readable_instance(task: Json, agents: Mapping[str, Json]) -> Instance | None:
    """As `instance_of`; a task that cannot be read is one without ports, so that it neither comes nor goes because of that."""
    try:
        return instance_of(task, agents)
    except (KeyError, TypeError, AttributeError, ValueError):
        return Instance(key=_id(task, "task_id"), kind="task", framework=_id(task, "framework_id"))


def instance_of(task: Json, agents: Mapping[str, Json]) -> Instance | None:
    """A v1 Task; None where its state is none of a running task (TASK_LOST, TASK_ERROR, a state yet to be invented)."""
    phase = _PHASES.get(task.get("state", ""))
    if phase is None:
        return None
    key = _id(task, "task_id")
    agent = agents.get(_id(task, "agent_id"), {})
    checks = tuple(_health_checks(task.get("health_check")))
    return Instance(
        key=key,
        kind="task",
        app=app_id_of(key, task.get("discovery", {}).get("name", ""), task.get("name", "")),
        framework=_id(task, "framework_id"),
        phase=phase,
        health=_health(task),
        draining=task.get("state") == "TASK_KILLING",
        ports=tuple(_ports(task, agent_address(agent))),
        labels=labels_of(task),
        checks=checks,
        host=agent.get("agent_info", {}).get("hostname", ""),
        host_address=agent_address(agent),
    )


def app_id_of(task_id: str, discovery_name: str, task_name: str) -> str:
    """Where the discovery name is no app id, the task id may tell: Marathon's begins with it, `/` written as `_`."""
    if discovery_name.startswith("/"):
        return discovery_name
    if match := _MARATHON_TASK.match(task_id):
        return "/" + match["app"].replace("_", "/")
    return "/" + (discovery_name or task_name or task_id)


def agent_address(agent: Json) -> str:
    """The IP address in an agent's pid, `slave(1)@10.0.0.7:5051`, or its host name if that is one; else ""."""
    _, _, endpoint = str(agent.get("pid", "")).partition("@")
    for candidate in (endpoint.rpartition(":")[0].strip("[]"), str(agent.get("agent_info", {}).get("hostname", ""))):
        try:
            address = ipaddress.ip_address(candidate)
        except ValueError:
            continue
        if not address.is_unspecified:
            return str(address)
    return ""


def labels_of(holder: Json) -> Mapping[str, str]:
    """v1: `{labels: {labels: [{key, value}]}}`."""
    found = (holder.get("labels") or {}).get("labels", [])
    return {str(label["key"]): str(label.get("value", "")) for label in found}


def _id(holder: Json, name: str) -> str:
    return str((holder.get(name) or {}).get("value", ""))


def _health(task: Json) -> Health:
    for status in reversed(task.get("statuses", [])):
        if isinstance(status.get("healthy"), bool):
            return Health.HEALTHY if status["healthy"] else Health.UNHEALTHY
    return Health.UNKNOWN if task.get("health_check") else Health.UNCHECKED


def _health_checks(check: Json | None) -> Iterator[HealthCheck]:
    if not check:
        return
    common = HealthCheck(
        kind="command",
        interval=float(check.get("interval_seconds", 10.0)),
        timeout=float(check.get("timeout_seconds", 20.0)),
        failures=int(check.get("consecutive_failures", 3)),
    )
    if http := check.get("http"):
        kind = "https" if str(http.get("scheme", "")).lower() == "https" else "http"
        yield replace(common, kind=kind, path=str(http.get("path") or "/"), port=http.get("port"))  # type: ignore[arg-type]
    elif tcp := check.get("tcp"):
        yield replace(common, kind="tcp", port=tcp.get("port"))
    else:
        yield common


def _ports(task: Json, host_address: str) -> Iterator[Port]:
    ranges = list(_port_ranges(task.get("resources", [])))
    declared = (task.get("discovery", {}).get("ports") or {}).get("ports", [])
    if not declared:
        held = (number for begin, end in ranges for number in range(begin, end + 1))
        declared = [{"number": number} for number, _ in zip(held, range(_MOST_PORTS), strict=False)]
    mappings = {int(mapping["host_port"]): int(mapping["container_port"]) for mapping in _mappings(task)}
    own_address, own_network = _container_address(task), _has_own_network(task)
    indices: dict[int, int] = {}
    for port in declared:
        number = int(port.get("number", 0))
        if not 0 < number < 65536:
            continue
        common = Port(
            index=indices.setdefault(number, len(indices)),  # one port under two protocols counts once
            protocol="udp" if str(port.get("protocol", "")).lower() == "udp" else "tcp",
            name=str(port.get("name", "")),
            labels=labels_of(port),
            own_address=own_address,
        )
        published = number in mappings or any(begin <= number <= end for begin, end in ranges)
        if published or not own_network:
            own_port = mappings.get(number, None if own_network else number)
            yield replace(common, host_port=number, host_address=host_address, own_port=own_port)
        else:
            yield replace(common, own_port=number, own_reachable=True)


def _port_ranges(resources: Iterable[Json]) -> Iterator[tuple[int, int]]:
    for resource in resources:
        if resource.get("name") == "ports":
            for item in resource.get("ranges", {}).get("range", []):
                yield int(item["begin"]), int(item["end"])


def _mappings(task: Json) -> Iterator[Json]:
    container = task.get("container") or {}
    yield from container.get("docker", {}).get("port_mappings", [])
    for info in container.get("network_infos", []):
        yield from info.get("port_mappings", [])


def _has_own_network(task: Json) -> bool:
    """Whether its ports are others than the host's: a Docker bridge or network, or a CNI network."""
    container = task.get("container") or {}
    network = str(container.get("docker", {}).get("network", "HOST")).upper()
    return network not in ("HOST", "NONE") or any(info.get("name") for info in container.get("network_infos", []))


def _container_address(task: Json) -> str:
    for status in reversed(task.get("statuses", [])):
        for info in status.get("container_status", {}).get("network_infos", []):
            for address in info.get("ip_addresses", []):
                if address.get("ip_address"):
                    return str(address["ip_address"])
    return ""


def state_of_v0(state: Json) -> Json:
    """`/state` in the shape of GET_STATE. Raises SourceError if it is not one."""
    try:
        frameworks = state["frameworks"]
        return {
            "get_agents": {
                "agents": [
                    {"agent_info": {"id": {"value": slave["id"]}, "hostname": slave["hostname"]}, "pid": slave["pid"]}
                    for slave in state["slaves"]
                ],
                "recovered_agents": [{"id": {"value": slave["id"]}} for slave in state.get("recovered_slaves", [])],
            },
            "get_frameworks": {
                "frameworks": [
                    {"framework_info": {"id": {"value": item["id"]}}, "connected": item.get("connected", True)}
                    for item in frameworks
                ]
            },
            "get_tasks": {
                kind: [_v1_task(task) for framework in frameworks for task in framework.get(kind, [])]
                for kind in ("tasks", "completed_tasks", "unreachable_tasks")
            },
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise SourceError(f"the master's /state is not one: {error!r}") from None


def state_of_agent(state: Json) -> Json:
    """An agent's `/state` in the shape of GET_STATE. Raises SourceError if it is not one."""
    try:
        frameworks = [*state["frameworks"], *state.get("completed_frameworks", [])]
        executors = [
            executor
            for framework in frameworks
            for kind in ("executors", "completed_executors")
            for executor in framework.get(kind, [])
        ]
        agent = {"agent_info": {"id": {"value": state["id"]}, "hostname": state["hostname"]}, "pid": state["pid"]}
        return {
            "get_agents": {"agents": [agent]},
            "get_frameworks": {
                "frameworks": [{"framework_info": {"id": {"value": framework["id"]}}} for framework in frameworks]
            },
            "get_tasks": {
                kind: [_v1_task(task) for executor in executors for task in executor.get(kind, [])]
                for kind in ("tasks", "completed_tasks")
            },
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise SourceError(f"the agent's /state is not one: {error!r}") from None


def _v1_task(task: Json) -> Json:
    ranges = [
        dict(zip(("begin", "end"), map(int, item.split("-")), strict=True))
        for item in str(task.get("resources", {}).get("ports", "")).strip("[]").replace(" ", "").split(",")
        if item
    ]
    return {
        **task,
        "task_id": {"value": task["id"]},
        "agent_id": {"value": task["slave_id"]},
        "framework_id": {"value": task["framework_id"]},
        "labels": {"labels": task.get("labels", [])},
        "resources": [{"name": "ports", "ranges": {"range": ranges}}] if ranges else [],
    }
