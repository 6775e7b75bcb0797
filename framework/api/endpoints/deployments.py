"""`/v2/deployments` and `/v2/queue`: what is on its way, what waits and why, and getting either unstuck."""

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from framework.api.answers.apps import BARE
from framework.api.answers.cache import dumps
from framework.api.answers.deployments import deployment_json
from framework.api.answers.queue import item_bytes
from framework.api.answers.slices import named_list
from framework.api.context import (
    MANY,
    Api,
    api_of,
    deployed,
    flag,
    id_in,
    identity_of,
    listed,
    raw_json,
    require,
    visible,
)
from framework.api.errors import ConflictError, NotFoundError
from framework.api.security.accounts import Identity
from framework.engine.commands import Accepted, CancelDeployment, Proceed, ResetDelay
from framework.engine.errors import NotFound, NotWaiting
from framework.engine.view import QueueItem
from framework.model import path_id
from framework.model.app import App
from framework.model.codec import to_json
from framework.model.deployment import Deployment


async def list_deployments(request: Request) -> Response:
    api = api_of(request)
    identity = identity_of(request)
    shown = await _spelled(api, [d for d in api.view.deployments() if _may_view(identity, d)])
    return raw_json(b"[" + b",".join(shown) + b"]")


async def show_deployment(request: Request) -> Response:
    """Where the message of a lock points to. Marathon has no such thing."""
    api, identity, deployment_id = api_of(request), identity_of(request), request.path_params["id"]
    for deployment in api.view.deployments():
        if deployment.id == deployment_id and _may_view(identity, deployment):
            [shown] = await _spelled(api, [deployment])
            return raw_json(shown)
    raise NotFoundError(f"DeploymentPlan {deployment_id} does not exist")


def _may_view(identity: Identity, deployment: Deployment) -> bool:
    return identity.may("view", path_id.ROOT) or all(identity.may("view", i) for i in _affected(deployment))


async def _spelled(api: Api, found: list[Deployment]) -> list[bytes]:
    def spell(deployments: list[Deployment]) -> list[bytes]:
        return [dumps(deployment_json(deployment, api.view)) for deployment in deployments]

    return await api.aside(spell, found, large=sum(len(deployment.changes) for deployment in found) > MANY)


async def cancel_deployment(request: Request) -> Response:
    """Rolls back; with `force` stops where it is."""
    api, deployment_id = api_of(request), request.path_params["id"]
    _require_update(request, deployment_id)
    try:
        answer = await api.engine.execute(CancelDeployment(deployment_id, force=flag(request, "force")))
    except NotFound:
        raise NotFoundError(f"DeploymentPlan {deployment_id} does not exist") from None
    return deployed(answer.deployment) if isinstance(answer, Accepted) else Response(status_code=202)


async def proceed(request: Request) -> Response:
    """The go that a canary or a blue/green deployment waits for."""
    api, deployment_id = api_of(request), request.path_params["id"]
    _require_update(request, deployment_id)
    try:
        answer = await api.engine.execute(Proceed(deployment_id, force=flag(request, "force")))
    except NotFound:
        raise NotFoundError(f"DeploymentPlan {deployment_id} does not exist") from None
    except NotWaiting as error:
        raise ConflictError(str(error)) from None
    assert isinstance(answer, Accepted)
    return deployed(answer.deployment)


async def show_queue(request: Request) -> Response:
    """In slices of time: thousands may wait."""
    api, offers = api_of(request), "lastUnusedOffers" in listed(request, "embed")
    ids = list(visible(request, dict.fromkeys(api.view.waiting())))
    items = (item for spec_id in ids for item in api.view.queue(spec_id))

    def spelled(item: QueueItem) -> bytes:
        spec = item.spec
        definition = api.apps.bytes_of(spec, BARE) if isinstance(spec, App) else dumps(to_json(spec))
        return item_bytes(item, definition, api.view.unused_offers(spec.id) if offers else None)

    return StreamingResponse(named_list("queue", items, spelled), media_type="application/json")


async def reset_delay(request: Request) -> Response:
    spec_id = id_in(request)
    require(request, "update", spec_id)
    try:
        await api_of(request).engine.execute(ResetDelay(spec_id))
    except NotFound:
        raise NotFoundError(f"Application {spec_id} not found in tasks queue.") from None
    return Response(status_code=204)


def _require_update(request: Request, deployment_id: str) -> None:
    for deployment in api_of(request).view.deployments():
        if deployment.id == deployment_id:
            require(request, "update", *_affected(deployment))


def _affected(deployment: Deployment) -> tuple[str, ...]:
    return (*deployment.affected_apps, *deployment.affected_pods)
