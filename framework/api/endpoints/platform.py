"""What the UI shows of the platform around the framework: who asks, the daemons, the services, the autoscaler's journal."""

import asyncio
from collections import defaultdict
from typing import Any
from urllib.parse import quote

import orjson
from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import Request
from starlette.responses import Response

from daemonkit.health import Health
from framework.api.context import api_of, identity_of, json_response, require
from framework.api.errors import ApiError, NotFoundError, UnavailableError
from framework.api.neighbours import Json, Neighbours, Refused, neighbours_of
from framework.model import path_id

# Name -> (setting, path of its health).
_DAEMONS = {
    "registrator": ("registrator", "/health"),
    "edge": ("edge", "/health"),
    "autoscale": ("autoscale", "/health"),
    "consul": ("consul", "/v1/status/leader"),
}
_MAINTENANCE = ("_node_maintenance", "_service_maintenance:")
_REQUESTS, _SECONDS, _ACTIVE = "dromos_edge_requests", "dromos_edge_request_seconds", "dromos_edge_active_requests"


async def show_me(request: Request) -> Response:
    """Who asks, and what they may do: what a client greys out for them."""
    settings, identity = api_of(request).settings, identity_of(request)
    return json_response(
        {
            "name": identity.name,
            "signedIn": settings.accounts_file is not None,
            "readOnly": settings.read_only,
            "permissions": [{"verb": verb, "path": path} for verb, path in sorted(identity.grants)],
        }
    )


# --- daemons


async def list_daemons(request: Request) -> Response:
    """`{"daemons": [{name, healthy, why}]}`; those that the framework is not told of are left out."""
    neighbours, health = neighbours_of(request), request.app.state.health
    addresses = {"mesos": _master_health(neighbours)}
    for name, (setting, path) in _DAEMONS.items():
        try:
            addresses[name] = neighbours.known(setting) + path
        except NotFoundError:
            continue
    answers = await asyncio.gather(*(_daemon(neighbours, name, url) for name, url in addresses.items()))
    return json_response({"daemons": [_own(health), *answers]})


def _master_health(neighbours: Neighbours) -> str | None:
    try:
        return f"{neighbours.master}/health"
    except UnavailableError:
        return None


def _own(health: Health) -> Json:
    return {"name": "framework", "healthy": health.healthy, "why": _ill_parts(health.report())}


async def _daemon(neighbours: Neighbours, name: str, url: str | None) -> Json:
    if url is None:
        return {"name": name, "healthy": False, "why": "there is no connection"}
    try:
        await neighbours.read(name, url)
    except Refused as refusal:
        return {"name": name, "healthy": False, "why": _why(refusal)}
    except UnavailableError as error:
        return {"name": name, "healthy": False, "why": str(error)}
    return {"name": name, "healthy": True, "why": ""}


def _why(refusal: Refused) -> str:
    """What a daemon's own report calls ill; else what it said."""
    try:
        return _ill_parts(orjson.loads(str(refusal))) or f"{refusal.status}"
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError):
        return f"{refusal.status}: {str(refusal)[:300]}"


def _ill_parts(report: Any) -> str:
    return "; ".join(f"{name}: {part['why']}" for name, part in report["parts"].items() if not part["healthy"])


# --- services


async def list_services(request: Request) -> Response:
    """Consul's services, what the edge makes of them, and the edge's counters; `problems` says which of them did not answer."""
    require(request, "view", path_id.ROOT)
    neighbours = neighbours_of(request)
    problems: dict[str, str] = {}

    async def part(name: str, coroutine: Any, default: Any) -> Any:
        try:
            return await coroutine
        except (ApiError, Refused) as error:
            problems[name] = str(error)
            return default

    names, critical, edge, traffic = await asyncio.gather(
        part("consul", _names(neighbours), {}),
        part("consul", _critical(neighbours), {}),
        part("edge", _edge(neighbours), {}),
        part("traffic", _traffic(neighbours), {}),
    )
    known, routes = edge.get("services", {}), defaultdict(list)
    for route in edge.get("routes", []):
        routes[route["service"]].append({"hosts": route.get("hosts", []), "path": route.get("path", "/")})
    services = [
        {
            "name": name,
            "tags": names.get(name, []),
            "inConsul": name in names,
            "inEdge": name in known,
            "app": known.get(name, {}).get("app"),
            "endpoints": len(known.get(name, {}).get("endpoints", [])),
            "critical": critical.get(name, 0),
            "routes": routes.get(name, []),
            "traffic": traffic.get(name),
        }
        for name in sorted({*names, *known})
    ]
    return json_response(
        {"at": api_of(request).clock(), "services": services, "refused": edge.get("refused", []), "problems": problems}
    )


async def show_service(request: Request) -> Response:
    """The instances of one service as Consul has them."""
    require(request, "view", path_id.ROOT)
    neighbours, name = neighbours_of(request), request.path_params["name"]
    url = neighbours.known("consul")
    try:
        found = await neighbours.json("Consul", f"{url}/v1/health/service/{quote(name, safe='')}")
    except Refused as refusal:
        raise UnavailableError(f"Consul says: {refusal}") from None
    if not found:
        raise NotFoundError.of("Service", name)
    return json_response({"name": name, "instances": [_service_instance(entry) for entry in found]})


async def _names(neighbours: Neighbours) -> dict[str, list[str]]:
    found: dict[str, list[str]] = await neighbours.json("Consul", f"{neighbours.known('consul')}/v1/catalog/services")
    return found


async def _critical(neighbours: Neighbours) -> dict[str, int]:
    """Service -> how many of its instances have a failing check or are in maintenance."""
    checks = await neighbours.json("Consul", f"{neighbours.known('consul')}/v1/health/state/critical")
    ill: defaultdict[str, set[str]] = defaultdict(set)
    for check in checks:
        ill[check.get("ServiceName", "")].add(f"{check.get('Node')} {check.get('ServiceID')}")
    return {name: len(ids) for name, ids in ill.items() if name}


async def _edge(neighbours: Neighbours) -> Json:
    found: Json = await neighbours.json("The edge", f"{neighbours.known('edge')}/status")
    return found


async def _traffic(neighbours: Neighbours) -> dict[str, Json]:
    text = await neighbours.read("The edge", f"{neighbours.known('edge_status')}/metrics")
    return await asyncio.to_thread(traffic_in, text.decode(errors="replace"))


def traffic_in(text: str) -> dict[str, Json]:
    """Service -> its counters: requests by class of code, seconds with their buckets (upper bound -> requests up to it)."""
    found: defaultdict[str, Json] = defaultdict(lambda: {"requests": {}, "seconds": 0.0, "buckets": {}, "active": 0})
    for family in text_string_to_metric_families(text):
        if family.name not in (_REQUESTS, _SECONDS, _ACTIVE):
            continue
        for sample in family.samples:
            labels, value = sample.labels, sample.value
            one = found[labels.get("service", "")]
            if sample.name == f"{_REQUESTS}_total":
                one["requests"][labels.get("code", "")] = value
            elif sample.name == f"{_SECONDS}_bucket":
                one["buckets"][labels.get("le", "")] = value
            elif sample.name == f"{_SECONDS}_sum":
                one["seconds"] = value
            elif sample.name == _ACTIVE:
                one["active"] = value
    return dict(found)


def _service_instance(entry: Json) -> Json:
    service = entry["Service"]
    checks = entry.get("Checks", [])
    maintenance = any(str(check.get("CheckID", "")).startswith(_MAINTENANCE) for check in checks)
    return {
        "id": service["ID"],
        "address": service.get("Address") or entry.get("Node", {}).get("Address", ""),
        "port": service.get("Port", 0),
        "tags": service.get("Tags") or [],
        "meta": service.get("Meta") or {},
        "maintenance": maintenance,
        "checks": [
            {"name": check.get("Name", ""), "status": check.get("Status", ""), "output": check.get("Output", "")[:1000]}
            for check in checks
        ],
    }


# --- the autoscaler


async def show_journal(request: Request) -> Response:
    """The autoscaler's latest looks, oldest first: `app` chooses one, `most` (200) how many."""
    neighbours = neighbours_of(request)
    app, most = request.query_params.get("app"), request.query_params.get("most", "")
    require(request, "view", path_id.canonical(app) if app else path_id.ROOT)
    wanted = {"app": app, "most": int(most) if most.isdecimal() and len(most) < 7 else None}
    try:
        answer = await neighbours.json("The autoscaler", f"{neighbours.known('autoscale')}/journal", **wanted)
    except Refused as refusal:
        raise UnavailableError(f"The autoscaler says: {refusal}") from None
    return json_response({"journal": answer.get("journal", [])})
