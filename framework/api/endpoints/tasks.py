"""`/v2/tasks` and `/v2/apps/{id}/tasks`: what runs, and killing it."""

import re
from collections.abc import Callable, Iterable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from framework.api.answers.slices import named_list
from framework.api.answers.tasks import endpoints_text, is_running, is_staging
from framework.api.context import Api, api_of, deployed, flag, json_body, listed, raw_json, require, visible
from framework.api.endpoints.apps import apps_in_group, known_app
from framework.api.errors import BadRequestError, NotFoundError
from framework.api.forms import shapes
from framework.api.forms.type_check import check_types
from framework.engine.commands import Killed, KillInstances
from framework.model import path_id
from framework.model.instance import Instance

_TASK_ID = re.compile(r".+[._][^_.]+")
_STATUSES: dict[str, Callable[[Instance], bool]] = {"running": is_running, "staging": is_staging}


async def list_tasks(request: Request) -> Response:
    """`status` is running or staging, in any case; other words filter nothing, as in Marathon."""
    api = api_of(request)
    apps = visible(request, api.view.declared.apps)
    if wants_text(request):
        return PlainTextResponse(endpoints_text(apps, api.view))
    wanted = {status.lower() for status in (*listed(request, "status"), *listed(request, "status[]"))}
    tests = [test for status, test in _STATUSES.items() if status in wanted]
    found = [
        instance
        for app_id in sorted(apps)
        for instance in api.view.instances(app_id)
        if not tests or any(test(instance) for test in tests)
    ]
    return _listed(api, found)


async def list_app_tasks(request: Request) -> Response:
    """`{group}/*` lists those of all apps in the group."""
    api, asked = api_of(request), request.path_params["id"]
    if asked == "*" or asked.endswith("/*"):
        apps = apps_in_group(request, path_id.canonical(asked[:-1]))
        return _listed(api, [i for app in apps for i in api.view.instances(app.id)])
    app = known_app(request)
    if wants_text(request):
        return PlainTextResponse(endpoints_text({app.id: app}, api.view))
    return raw_json(b'{"tasks":' + api.tasks.list_of(app.id) + b"}")


async def show_app_task(request: Request) -> Response:
    return raw_json(b'{"task":' + api_of(request).tasks.bytes_of(_known_task(request)) + b"}")


async def delete_tasks(request: Request) -> Response:
    """POST `/v2/tasks/delete`."""
    api = api_of(request)
    ids = check_types(shapes.TaskIds, await json_body(request))["ids"]
    for task_id in ids:
        if not _TASK_ID.fullmatch(task_id):
            raise BadRequestError(f"Invalid task id '{task_id[:200]}'. Unable to extract the app id.")
    known = [instance for task_id in ids if (instance := _instance(api, task_id)) is not None]
    return await _kill(api, request, known)


async def delete_app_tasks(request: Request) -> Response:
    api = api_of(request)
    app, host = known_app(request), request.query_params.get("host")
    chosen = [i for i in api.view.instances(app.id) if host in (None, "*", i.agent.host)]
    return await _kill(api, request, chosen)


async def delete_app_task(request: Request) -> Response:
    return await _kill(api_of(request), request, [_known_task(request)], one=True)


async def _kill(api: Api, request: Request, instances: Iterable[Instance], *, one: bool = False) -> Response:
    scale, wipe = flag(request, "scale"), flag(request, "wipe")
    if scale and wipe:
        raise BadRequestError("You cannot use scale and wipe at the same time.")
    chosen = list(instances)
    require(request, "update", *(instance.spec_id for instance in chosen))
    ids = tuple(dict.fromkeys(instance.id for instance in chosen))
    killed = Killed(())
    if ids or scale:
        answer = await api.engine.execute(KillInstances(ids, scale=scale, wipe=wipe, force=flag(request, "force")))
        assert isinstance(answer, Killed)
        killed = answer
    if killed.deployment is not None:
        return deployed(killed.deployment)
    spelled = [api.tasks.bytes_of(instance) for instance in killed.instances]
    if one and spelled:
        return raw_json(b'{"task":' + spelled[0] + b"}")
    return raw_json(b'{"tasks":[' + b",".join(spelled) + b"]}")


def _known_task(request: Request) -> Instance:
    """The one of the path, if it is the app's."""
    app, task_id = known_app(request), request.path_params["task_id"]
    instance = _instance(api_of(request), task_id)
    if instance is None or instance.spec_id != app.id:
        raise NotFoundError.of("Task", task_id)
    return instance


def wants_text(request: Request) -> bool:
    accept = request.headers.get("accept", "")
    return "text/plain" in accept and "json" not in accept


def _instance(api: Api, task_id: str) -> Instance | None:
    return api.view.instance_of_task(task_id) or api.view.instance(task_id)


def _listed(api: Api, instances: Iterable[Instance]) -> Response:
    return StreamingResponse(named_list("tasks", instances, api.tasks.bytes_of), media_type="application/json")
