"""What the edge daemon says of itself: /status, and the commands that change who answers."""

import asyncio
import hmac
from dataclasses import asdict
from pathlib import Path
from typing import cast, get_args

import orjson
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as HttpRoute

from daemonkit.http import Json
from nginx.edge import Edge
from nginx.errors import EdgeError
from nginx.model import Model
from nginx.standby import Position, Switchboard
from nginx.traffic import Traffic

MAX_BODY = 4096


def routes(edge: Edge, switchboard: Switchboard, token: Path) -> list[HttpRoute]:
    """GET /status; POST /switch `{"route": …, "position": "standby" | "own" | "auto"}` with the control token."""

    async def status(_request: Request) -> Response:
        return Json(report(edge, switchboard))

    async def switch(request: Request) -> Response:
        if not _is_authorized(request, token):
            return Json({"message": "the control token is missing or wrong"}, status_code=401)
        try:
            wanted = orjson.loads((await request.body())[:MAX_BODY])
            name, position = str(wanted["route"]), str(wanted["position"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return Json({"message": "the body is to be {route, position}"}, status_code=400)
        if position not in get_args(Position):
            return Json({"message": f"position {position!r} is none of standby, own, auto"}, status_code=400)
        try:
            service = service_behind(edge.model, name)
            switchboard.command(service, cast(Position, position))
        except EdgeError as error:
            return Json({"message": str(error)}, status_code=404)
        edge.dirty.set()
        return Json({"service": service, "position": position})

    return [HttpRoute("/status", status), HttpRoute("/switch", switch, methods=["POST"])]


def traffic_routes(traffic: Traffic) -> list[HttpRoute]:
    """GET /traffic (Prometheus text) and /traffic.json: what plain Nginx passes on from its status port."""

    async def text(_request: Request) -> Response:
        return Response(traffic.prometheus(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def json(_request: Request) -> Response:
        return Json(traffic.json())

    return [HttpRoute("/traffic", text), HttpRoute("/traffic.json", json)]


async def look_at(traffic: Traffic, edge: Edge) -> None:
    """Once a second."""
    traffic.services = edge.model.services
    await asyncio.to_thread(traffic.look)


def service_behind(model: Model, name: str) -> str:
    """The service that a route's name, host, or its own name means. Raises EdgeError where it has no standby."""
    found = {route.service for route in model.routes if name in (route.name, route.path, *route.hosts)}
    if name in model.services:
        found = {name}
    if not found:
        raise EdgeError(f"there is no route {name!r}; `dromos edge routes` lists them")
    if len(found) > 1:
        raise EdgeError(f"{name!r} means more than one route ({', '.join(sorted(found))}); give host and path")
    service = found.pop()
    if model.services[service].standby is None:
        raise EdgeError(f"{service} names no standby; give its app the label DROMOS_EDGE_STANDBY")
    return service


def report(edge: Edge, switchboard: Switchboard) -> dict[str, object]:
    """What the edge makes of Consul's services, and what it refused and why."""
    model = edge.model
    return {
        "routes": [
            {"name": route.name, "hosts": route.hosts, "path": route.path, "service": route.service}
            for route in model.routes
        ],
        "streams": [
            {"protocol": stream.protocol, "port": stream.port, "service": stream.service} for stream in model.streams
        ],
        "services": {
            name: {
                "app": service.app,
                "endpoints": [asdict(endpoint) for endpoint in service.endpoints],
                "standby": service.standby.service if service.standby else None,
                "switched": name in switchboard.watches and switchboard.watches[name].switched,
            }
            for name, service in model.services.items()
        },
        "refused": [asdict(refusal) for refusal in model.refusals],
        "held": edge.held,
        "applied_at": edge.applied_at,
        "reloads": edge.reloads,
    }


def _is_authorized(request: Request, token: Path) -> bool:
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    try:
        return hmac.compare_digest(given.encode(), token.read_text().strip().encode())
    except OSError:
        return False
