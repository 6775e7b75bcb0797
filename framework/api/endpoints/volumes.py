"""`/v2/volumes`: the persistent volumes that are kept, wherever their instances are."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from framework.api.answers.volumes import volumes_json
from framework.api.context import api_of, json_response, visible
from framework.model import path_id
from framework.model.run_spec import RunSpec


async def list_volumes(request: Request) -> Response:
    """`app` asks for those of one app or pod."""
    api, asked = api_of(request), request.query_params.get("app")
    declared = api.view.declared
    specs: Mapping[str, RunSpec] = visible(request, {**declared.apps, **declared.pods})
    ids = sorted(specs) if asked is None else [path_id.canonical(asked)]
    found = [volume for spec_id in ids if spec_id in specs for volume in volumes_json(spec_id, api.view)]
    return json_response({"volumes": found})
