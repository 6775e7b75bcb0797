"""`/v2/tasks/{id}/files`: what a task wrote, read from its sandbox through the agent. Paths are relative to the sandbox."""

from collections import OrderedDict
from pathlib import PurePosixPath
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from framework.api.context import api_of, identity_of, json_response
from framework.api.endpoints.agents import registered
from framework.api.errors import BadRequestError, ForbiddenError, NotFoundError, UnavailableError
from framework.api.neighbours import Json, Neighbours, Refused, agent_address, neighbours_of
from framework.model import path_id

AGENT = "The Mesos agent"
MOST_READ = 64 * 1024  # bytes in one answer, which is also the most that Mesos gives
_MOST_REMEMBERED = 2048
# A file of a task is data, whatever it says it is.
_DOWNLOAD = {"Content-Security-Policy": "sandbox; default-src 'none'", "X-Content-Type-Options": "nosniff"}

# (task id, framework id) -> (origin of the agent, directory): a sandbox never moves.
_remembered: OrderedDict[tuple[str, str], tuple[str, str]] = OrderedDict()


async def list_files(request: Request) -> Response:
    """The entries of a directory of the sandbox: the whole of it is `path=` or none."""
    origin, directory, path = await _wanted(request)
    entries = await _ask(request, f"{origin}/files/browse", path=_joined(directory, path))
    return json_response({"files": [_entry(entry, directory) for entry in entries]})


async def read_file(request: Request) -> Response:
    """`{"data", "offset"}` as Mesos has it; `offset=-1` asks for the size."""
    origin, directory, path = await _wanted(request)
    offset, length = _number(request, "offset", 0, least=-1), _number(request, "length", MOST_READ, least=0)
    where = {"path": _joined(directory, path), "offset": offset, "length": min(length, MOST_READ)}
    return json_response(await _ask(request, f"{origin}/files/read", **where))


async def download_file(request: Request) -> Response:
    origin, directory, path = await _wanted(request)
    neighbours = neighbours_of(request)
    try:
        body = await neighbours.read(AGENT, f"{origin}/files/download", path=_joined(directory, path))
    except Refused as refusal:
        raise _gone(refusal, path) from None
    name = "".join(c if c.isalnum() or c in ".-_" else "_" for c in PurePosixPath(path).name)
    headers = {**_DOWNLOAD, "Content-Disposition": f'attachment; filename="{name or "file"}"'}
    return Response(body, headers=headers, media_type="application/octet-stream")


async def _wanted(request: Request) -> tuple[str, str, str]:
    """(origin of the agent, directory of the sandbox, path in it)."""
    path = request.query_params.get("path", "")
    parts = path.split("/")
    if ".." in parts or "\0" in path or path.startswith("/"):
        raise BadRequestError("path is relative to the sandbox, without `..`")
    task_id = request.path_params["task_id"]
    origin, directory = await _sandbox(request, task_id)
    return origin, directory, "/".join(part for part in parts if part)


async def _sandbox(request: Request, task_id: str) -> tuple[str, str]:
    view = api_of(request).view
    instance = view.instance_of_task(task_id)
    framework_id = view.framework.id or ""
    spec_id = instance.spec_id if instance is not None else app_in(task_id)
    if not identity_of(request).may("view", spec_id):
        raise ForbiddenError("Not Authorized to perform this action!")
    key = (task_id, framework_id)
    if key not in _remembered:
        agent_id = instance.agent.id if instance is not None else request.query_params.get("agent")
        _remembered[key] = await _search(neighbours_of(request), task_id, framework_id, agent_id)
        if len(_remembered) > _MOST_REMEMBERED:
            _remembered.popitem(last=False)
    return _remembered[key]


def app_in(task_id: str) -> str:
    """The app that a task belonged to: `shop_web.instance-….1` is of /shop/web."""
    name, found, _ = task_id.rpartition(".instance-")
    return path_id.canonical((name if found else task_id.rpartition(".")[0] or task_id).replace("_", "/"))


async def _search(neighbours: Neighbours, task_id: str, framework_id: str, agent_id: str | None) -> tuple[str, str]:
    for agent in await registered(neighbours):
        if agent["id"] != agent_id:
            continue
        origin, own = agent_address(str(agent["pid"]))
        try:
            state = await neighbours.json(AGENT, f"{own}/state")
        except Refused as refusal:
            raise UnavailableError(f"{AGENT} says: {refusal}") from None
        directory = directory_in(state, task_id, framework_id)
        if directory is not None:
            return origin, directory
    raise NotFoundError(f"The sandbox of task '{task_id}' is not there: not yet, not any more, or its agent is away")


def directory_in(state: Json, task_id: str, framework_id: str) -> str | None:
    """Where an agent's state says that the sandbox of a task of this framework is."""
    for framework in [*state.get("frameworks", []), *state.get("completed_frameworks", [])]:
        if framework.get("id") != framework_id:
            continue
        for executor in [*framework.get("executors", []), *framework.get("completed_executors", [])]:
            held = [task for kind in ("tasks", "queued_tasks", "completed_tasks") for task in executor.get(kind, [])]
            if any(task.get("id") == task_id for task in held):
                directory = str(executor["directory"])
                return f"{directory}/tasks/{task_id}" if executor.get("type") == "DEFAULT" else directory
    return None


def _joined(directory: str, path: str) -> str:
    return f"{directory}/{path}" if path else directory


def _entry(entry: Json, directory: str) -> Json:
    path = str(entry["path"]).removeprefix(directory).lstrip("/")
    mode = str(entry.get("mode", ""))
    return {
        "path": path,
        "name": PurePosixPath(path).name,
        "size": entry.get("size", 0),
        "modifiedAt": entry.get("mtime", 0),
        "mode": mode,
        "directory": mode.startswith("d"),
    }


async def _ask(request: Request, url: str, **params: object) -> Any:
    try:
        return await neighbours_of(request).json(AGENT, url, **params)
    except Refused as refusal:
        raise _gone(refusal, str(params["path"])) from None


def _gone(refusal: Refused, path: str) -> NotFoundError | BadRequestError:
    if refusal.status == 404:
        return NotFoundError(f"There is no file '{PurePosixPath(path).name}' in the sandbox")
    return BadRequestError(f"{AGENT} says: {refusal}")


def _number(request: Request, name: str, default: int, *, least: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if not least <= number < 2**62:
        raise BadRequestError(f"{name} is a whole number, at least {least}")
    return number
