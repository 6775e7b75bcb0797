"""/v1/agent/check and /v1/agent/health: the checks of this machine, and what they say of its services."""

from collections.abc import Sequence

from embedded.consul import body, filter, wire
from embedded.consul.agent.definition import NODE_CHECK, STATUS_UPDATE, read_check
from embedded.consul.errors import BadRequestError, FailedError, PermissionDeniedError
from embedded.consul.http.context import Context
from embedded.consul.http.endpoints.agent import require_service_write
from embedded.consul.http.endpoints.catalog import selected
from embedded.consul.http.endpoints.health import may_read_check
from embedded.consul.http.message import Answer, Request, header, json_answer
from embedded.consul.model import (
    CRITICAL,
    MAINTENANCE,
    NODE_MAINTENANCE,
    PASSING,
    SERVICE_MAINTENANCE,
    STATUSES,
    WARNING,
    Check,
    Service,
    worst,
)
from embedded.consul.state.rules import READ, WRITE, Authorizer

# In these answers, and only there, the real one shows checks in the shape of its client library, which knows no more of them.
_CLIENT_SHAPE: wire.Json = {
    "Type": "",
    "Definition": {
        "Interval": "0s",
        "Timeout": "0s",
        "DeregisterCriticalServiceAfter": "0s",
        "HTTP": "",
        "Header": None,
        "Method": "",
        "Body": "",
        "TLSSkipVerify": False,
        "TCP": "",
    },
}
_HTTP_STATUS = {PASSING: 200, WARNING: 429, CRITICAL: 503, MAINTENANCE: 503}


async def checks(context: Context, request: Request) -> Answer:
    may, test = context.authorize(request), selected(request, filter.CHECK)
    shown = {}
    for id, local in sorted(context.agent.checks.items()):
        shape = _shape(local.check)
        if may_read_check(may, local.check) and test(shape):
            shown[id] = shape
    return json_answer(shown, request)


async def register(context: Context, request: Request) -> Answer:
    definition = read_check(body.decode(await request.body(), NODE_CHECK))
    may = context.authorize(request)
    service = context.agent.services.get(definition.service_id)
    if service:
        require_service_write(may, service.name)
    elif not definition.service_id and not may.allow("node", WRITE, context.identity.node):
        raise PermissionDeniedError(f"Missing node:write on {context.identity.node}")
    context.agent.register_check(definition)
    return Answer()


async def deregister(context: Context, request: Request) -> Answer:
    _require_owned(context, request)
    context.agent.deregister_check(request.rest)
    return Answer()


async def report_passing(context: Context, request: Request) -> Answer:
    return _report(context, request, PASSING, request.get("note"))


async def report_warning(context: Context, request: Request) -> Answer:
    return _report(context, request, WARNING, request.get("note"))


async def report_critical(context: Context, request: Request) -> Answer:
    return _report(context, request, CRITICAL, request.get("note"))


async def update(context: Context, request: Request) -> Answer:
    given = body.decode(await request.body(), STATUS_UPDATE)
    status = given.get("Status", "")
    if status not in STATUSES:
        raise BadRequestError(f"Invalid check status: '{status}'")
    return _report(context, request, status, given.get("Output", ""))


async def health_by_id(context: Context, request: Request) -> Answer:
    id = request.rest
    if not id:
        raise FailedError("Bad request: Missing serviceID")
    may, service = context.authorize(request), context.agent.services.get(id)
    if service is None:
        nothing = {"AggregatedStatus": CRITICAL, "Service": None, "Checks": None}
        return _told(json_answer(nothing, request, status=404), f"ServiceId {id} not found")
    _require_read(may, service)
    found, status = _health(context, service)
    if request.get("format") == "text":
        return _told(_plain(status), status)
    shape = {"AggregatedStatus": status, "Service": wire.agent_service(service), "Checks": found}
    return _told(json_answer(shape, request, status=_HTTP_STATUS[status]), status)


async def health_by_name(context: Context, request: Request) -> Answer:
    name = request.rest
    if not name:
        raise FailedError("Bad request: Missing service Name")
    may = context.authorize(request)
    if not may.allow("service", READ, name):
        raise PermissionDeniedError
    services = [it for _, it in sorted(context.agent.services.items()) if it.name == name]
    if not services:
        return _told(json_answer([], request, status=404), f"ServiceName {name} Not Found")
    shapes, statuses = [], []
    for service in services:
        found, status = _health(context, service)
        statuses.append(status)
        shapes.append({"AggregatedStatus": status, "Service": wire.agent_service(service), "Checks": found})
    status = worst(statuses)
    if request.get("format") == "text":
        return _told(_plain(status), status)
    return _told(json_answer(shapes, request, status=_HTTP_STATUS[status]), status)


def _report(context: Context, request: Request, status: str, output: str) -> Answer:
    _require_owned(context, request)
    context.agent.report(request.rest, status, output)
    return Answer()


def _require_owned(context: Context, request: Request) -> None:
    """Raises unless the bearer may change the check that the path names. With tokens in use, an unknown one is an error."""
    may, local = context.authorize(request), context.agent.checks.get(request.rest)
    if local is None:
        if context.state.acl.enabled:
            raise FailedError(f'Unknown check "{request.rest}"')
        return
    service = context.agent.services.get(local.definition.service_id)
    if service:
        require_service_write(may, service.name)
    elif not may.allow("node", WRITE, context.identity.node):
        raise PermissionDeniedError(f"Missing node:write on {context.identity.node}")


def _require_read(may: Authorizer, service: Service) -> None:
    if not may.allow("service", READ, service.name):
        raise PermissionDeniedError


def _health(context: Context, service: Service) -> tuple[Sequence[wire.Json], str]:
    checks = context.agent.service_checks(service.id)
    statuses = [
        MAINTENANCE if it.id.startswith((NODE_MAINTENANCE, SERVICE_MAINTENANCE)) else it.status for it in checks
    ]
    return [_shape(it) | _CLIENT_SHAPE for it in checks], worst(statuses)


def _shape(check: Check) -> wire.Json:
    """The agent's own checks have no indexes."""
    return wire.check(check) | {"CreateIndex": 0, "ModifyIndex": 0}


def _plain(status: str) -> Answer:
    return Answer(_HTTP_STATUS[status], status.encode(), [(b"Content-Type", b"text/plain")])


def _told(answer: Answer, why: str) -> Answer:
    answer.headers.append(header("X-Consul-Reason", why))
    return answer
