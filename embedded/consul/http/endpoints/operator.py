"""/v1/operator: the cluster, which is this server."""

from embedded.consul.errors import PermissionDeniedError
from embedded.consul.http.context import VERSION, Context
from embedded.consul.http.message import Answer, Request, json_answer
from embedded.consul.state.rules import READ


async def raft_configuration(context: Context, request: Request) -> Answer:
    _require_operator(context, request)
    who = context.identity
    server = {
        "ID": who.node_id,
        "Node": who.node,
        "Address": who.leader,
        "Leader": True,
        "ProtocolVersion": "3",
        "Voter": True,
    }
    return json_answer({"Servers": [server], "Index": 0}, request)


async def autopilot_health(context: Context, request: Request) -> Answer:
    _require_operator(context, request)
    who = context.identity
    server = {
        "ID": who.node_id,
        "Name": who.node,
        "Address": who.leader,
        "SerfStatus": "alive",
        "Version": VERSION,
        "Leader": True,
        "LastContact": "0s",
        "LastTerm": 1,
        "LastIndex": context.state.ledger.index,
        "Healthy": True,
        "Voter": True,
    }
    return json_answer({"Healthy": True, "FailureTolerance": 0, "Servers": [server]}, request)


def _require_operator(context: Context, request: Request) -> None:
    if not context.authorize(request).allow("operator", READ):
        raise PermissionDeniedError
