"""The master's read endpoints: /state and its kin, each also below /master."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from embedded.mesos import render
from embedded.mesos.http import json_response
from embedded.mesos.master import Master


def master_routes(master: Master) -> list[BaseRoute]:
    async def slaves(request: Request) -> Response:
        wanted = request.query_params.get("slave_id")
        shown = [render.full_agent(a) for a in master.agents.values() if wanted in (None, a.agent_id)]
        return json_response(request, {"slaves": shown, "recovered_slaves": []})

    async def health(_request: Request) -> Response:
        return Response(b"")

    return [Route("/slaves", slaves), Route("/health", health)]
