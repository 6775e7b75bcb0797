"""`/v2/agents`: the agents as the Mesos master sees them, and taking one out of service."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from framework.api.context import json_response, require
from framework.api.errors import ConflictError, NotFoundError
from framework.api.neighbours import Json, Neighbours, Refused, neighbours_of
from framework.model import path_id

MASTER = "The Mesos master"
_RESOURCES = ("cpus", "mem", "disk", "gpus")


async def list_agents(request: Request) -> Response:
    require(request, "view", path_id.ROOT)
    found = [agent_json(agent) for agent in await registered(neighbours_of(request))]
    return json_response({"agents": sorted(found, key=lambda agent: (agent["hostname"], agent["id"]))})


async def drain_agent(request: Request) -> Response:
    """Its tasks are killed, each within its own grace period, and nothing new starts there until it is undrained."""
    return await _operate(request, "DRAIN_AGENT", mark_gone=False)


async def undrain_agent(request: Request) -> Response:
    return await _operate(request, "REACTIVATE_AGENT")


async def registered(neighbours: Neighbours) -> list[Json]:
    """As the master's `/slaves` has them."""
    try:
        answer = await neighbours.json(MASTER, f"{neighbours.master}/slaves")
    except Refused as refusal:
        raise ConflictError(f"{MASTER} says: {refusal}") from None
    slaves: list[Json] = answer.get("slaves", [])
    return slaves


def agent_json(agent: Json) -> Json:
    drain = agent.get("drain_info")
    return {
        "id": agent["id"],
        "hostname": agent.get("hostname", ""),
        "version": agent.get("version", ""),
        "registeredAt": agent.get("reregistered_time") or agent.get("registered_time"),
        "active": bool(agent.get("active", True)) and not agent.get("deactivated", False),
        "drain": {"state": drain.get("state", "DRAINING"), "since": agent.get("estimated_drain_start_time_seconds")}
        if drain
        else None,
        "attributes": {name: str(value) for name, value in agent.get("attributes", {}).items()},
        "resources": _resources(agent.get("resources", {})),
        "used": _resources(agent.get("used_resources", {})),
        "offered": _resources(agent.get("offered_resources", {})),
    }


def _resources(found: Json) -> Json:
    amounts: Json = {name: found.get(name, 0) for name in _RESOURCES}
    return amounts | {"ports": found.get("ports") or ""}


async def _operate(request: Request, kind: str, **more: Any) -> Response:
    require(request, "admin", path_id.ROOT)
    neighbours = neighbours_of(request)
    agent_id = request.path_params["id"]
    if all(agent["id"] != agent_id for agent in await registered(neighbours)):
        raise NotFoundError.of("Agent", agent_id)
    call = {"type": kind, kind.lower(): {"agent_id": {"value": agent_id}, **more}}
    try:
        await neighbours.post(MASTER, f"{neighbours.master}/api/v1", call)
    except Refused as refusal:
        raise ConflictError(f"{MASTER} says: {refusal}") from None
    return json_response({"id": agent_id})
