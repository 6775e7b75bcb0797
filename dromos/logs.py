"""`dromos logs`: what tasks wrote to stdout and stderr, read from the sandbox through the Mesos agent."""

import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import click
import requests

from dromos.api import Api, Json, app_path
from dromos.context import Context, pass_context
from dromos.errors import CommandError, NotReachableError

CHUNK = 64 * 1024
POLL_SECONDS = 0.5


@dataclass
class LogFile:
    """One file of one sandbox, read forward from `offset`."""

    agent_url: str
    path: str
    label: str
    offset: int = 0
    _rest: str = field(default="", init=False)

    def size(self) -> int:
        return int(_get(f"{self.agent_url}/files/read", path=self.path, offset=-1)["offset"])

    def read_lines(self, *, to_the_end: bool = False) -> list[str]:
        """The complete lines that have come since the last call; with `to_the_end` also a last one without its newline."""
        text = self._rest
        while True:
            data = str(_get(f"{self.agent_url}/files/read", path=self.path, offset=self.offset, length=CHUNK)["data"])
            self.offset += len(data.encode())
            text += data
            if len(data.encode()) < CHUNK // 2:
                break
        lines = text.split("\n")
        self._rest = lines.pop()
        if to_the_end and self._rest:
            lines.append(self._rest)
            self._rest = ""
        return lines


@click.command()
@click.argument("app_or_task")
@click.option("-f", "--follow", is_flag=True, help="go on until interrupted, new instances included")
@click.option("--stderr", "stream", flag_value="stderr", help="stderr instead of stdout")
@click.option("--stdout", "stream", flag_value="stdout", default="stdout", hidden=True)
@click.option(
    "-n", "--tail", default=100, show_default=True, type=click.IntRange(min=0), help="how many lines of the past"
)
@pass_context
def logs(context: Context, app_or_task: str, follow: bool, stream: str, tail: int) -> None:
    """The output of an app's tasks, or of one task."""
    stream = stream or "stdout"
    files: dict[str, LogFile] = {}
    first = True
    while True:
        for task in _tasks_of(context.api, app_or_task, must_exist=first):
            if task["id"] not in files:
                found = _log_file(context.api, task, stream)
                if found:
                    files[task["id"]] = found
                    _print(
                        found, found.read_lines(to_the_end=not follow)[-tail:] if tail else _skip(found), len(files) > 1
                    )
        first = False
        if not follow:
            return
        time.sleep(POLL_SECONDS)
        for file in list(files.values()):
            try:
                _print(file, file.read_lines(), len(files) > 1)
            except CommandError:  # the sandbox is gone with its task
                files = {task: other for task, other in files.items() if other is not file}


def _skip(file: LogFile) -> list[str]:
    file.offset = file.size()
    return []


def _print(file: LogFile, lines: list[str], labelled: bool) -> None:
    for line in lines:
        click.echo(f"{click.style(file.label, fg='cyan')} {line}" if labelled else line)


def _tasks_of(api: Api, app_or_task: str, *, must_exist: bool) -> list[Json]:
    body = api.get_or_none(app_path(app_or_task) + "/tasks")
    found: list[Json] = body["tasks"] if body is not None else []
    if body is None:
        found = [task for task in api.get("/v2/tasks")["tasks"] if task["id"] == app_or_task]
        if not found and must_exist:
            raise CommandError(f"no app and no running task is called {app_or_task}; see `dromos tasks`")
    elif not found and must_exist:
        raise CommandError(f"{app_or_task} has no running task; see `dromos queue` for why")
    return sorted(found, key=lambda task: str(task.get("stagedAt") or task["id"]))


def _log_file(api: Api, task: Json, stream: str) -> LogFile | None:
    """None while the agent has not made the sandbox yet."""
    agent_url = _agent_url(api, str(task["slaveId"]))
    state = _get(f"{agent_url}/state")
    for framework in [*state.get("frameworks", []), *state.get("completed_frameworks", [])]:
        for executor in [*framework.get("executors", []), *framework.get("completed_executors", [])]:
            held = [*executor.get("tasks", []), *executor.get("queued_tasks", []), *executor.get("completed_tasks", [])]
            if any(item.get("id") == task["id"] for item in held):
                return LogFile(agent_url, f"{executor['directory']}/{stream}", str(task["id"]).rsplit(".", 1)[0][-12:])
    return None


def _agent_url(api: Api, agent_id: str) -> str:
    """http://HOST:PORT/slave(1), from the pid that the master knows."""
    config = api.get("/v2/info").get("marathon_config", {})
    master = str(config.get("mesos_leader_ui_url") or config.get("master"))
    address = urlsplit(master if "//" in master else f"//{master}").netloc
    for agent in _get(f"http://{address}/slaves").get("slaves", []):
        if agent["id"] == agent_id:
            name, _, where = str(agent["pid"]).partition("@")
            return f"http://{where}/{name}"
    raise CommandError(f"agent {agent_id} is not registered with the master at {address}: its logs cannot be read now")


def _get(url: str, **params: object) -> Any:
    try:
        response = requests.get(url, params={key: str(value) for key, value in params.items()}, timeout=10)
    except requests.RequestException as error:
        raise NotReachableError(f"{url} does not answer: {error}") from None
    if not response.ok:
        raise CommandError(f"{url}: {response.status_code} {response.text.strip()[:200]}")
    return response.json()
