"""`/v2/apps`: list, create, show, change, delete, restart, versions."""

from collections.abc import Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from framework.api import autoscaled, label_selector
from framework.api.answers.apps import ALWAYS, WHOLE, created_json, embedded, matching
from framework.api.answers.cache import dumps, joined
from framework.api.answers.slices import named_list
from framework.api.changes import DraftEdit, ids_below
from framework.api.context import (
    DEPLOYMENT_HEADER,
    Api,
    api_of,
    checked_body,
    deployed,
    flag,
    id_in,
    json_body,
    json_response,
    listed,
    raw_json,
    require,
    version_of,
    visible,
)
from framework.api.errors import ConflictError, InvalidJsonError, NotFoundError, PreconditionError, Violation
from framework.api.forms import app_form, shapes
from framework.api.forms.app_form import Defaults
from framework.api.forms.type_check import check_types
from framework.model import path_id
from framework.model.app import App
from framework.model.change import Change
from framework.model.codec import to_json
from framework.model.group import Declared


async def list_apps(request: Request) -> Response:
    api, query = api_of(request), request.query_params
    labels = label_selector.parse(query["label"]) if query.get("label") else None
    found = matching(
        visible(request, api.view.declared.apps), cmd=query.get("cmd"), id_part=query.get("id"), labels=labels
    )
    parts = ALWAYS | embedded(listed(request, "embed"))
    return _listed(api, found, parts, "apps")


async def show_app(request: Request) -> Response:
    """`{id}` shows one app, `{group}/*` all that are in the group. `embed` adds to what both show in any case."""
    api, asked = api_of(request), request.path_params["id"]
    parts = WHOLE | embedded(listed(request, "embed"))
    if asked == "*" or asked.endswith("/*"):
        return _listed(api, apps_in_group(request, path_id.canonical(asked[:-1])), parts, "*")
    return raw_json(b'{"app":' + api.apps.bytes_of(known_app(request), parts) + b"}")


async def create_app(request: Request) -> Response:
    api = api_of(request)
    document = await json_body(request)
    created: list[str] = []

    def edit(declared: Declared, defaults: Defaults) -> Change:
        app = app_form.new_app(document, defaults)
        if app.id in declared.apps:
            raise ConflictError(f"An app with id [{app.id}] already exists.")
        created[:] = [app.id]
        return Change(apps={app.id: app})

    accepted = await api.declare(request, edit)
    app = accepted.declared.apps[created[0]]
    api.announce("api_post_event", request, appDefinition=app)
    body = joined(dumps(to_json(app)), dumps(created_json(app, [accepted.deployment.id])))
    return raw_json(body, 201, {"Location": app.id, DEPLOYMENT_HEADER: accepted.deployment.id})


async def put_app(request: Request) -> Response:
    return await _change_one(request, partial=flag(request, "partialUpdate", True), may_create=True)


async def patch_app(request: Request) -> Response:
    return await _change_one(request, partial=True, may_create=False)


async def put_apps(request: Request) -> Response:
    return await _change_many(request, partial=flag(request, "partialUpdate", True), may_create=True)


async def patch_apps(request: Request) -> Response:
    return await _change_many(request, partial=True, may_create=False)


async def delete_app(request: Request) -> Response:
    api, app_id = api_of(request), id_in(request)

    def edit(declared: Declared, _defaults: Defaults) -> Change:
        if app_id not in declared.apps:
            raise NotFoundError.of("App", app_id)
        return Change(apps={app_id: None})

    accepted = await api.declare(request, edit, force=flag(request, "force", True), group=path_id.parent(app_id))
    api.announce("api_post_event", request, appDefinition=App(app_id))
    return deployed(accepted.deployment)


async def restart_app(request: Request) -> Response:
    api, app_id = api_of(request), id_in(request)

    def edit(declared: Declared, _defaults: Defaults) -> Change:
        app = declared.apps.get(app_id)
        if app is None:
            raise NotFoundError.of("App", app_id)
        return Change(apps={app_id: app}, restart=frozenset({app_id}))

    accepted = await api.declare(request, edit, group=path_id.parent(app_id))
    api.announce("api_post_event", request, appDefinition=accepted.declared.apps[app_id])
    return deployed(accepted.deployment)


async def list_versions(request: Request) -> Response:
    api, app = api_of(request), known_app(request)
    return json_response({"versions": list(api.view.versions(app.id))})


async def show_version(request: Request) -> Response:
    api, app_id, version = api_of(request), id_in(request), version_of(request.path_params["version"])
    require(request, "view", app_id)
    return json_response(to_json(await _at(api, app_id, version)))


def apps_in_group(request: Request, group_id: str) -> list[App]:
    """Of a group that there is, at any depth, those that the caller may view."""
    declared = api_of(request).view.declared
    if group_id != path_id.ROOT and group_id not in declared.groups:
        raise NotFoundError.of("Group", group_id)
    apps = visible(request, declared.apps)
    return [apps[app_id] for app_id in sorted(ids_below(group_id, apps))]


def _listed(api: Api, found: Iterable[App], parts: frozenset[str], name: str) -> Response:
    pieces = named_list(name, found, lambda app: api.apps.bytes_of(app, parts))
    return StreamingResponse(pieces, media_type="application/json")


# --- changes


async def _change_one(request: Request, *, partial: bool, may_create: bool) -> Response:
    api, app_id = api_of(request), id_in(request)
    draft = await _draft(api, app_id, await json_body(request), partial=partial, may_create=may_create)
    created = False
    expected = request.headers.get("if-match")

    def edit(declared: Declared, defaults: Defaults) -> Change:
        nonlocal created
        created = app_id not in declared.apps
        _require_version(declared.apps.get(app_id), expected, app_id)
        return draft(declared, defaults)

    accepted = await api.declare(request, edit, group=path_id.parent(app_id))
    api.announce("api_post_event", request, appDefinition=accepted.declared.apps[app_id])
    if created:
        return deployed(accepted.deployment, 201, {"Location": app_id})
    return deployed(accepted.deployment)


def _require_version(current: App | None, expected: str | None, app_id: str) -> None:
    """`If-Match: "VERSION"`: the change was decided on that version of the app. Marathon has no such thing."""
    if expected is None or (current is not None and expected.strip() == "*"):
        return
    versions = {text.strip().removeprefix("W/").strip('"') for text in expected.split(",")}
    if current is None or current.version not in versions:
        now = f"is at version {current.version}" if current else "does not exist"
        raise PreconditionError(f"App '{app_id}' {now}, not at {expected[:100]}")


async def _change_many(request: Request, *, partial: bool, may_create: bool) -> Response:
    api, named = api_of(request), await checked_body(request, _with_ids)
    drafts = [await _draft(api, app_id, document, partial=partial, may_create=may_create) for app_id, document in named]

    def edit(declared: Declared, defaults: Defaults) -> Change:
        apps: dict[str, App | None] = {}
        for draft in drafts:
            apps.update(draft(declared, defaults).apps)
        return Change(apps=apps)

    accepted = await api.declare(request, edit)
    for app_id, _ in named:
        api.announce("api_post_event", request, appDefinition=accepted.declared.apps[app_id])
    return deployed(accepted.deployment)


def _with_ids(documents: Any) -> list[tuple[str, Any]]:
    """Each of a list of definitions with the id that it names."""
    if not isinstance(documents, list):
        raise InvalidJsonError([Violation("/", "error.expected.jsarray")])
    return [
        (path_id.canonical(check_types(shapes.Id, document, at=f"({index})")["id"]), document)
        for index, document in enumerate(documents)
    ]


async def _draft(api: Api, app_id: str, document: Any, *, partial: bool, may_create: bool) -> DraftEdit:
    """The edit that a body asks for: a change, a new or whole definition, or, if it names a version alone, a roll-back."""
    if isinstance(document, dict) and document.get("version") is not None and not set(document) - {"id", "version"}:
        given = check_types(shapes.App, document)
        former = await _at(api, app_id, version_of(given["version"]))
        return lambda _declared, _defaults: Change(apps={app_id: former})

    def edit(declared: Declared, defaults: Defaults) -> Change:
        current = declared.apps.get(app_id)
        if current is not None and partial:
            changed = app_form.changed_app(current, document, defaults)
            return Change(apps={app_id: autoscaled.kept(current, changed, document)})
        if current is None and not may_create:
            raise NotFoundError.of("App", app_id)
        whole = app_form.whole_app(app_id, document, defaults)
        return Change(apps={app_id: autoscaled.kept(current, whole, document)})

    return edit


async def _at(api: Api, app_id: str, version: str) -> App:
    found = await api.view.spec_at(app_id, version)
    if not isinstance(found, App):
        raise NotFoundError.of("App", app_id, version)
    return found


def known_app(request: Request) -> App:
    """The app of the path's `id`, if the caller may view it."""
    app_id = id_in(request)
    require(request, "view", app_id)
    app = api_of(request).view.declared.apps.get(app_id)
    if app is None:
        raise NotFoundError.of("App", app_id)
    return app
