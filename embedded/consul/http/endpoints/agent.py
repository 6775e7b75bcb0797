"""/v1/agent: the services of this machine, maintenance, and what the agent says of itself."""

import hashlib
import platform
from typing import Any

import orjson
import prometheus_client

from embedded.consul import body, filter, wire
from embedded.consul.agent.definition import SERVICE, read_service
from embedded.consul.agent.local import local_service_topic
from embedded.consul.errors import BadRequestError, FailedError, NotFoundError, PermissionDeniedError
from embedded.consul.golang import parse_bool
from embedded.consul.http.context import VERSION, Context
from embedded.consul.http.endpoints.catalog import selected
from embedded.consul.http.message import Answer, Request, header, json_answer
from embedded.consul.http.query import first_of, options
from embedded.consul.model import Service
from embedded.consul.state.rules import READ, WRITE, Authorizer


async def services(context: Context, request: Request) -> Answer:
    may, test = context.authorize(request), selected(request, filter.SERVICE)
    shown = {}
    for id, it in sorted(context.agent.services.items()):
        shape = wire.agent_service(it)
        if may.allow("service", READ, it.name) and test(shape):
            shown[id] = shape
    return json_answer(shown, request)


async def service(context: Context, request: Request) -> Answer:
    """With `?hash=`, waits until the service is no longer as it was then."""
    id, may, agent = request.rest, context.authorize(request), context.agent
    wanted = options(request)

    def look() -> tuple[wire.Json, str]:
        it = agent.services.get(id)
        if it is None:
            raise NotFoundError(f"unknown service ID: {id}")
        if not may.allow("service", READ, it.name):
            raise PermissionDeniedError
        shape = wire.agent_service(it)
        return shape, hashlib.blake2b(orjson.dumps(shape, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()

    shape, digest = look()
    if request.get("hash") == digest:
        async with request.presence() as gone:
            with context.state.ledger.watches.waiter([local_service_topic(id)]) as changed:
                await first_of(changed, gone, wanted.wait)
        shape, digest = look()
    answer = json_answer(shape | {"ContentHash": digest}, request)
    answer.headers.append(header("X-Consul-Contenthash", digest))
    return answer


async def register(context: Context, request: Request) -> Answer:
    given = body.decode(await request.body(), SERVICE)
    service, checks = read_service(given, context.identity.node)
    may = context.authorize(request)
    known = context.agent.services.get(service.id)
    for name in dict.fromkeys([service.name, *([known.name] if known else [])]):
        require_service_write(may, name)
    context.agent.register_service(service, checks, replace_checks=request.flag("replace-existing-checks"))
    return Answer()


async def deregister(context: Context, request: Request) -> Answer:
    _owned(context, request)
    context.agent.deregister_service(request.rest)
    return Answer()


async def service_maintenance(context: Context, request: Request) -> Answer:
    if not request.rest:
        raise BadRequestError("Missing service ID")
    enable = _enable(request)
    _owned(context, request)
    context.agent.service_maintenance(request.rest, enable=enable, reason=request.get("reason"))
    return Answer()


async def maintenance(context: Context, request: Request) -> Answer:
    enable = _enable(request)
    if not context.authorize(request).allow("node", WRITE, context.identity.node):
        raise PermissionDeniedError
    context.agent.node_maintenance(enable=enable, reason=request.get("reason"))
    return Answer()


async def self(context: Context, request: Request) -> Answer:
    _require_agent(context, request, READ)
    who, state = context.identity, context.state
    shape = {
        "Config": {
            "Datacenter": who.datacenter,
            "NodeName": who.node,
            "NodeID": who.node_id,
            "Revision": "",
            "Server": True,
            "Version": VERSION,
        },
        "DebugConfig": {
            "ACLsEnabled": state.acl.enabled,
            "Bootstrap": True,
            "ClientAddrs": [who.address],
            "Datacenter": who.datacenter,
            "HTTPPort": who.http_port,
            "KVMaxValueSize": context.limits.value_bytes,
            "NodeID": who.node_id,
            "NodeName": who.node,
            "PrimaryDatacenter": who.datacenter,
            "ServerMode": True,
            "ServerPort": who.server_port,
            "Version": VERSION,
        },
        "Coord": coordinate(),
        "Member": _member(context),
        "Stats": {
            "agent": {"checks": str(len(context.agent.checks)), "services": str(len(context.agent.services))},
            "build": {"prerelease": "", "revision": "", "version": VERSION},
            "consul": {
                "acl": "enabled" if state.acl.enabled else "disabled",
                "bootstrap": "true",
                "known_datacenters": "1",
                "leader": "true",
                "leader_addr": who.leader,
                "server": "true",
            },
            "raft": {"applied_index": str(state.ledger.index), "num_peers": "0", "state": "Leader"},
            "runtime": {"arch": platform.machine(), "os": platform.system().lower()},
        },
        "Meta": node_meta(),
    }
    return json_answer(shape, request)


async def members(context: Context, request: Request) -> Answer:
    may = context.authorize(request)
    return json_answer([_member(context)] if may.allow("node", READ, context.identity.node) else [], request)


async def host(context: Context, request: Request) -> Answer:
    if not context.authorize(request).allow("operator", READ):
        raise PermissionDeniedError
    return json_answer({"Host": {"hostname": platform.node(), "os": platform.system().lower()}}, request)


async def metrics(context: Context, request: Request) -> Answer:
    """The process's own metrics in Consul's shape; the same as at /metrics with `?format=prometheus`."""
    _require_agent(context, request, READ)
    if request.get("format") == "prometheus":
        kind = (b"Content-Type", prometheus_client.CONTENT_TYPE_LATEST.encode())
        return Answer(200, prometheus_client.generate_latest(), [kind])
    values: dict[str, Any] = {
        "consul.raft.applied_index": context.state.ledger.index,
        "consul.catalog.services": len(context.state.catalog.names()),
        "consul.kv.entries": len(context.state.keys),
    }
    gauges = [{"Name": name, "Value": value, "Labels": {}} for name, value in sorted(values.items())]
    return json_answer({"Gauges": gauges, "Points": [], "Counters": [], "Samples": []}, request)


async def reload(context: Context, request: Request) -> Answer:
    """There are no configuration files to read again."""
    _require_agent(context, request, WRITE)
    return Answer()


async def join(context: Context, request: Request) -> Answer:
    _require_agent(context, request, WRITE)
    raise FailedError(f"1 error occurred:\n\t* Failed to join {request.rest}: this server stands alone\n\n")


async def force_leave(context: Context, request: Request) -> Answer:
    if not context.authorize(request).allow("operator", WRITE):
        raise PermissionDeniedError
    raise FailedError(f"agent: No node found with name '{request.rest}'")


def coordinate() -> wire.Json:
    """Of a node that has measured no other."""
    return {"Vec": [0] * 8, "Error": 1.5, "Adjustment": 0, "Height": 0.00001}


def node_meta() -> dict[str, str]:
    return {"consul-network-segment": ""}


def require_service_write(may: Authorizer, name: str) -> None:
    if not may.allow("service", WRITE, name):
        raise PermissionDeniedError(f"Missing service:write on {name}")


def _owned(context: Context, request: Request) -> Service | None:
    """The service that the path names, if the bearer may change it. With tokens in use, an unknown one is an error."""
    may, service = context.authorize(request), context.agent.services.get(request.rest)
    if service:
        require_service_write(may, service.name)
    elif context.state.acl.enabled:
        raise FailedError(f'Unknown service {{"{request.rest}" {{}}}}')
    return service


def _require_agent(context: Context, request: Request, access: str) -> None:
    if not context.authorize(request).allow("agent", access, context.identity.node):
        raise PermissionDeniedError


def _enable(request: Request) -> bool:
    if not request.has("enable"):
        raise BadRequestError("Missing value for enable")
    try:
        return parse_bool(request.get("enable"))
    except ValueError:
        raise BadRequestError(f'Invalid value for enable: "{request.get("enable")}"') from None


def _member(context: Context) -> wire.Json:
    who = context.identity
    return {
        "Name": who.node,
        "Addr": who.address,
        "Port": who.serf_port,
        "Tags": {
            "acls": "1" if context.state.acl.enabled else "0",
            "bootstrap": "1",
            "build": f"{VERSION}:",
            "dc": who.datacenter,
            "id": who.node_id,
            "port": str(who.server_port),
            "raft_vsn": "3",
            "role": "consul",
            "segment": "",
            "vsn": "2",
            "vsn_max": "3",
            "vsn_min": "2",
        },
        "Status": 1,
        "ProtocolMin": 1,
        "ProtocolMax": 5,
        "ProtocolCur": 2,
        "DelegateMin": 2,
        "DelegateMax": 5,
        "DelegateCur": 4,
    }
