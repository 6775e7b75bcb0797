"""/v1/session: what holds locks."""

import uuid
from typing import Any

from embedded.consul import body, wire
from embedded.consul.agent.local import SERF_HEALTH
from embedded.consul.errors import BadRequestError, FailedError, NotFoundError, PermissionDeniedError
from embedded.consul.golang import NANOSECONDS, format_duration, parse_duration
from embedded.consul.http.context import Context
from embedded.consul.http.message import Answer, Request, json_answer
from embedded.consul.http.query import NO_PATH, Result, refuse_other_datacenter
from embedded.consul.model import Session
from embedded.consul.state.ledger import SESSIONS
from embedded.consul.state.rules import READ, WRITE
from embedded.consul.state.sessions import DAY

_DEFAULT_LOCK_DELAY = 15 * NANOSECONDS
_SECONDS_BELOW = 1000  # a lock delay that is a smaller number than this is meant in seconds


def _lock_delay(value: Any, where: body.Where) -> int:
    delay = int(body.duration(value, where))
    return delay * NANOSECONDS if not isinstance(value, str) and delay < _SECONDS_BELOW else delay


_SERVICE_CHECK = body.Struct("ServiceCheck", {"ID": body.text, "Namespace": body.text}, strict=False)
_CREATE = body.Struct(
    "",
    {
        "Name": body.text,
        "Node": body.text,
        "Datacenter": body.text,
        "LockDelay": _lock_delay,
        "Behavior": body.text,
        "TTL": body.text,
        "Checks": body.TEXTS,
        "NodeChecks": body.TEXTS,
        "ServiceChecks": body.list_of(_SERVICE_CHECK, "[]structs.ServiceCheck"),
    },
    strict=False,
    nullable=("Checks", "NodeChecks"),
)


async def create(context: Context, request: Request) -> Answer:
    raw = await request.body()
    given = body.decode(raw, _CREATE) if raw else {}
    session = _read(context, given)
    if not context.authorize(request).allow("session", WRITE, session.node):
        raise PermissionDeniedError
    if given.get("Datacenter", "") not in ("", context.identity.datacenter):
        raise FailedError(NO_PATH)
    refuse_other_datacenter(request, context.identity.datacenter)
    context.state.ledger.next()
    context.state.sessions.create(session)
    return json_answer({"ID": session.id}, request)


async def destroy(context: Context, request: Request) -> Answer:
    id = _id(request)
    session = context.state.sessions.get(id)
    if session and not context.authorize(request).allow("session", WRITE, session.node):
        raise PermissionDeniedError
    context.state.ledger.next()
    context.state.sessions.destroy(id)
    return json_answer(True, request)


async def renew(context: Context, request: Request) -> Answer:
    id = _id(request)
    session = context.state.sessions.get(id)
    if session is None:
        raise NotFoundError(f"Session id '{id}' not found")
    if not context.authorize(request).allow("session", WRITE, session.node):
        raise PermissionDeniedError
    context.state.sessions.renew(session)
    return json_answer([wire.session(session)], request)


async def info(context: Context, request: Request) -> Answer:
    id = _id(request)
    context.state.sessions.get(id)

    def found() -> list[Session]:
        session = context.state.sessions.get(id)
        return [session] if session else []

    return await _query(context, request, found)


async def sessions(context: Context, request: Request) -> Answer:
    return await _query(context, request, context.state.sessions.all)


async def node(context: Context, request: Request) -> Answer:
    if not request.rest:
        raise BadRequestError("Missing node name")
    return await _query(context, request, lambda: context.state.sessions.on_node(request.rest))


async def _query(context: Context, request: Request, found: Any) -> Answer:
    may = context.authorize(request)

    def value() -> list[wire.Json]:
        return [wire.session(it) for it in found() if may.allow("session", READ, it.node)]

    return await context.query(request, lambda: Result(context.state.sessions.index(), [SESSIONS], value))


def _read(context: Context, given: dict[str, Any]) -> Session:
    """Raises FailedError."""
    behavior = given.get("Behavior") or "release"
    if behavior not in ("release", "delete"):
        raise FailedError(f"Invalid Behavior setting '{behavior}'")
    ttl = given.get("TTL", "")
    _refuse_bad_ttl(ttl, context.session_ttl_least)
    checks, node_checks = _checks(given)
    return Session(
        id=str(uuid.uuid4()),
        node=given.get("Node") or context.identity.node,
        name=given.get("Name", ""),
        lock_delay=given.get("LockDelay", _DEFAULT_LOCK_DELAY),
        behavior=behavior,
        ttl=ttl,
        checks=checks,
        node_checks=node_checks,
        service_checks=tuple(check.get("ID", "") for check in given["ServiceChecks"])
        if given.get("ServiceChecks")
        else None,
        created=context.state.ledger.index + 1,
        modified=context.state.ledger.index + 1,
    )


def _checks(given: dict[str, Any]) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """The checks of the old field and of the new one. An empty list in either is how clients ask for none at all."""
    checks, node_checks = given.get("Checks", [SERF_HEALTH]), given.get("NodeChecks", [SERF_HEALTH])
    if not checks:
        return None, ()
    if not node_checks:
        return None, node_checks if node_checks is None else ()
    return None if checks == [SERF_HEALTH] else tuple(checks), tuple(node_checks)


def _refuse_bad_ttl(text: str, least: float) -> None:
    if not text:
        return
    try:
        ttl = parse_duration(text)
    except ValueError as error:
        raise FailedError(f"Session TTL '{text}' invalid: {error}") from None
    if ttl and not least <= ttl / NANOSECONDS <= DAY:
        limits = f"{format_duration(round(least * NANOSECONDS))}={format_duration(round(DAY * NANOSECONDS))}"
        raise FailedError(f"Invalid Session TTL '{ttl}', must be between [{limits}]")


def _id(request: Request) -> str:
    if not request.rest:
        raise BadRequestError("Missing session")
    return request.rest
