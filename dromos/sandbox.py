"""Where a task runs: its agent, its container and its sandbox, looked up through the API, the master and the agent."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests

from dromos.api import Api, Json, app_path, pod_path
from dromos.definitions import absolute
from dromos.errors import CommandError, NotReachableError

AGENT_TIMEOUT = 10.0


class MissingError(CommandError):
    """404: the agent does not have it."""


@dataclass(frozen=True)
class Place:
    """A task, and the agent that has it: `agent_url` is http://HOST:PORT/slave(1)."""

    task_id: str
    agent_url: str
    directory: str  # the sandbox
    container: Json  # v1 ContainerID, {} while the agent has not told it

    @property
    def label(self) -> str:
        return short(self.task_id)


def short(task_id: str) -> str:
    """What tells the tasks of an app apart: `shop_web.instance-c0ffee00-….web.1` -> `c0ffee00`, `c0ffee00.web` in a pod."""
    _, found, rest = task_id.partition(".instance-")
    if not found:
        return task_id
    unique, _, container = rest.partition(".")
    name = container.rpartition(".")[0] or container
    return unique.split("-")[0] + ("" if name in ("_app", "") else f".{name}")


def tasks_of(api: Api, name: str, *, must_exist: bool = True) -> list[tuple[str, str]]:
    """(task id, agent id) of an app's or a pod's tasks, or of the one task or instance that is called so; oldest first.

    Raises CommandError where nothing is.
    """
    body = api.get_or_none(app_path(name) + "/tasks")
    if body is not None:
        found = _pairs(body["tasks"])
    elif (status := api.get_or_none(pod_path(name) + "::status")) is not None:
        found = _containers(status)
    else:
        found = _named(api, name)
        if not found and must_exist:
            raise CommandError(f"no app, pod or running task is called {name}; see `dromos tasks`")
    if not found and must_exist:
        raise CommandError(f"{absolute(name)} has no running task; see `dromos queue` for why")
    return found


def last_failure(api: Api, name: str) -> Json | None:
    """The last task of an app that failed, as Marathon's TaskFailure; None where none has, or its agent is not known."""
    body = api.get_or_none(app_path(name), embed="app.lastTaskFailure")
    failure: Json = (body or {}).get("app", {}).get("lastTaskFailure") or {}
    return failure if failure.get("taskId") and failure.get("slaveId") else None


def _pairs(tasks: list[Json]) -> list[tuple[str, str]]:
    tasks = sorted(tasks, key=lambda task: str(task.get("stagedAt") or task["id"]))
    return [(str(task["id"]), str(task["slaveId"])) for task in tasks if task.get("slaveId")]


def _containers(status: Json) -> list[tuple[str, str]]:
    return [
        (str(container["containerId"]), str(instance["agentId"]))
        for instance in status.get("instances") or []
        for container in instance.get("containers") or []
        if instance.get("agentId") and container.get("containerId")
    ]


def _named(api: Api, name: str) -> list[tuple[str, str]]:
    """By a task's id, an instance's id, or the short form that `logs` prints."""
    every = _pairs(api.get("/v2/tasks")["tasks"])
    for status in api.get_or_none("/v2/pods::status") or []:
        every += _containers(status)
    exact = [pair for pair in every if pair[0] == name or pair[0].startswith(f"{name}.")]
    return exact or [pair for pair in every if short(pair[0]) == name]


def find_place(api: Api, task_id: str, agent_id: str) -> Place | None:
    """None while the agent has not made the sandbox yet."""
    agent_url = _agent_url(api, agent_id)
    for framework in (state := agent_get(f"{agent_url}/state")).get("frameworks", []) + state.get(
        "completed_frameworks", []
    ):
        for executor in [*framework.get("executors", []), *framework.get("completed_executors", [])]:
            held = [*executor.get("tasks", []), *executor.get("queued_tasks", []), *executor.get("completed_tasks", [])]
            task = next((item for item in held if item.get("id") == task_id), None)
            if task is not None:
                # A task group's executor has a sandbox of its own, and its tasks theirs below it.
                inner = f"/tasks/{task_id}" if executor.get("type") == "DEFAULT" else ""
                return Place(task_id, agent_url, executor["directory"] + inner, _container_of(task, executor))
    return None


def _container_of(task: Json, executor: Json) -> Json:
    for status in reversed(task.get("statuses") or []):
        told: Json = (status.get("container_status") or {}).get("container_id") or {}
        if told:
            return told
    grouped = executor.get("type") == "DEFAULT"
    return {"value": executor["container"]} if executor.get("container") and not grouped else {}


def _agent_url(api: Api, agent_id: str) -> str:
    """From the pid that the master knows."""
    config = api.get("/v2/info").get("marathon_config", {})
    master = str(config.get("mesos_leader_ui_url") or config.get("master"))
    address = urlsplit(master if "//" in master else f"//{master}").netloc
    for agent in agent_get(f"http://{address}/slaves").get("slaves", []):
        if agent["id"] == agent_id:
            name, _, where = str(agent["pid"]).partition("@")
            return f"http://{where}/{name}"
    raise CommandError(f"agent {agent_id} is not registered with the master at {address}: it cannot be asked now")


def agent_get(url: str) -> Any:
    try:
        response = requests.get(url, timeout=AGENT_TIMEOUT)
    except requests.RequestException as error:
        raise NotReachableError(f"{url} does not answer: {error}") from None
    return _json(url, response)


def agent_call(agent_url: str, kind: str, content: Json) -> Json:
    """A call of the agent's v1 API; the content of its answer. Raises NotReachableError, CommandError."""
    url = f"{agent_url}/api/v1"
    try:
        response = requests.post(url, json={"type": kind, kind.lower(): content}, timeout=AGENT_TIMEOUT)
    except requests.RequestException as error:
        raise NotReachableError(f"{url} does not answer: {error}") from None
    answer = _json(url, response) or {}
    found: Json = answer.get(kind.lower(), {})
    return found


def _json(url: str, response: requests.Response) -> Any:
    if not response.ok:
        kind = MissingError if response.status_code == 404 else CommandError
        raise kind(f"{url}: {response.status_code} {response.text.strip()[:200]}")
    return response.json() if response.content else None
