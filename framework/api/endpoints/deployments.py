"""`/v2/deployments` and `/v2/queue`: what is on its way, what waits and why, and getting either unstuck."""

from starlette.requests import Request
from starlette.responses import Response

from framework.api.answers.deployments import deployment_json
from framework.api.answers.queue import queue_json
from framework.api.context import api_of, deployed, flag, id_in, json_response, listed
from framework.api.errors import NotFoundError
from framework.engine.commands import Accepted, CancelDeployment, ResetDelay
from framework.engine.errors import NotFound


async def list_deployments(request: Request) -> Response:
    api = api_of(request)
    return json_response([deployment_json(deployment, api.view) for deployment in api.view.deployments()])


async def cancel_deployment(request: Request) -> Response:
    """Rolls back; with `force` stops where it is."""
    deployment_id = request.path_params["id"]
    try:
        answer = await api_of(request).engine.execute(CancelDeployment(deployment_id, force=flag(request, "force")))
    except NotFound:
        raise NotFoundError(f"DeploymentPlan {deployment_id} does not exist") from None
    return deployed(answer.deployment) if isinstance(answer, Accepted) else Response(status_code=202)


async def show_queue(request: Request) -> Response:
    offers = "lastUnusedOffers" in listed(request, "embed")
    return json_response(queue_json(api_of(request).view.queue(), offers=offers))


async def reset_delay(request: Request) -> Response:
    spec_id = id_in(request)
    try:
        await api_of(request).engine.execute(ResetDelay(spec_id))
    except NotFound:
        raise NotFoundError(f"Application {spec_id} not found in tasks queue.") from None
    return Response(status_code=204)
