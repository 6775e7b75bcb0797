"""`/v2/pods`: definitions, their status, versions and instances."""

from collections.abc import Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from framework.api.answers.cache import dumps
from framework.api.answers.pods import instance_json, status_json
from framework.api.answers.slices import sliced_list
from framework.api.context import (
    DEPLOYMENT_HEADER,
    Api,
    api_of,
    flag,
    id_in,
    json_body,
    json_response,
    require,
    version_of,
    visible,
)
from framework.api.errors import BadRequestError, ConflictError, InvalidJsonError, NotFoundError, Violation
from framework.api.forms import pod_form, shapes
from framework.api.forms.app_form import Defaults
from framework.api.forms.type_check import check_texts, check_types
from framework.engine.commands import Killed, KillInstances
from framework.model import path_id
from framework.model.change import Change
from framework.model.codec import to_json
from framework.model.group import Declared
from framework.model.instance import Instance
from framework.model.pod import Pod


async def list_pods(request: Request) -> Response:
    return _listed(visible(request, api_of(request).view.declared.pods), to_json)


async def show_pod(request: Request) -> Response:
    return json_response(to_json(_known(request)))


async def create_pod(request: Request) -> Response:
    api, document = api_of(request), await json_body(request)
    pod_id = pod_form.new_pod(document, api.settings.defaults).id

    def edit(declared: Declared, defaults: Defaults) -> Change:
        if pod_id in declared.pods:
            raise ConflictError(f"A pod with id [{pod_id}] already exists.")
        return Change(pods={pod_id: pod_form.new_pod(document, defaults)})

    accepted = await api.declare(request, edit, group=path_id.parent(pod_id))
    api.announce("pod_created_event", request)
    return json_response(
        to_json(accepted.declared.pods[pod_id]),
        201,
        {"Location": pod_id, DEPLOYMENT_HEADER: accepted.deployment.id},
    )


async def put_pod(request: Request) -> Response:
    api, pod_id, document = api_of(request), id_in(request), await json_body(request)
    if not isinstance(document, dict):
        raise InvalidJsonError([Violation("/", "error.expected.jsobject")])
    given = check_types(shapes.Pod, document)
    if path_id.canonical(given["id"]) != pod_id:
        raise BadRequestError(f"'{pod_id}' does not match definition's id ('{given['id'][:200]}')")

    def edit(declared: Declared, defaults: Defaults) -> Change:
        if pod_id not in declared.pods:
            raise NotFoundError.of("Pod", pod_id)
        pod = pod_form.made(*pod_form.completed({**given, "id": pod_id}, defaults))
        return Change(pods={pod_id: pod})

    accepted = await api.declare(request, edit, group=path_id.parent(pod_id))
    api.announce("pod_updated_event", request)
    return json_response(to_json(accepted.declared.pods[pod_id]), headers={DEPLOYMENT_HEADER: accepted.deployment.id})


async def delete_pod(request: Request) -> Response:
    api, pod_id = api_of(request), id_in(request)

    def edit(declared: Declared, _defaults: Defaults) -> Change:
        if pod_id not in declared.pods:
            raise NotFoundError.of("Pod", pod_id)
        return Change(pods={pod_id: None})

    accepted = await api.declare(request, edit, group=path_id.parent(pod_id))
    api.announce("pod_deleted_event", request)
    deployment_id = accepted.deployment.id
    return Response(status_code=202, headers={"Location": deployment_id, DEPLOYMENT_HEADER: deployment_id})


async def list_statuses(request: Request) -> Response:
    api = api_of(request)
    return _listed(visible(request, api.view.declared.pods), lambda pod: status_json(pod, api.view, api.clock()))


async def show_status(request: Request) -> Response:
    api = api_of(request)
    return json_response(status_json(_known(request), api.view, api.clock()))


async def list_versions(request: Request) -> Response:
    api = api_of(request)
    return json_response(list(api.view.versions(_known(request).id)))


async def show_version(request: Request) -> Response:
    api, pod_id, version = api_of(request), id_in(request), version_of(request.path_params["version"])
    require(request, "view", pod_id)
    found = await api.view.spec_at(pod_id, version)
    if not isinstance(found, Pod):
        raise NotFoundError.of("Pod", pod_id, version)
    return json_response(to_json(found))


async def delete_instances(request: Request) -> Response:
    """The body names instances."""
    api = api_of(request)
    pod = _known(request)
    document = await json_body(request)
    ids = check_texts(document)
    known = [
        i for i in (api.view.instance(instance_id) for instance_id in ids) if i is not None and i.spec_id == pod.id
    ]
    return json_response(await _kill(api, request, known))


async def delete_instance(request: Request) -> Response:
    api = api_of(request)
    pod, instance_id = _known(request), request.path_params["instance_id"]
    instance = api.view.instance(instance_id)
    if instance is None or instance.spec_id != pod.id:
        raise NotFoundError.of("Task", instance_id)
    killed = await _kill(api, request, [instance])
    return json_response(killed[0] if killed else instance_json(instance, api.view))


async def _kill(api: Api, request: Request, instances: list[Instance]) -> list[dict[str, object]]:
    require(request, "update", *(instance.spec_id for instance in instances))
    ids = tuple(instance.id for instance in instances)
    if not ids:
        return []
    answer = await api.engine.execute(KillInstances(ids, wipe=flag(request, "wipe")))
    assert isinstance(answer, Killed)
    return [instance_json(instance, api.view) for instance in answer.instances]


def _listed(pods: Mapping[str, Pod], spell: Callable[[Pod], object]) -> Response:
    found = (pods[pod_id] for pod_id in sorted(pods))
    return StreamingResponse(sliced_list(found, lambda pod: dumps(spell(pod))), media_type="application/json")


def _known(request: Request) -> Pod:
    """The pod of the path's `id`, if the caller may view it."""
    pod_id = id_in(request)
    require(request, "view", pod_id)
    pod = api_of(request).view.declared.pods.get(pod_id)
    if pod is None:
        raise NotFoundError.of("Pod", pod_id)
    return pod
