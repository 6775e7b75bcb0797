"""/v1/status and /v1/coordinate: one server, which leads; one node, which is near to itself."""

from embedded.consul import wire
from embedded.consul.http.context import Context
from embedded.consul.http.endpoints.agent import coordinate
from embedded.consul.http.message import Answer, Request, json_answer
from embedded.consul.http.query import Result, refuse_other_datacenter
from embedded.consul.model import fold
from embedded.consul.state.rules import READ


async def leader(context: Context, request: Request) -> Answer:
    refuse_other_datacenter(request, context.identity.datacenter)
    return json_answer(context.identity.leader, request)


async def peers(context: Context, request: Request) -> Answer:
    refuse_other_datacenter(request, context.identity.datacenter)
    return json_answer([context.identity.leader], request)


async def coordinate_datacenters(context: Context, request: Request) -> Answer:
    return json_answer([], request)


async def coordinate_nodes(context: Context, request: Request) -> Answer:
    may = context.authorize(request)
    shown = [_own_coordinate(context)] if may.allow("node", READ, context.identity.node) else []
    return await context.query(request, lambda: Result(0, [], lambda: shown))


async def coordinate_node(context: Context, request: Request) -> Answer:
    may = context.authorize(request)
    own = context.identity.node
    if fold(request.rest) != fold(own) or not may.allow("node", READ, own):
        return Answer(404)
    return await context.query(request, lambda: Result(0, [], lambda: [_own_coordinate(context)]))


def _own_coordinate(context: Context) -> wire.Json:
    return {"Node": context.identity.node, "Segment": "", "Coord": coordinate()}
