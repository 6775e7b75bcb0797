"""`/v2/groups`: show, create, change, scale, roll back, delete, and the versions of a group."""

from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from framework.api.answers.apps import embedded
from framework.api.answers.deployments import step_json
from framework.api.answers.groups import ALL_PARTS, group_json
from framework.api.answers.slices import sliced_list, warmed
from framework.api.changes import DraftEdit, ids_below
from framework.api.context import (
    Api,
    api_of,
    checked_body,
    deployed,
    flag,
    id_in,
    json_body,
    json_response,
    listed,
    version_of,
    visible,
)
from framework.api.endpoints.apps import apps_in_group
from framework.api.errors import NotFoundError
from framework.api.forms import group_form
from framework.api.forms.type_check import missing_field
from framework.model import path_id
from framework.model.group import Declared


async def show_group(request: Request) -> Response:
    api, group_id = api_of(request), _id(request)
    _require(api, group_id)
    asked = listed(request, "embed")
    parts = frozenset(asked) & ALL_PARTS if asked else ALL_PARTS
    of_apps = _of_apps(asked)
    spell = lambda app: api.apps.bytes_of(app, of_apps)  # noqa: E731
    declared = _visible(request, api.view.declared)
    if "group.apps" in parts:
        await warmed((declared.apps[i] for i in ids_below(group_id, declared.apps)), spell)
    return json_response(group_json(group_id, declared, parts, spell))


async def list_group_apps(request: Request) -> Response:
    """A bare list; of their state there is what `embed` asks for."""
    api, parts = api_of(request), _of_apps(listed(request, "embed"))
    found = apps_in_group(request, _id(request))
    return StreamingResponse(
        sliced_list(found, lambda app: api.apps.bytes_of(app, parts)), media_type="application/json"
    )


async def list_group_versions(request: Request) -> Response:
    api, group_id = api_of(request), _id(request)
    _require(api, group_id)
    return json_response(list(api.view.versions(group_id)))


async def show_group_version(request: Request) -> Response:
    api, group_id, version = api_of(request), _id(request), version_of(request.path_params["version"])
    former = await api.view.group_at(group_id, version)
    if former is None:
        raise NotFoundError.of("Group", group_id, version)
    return json_response(group_json(group_id, _visible(request, former), ALL_PARTS))


async def create_group(request: Request) -> Response:
    """The id in the body counts from the group in the path; one of the two has to be there."""
    base = _id(request)
    given = await checked_body(request, group_form.read)
    if "id" not in given and base == path_id.ROOT:
        raise missing_field("id")
    group_id = path_id.canonical(given.get("id", ""), base)
    accepted = await api_of(request).declare(request, group_form.creation(given, group_id), wide=True, group=group_id)
    return deployed(accepted.deployment, 201, {"Location": group_id})


async def put_group(request: Request) -> Response:
    """An id in the body counts from the group in the path, as in Marathon."""
    api = api_of(request)
    given = await checked_body(request, group_form.read)
    group_id = path_id.canonical(given.get("id") or "", _id(request))
    draft: DraftEdit
    if "version" in given:
        version = version_of(given["version"])
        draft = group_form.roll_back(group_id, version, await api.view.group_at(group_id, version))
    else:
        draft = group_form.update(given, group_id)
    if flag(request, "dryRun"):
        planned = await api.declare(request, draft, wide=True, group=group_id, dry_run=True)
        return json_response({"steps": [step_json(step) for step in planned.deployment.steps]})
    accepted = await api.declare(request, draft, wide=True, group=group_id)
    return deployed(accepted.deployment)


async def patch_group(request: Request) -> Response:
    group_id = _id(request)
    draft = group_form.enforcement(group_id, await json_body(request))
    await api_of(request).declare(request, draft, group=group_id)
    return Response(status_code=200)


async def delete_group(request: Request) -> Response:
    group_id = _id(request)
    accepted = await api_of(request).declare(request, group_form.removal(group_id), wide=True, group=group_id)
    return deployed(accepted.deployment)


def _of_apps(embed: list[str]) -> frozenset[str]:
    return embedded(name for name in embed if name.startswith("group.apps."))


def _id(request: Request) -> str:
    return id_in(request) if "id" in request.path_params else path_id.ROOT


def _require(api: Api, group_id: str) -> None:
    if group_id != path_id.ROOT and group_id not in api.view.declared.groups:
        raise NotFoundError.of("Group", group_id)


def _visible(request: Request, declared: Declared) -> Declared:
    return replace(declared, apps=visible(request, declared.apps), pods=visible(request, declared.pods))
