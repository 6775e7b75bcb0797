"""/v1/acl: policies and tokens."""

import base64
import datetime
import hashlib
import re
import uuid
from collections.abc import Mapping
from typing import Any

from embedded.consul import body, wire
from embedded.consul.errors import AclNotFoundError, BadRequestError, FailedError, PermissionDeniedError
from embedded.consul.golang import NANOSECONDS, format_duration
from embedded.consul.http.context import Context, utc_now
from embedded.consul.http.message import Answer, Request, json_answer
from embedded.consul.http.query import Result
from embedded.consul.model import Policy, Token
from embedded.consul.state.acl import ANONYMOUS_ID, MANAGEMENT_ID
from embedded.consul.state.ledger import POLICIES, TOKENS
from embedded.consul.state.rules import READ, WRITE

_POLICY = body.Struct(
    "ACLPolicy",
    {"ID": body.text, "Name": body.text, "Description": body.text, "Rules": body.text, "Datacenters": body.TEXTS},
    strict=False,
)
_LINK = body.Struct("ACLTokenPolicyLink", {"ID": body.text, "Name": body.text}, strict=False)
_IDENTITY = body.Struct("ACLServiceIdentity", {"ServiceName": body.text, "Datacenters": body.TEXTS}, strict=False)
_TOKEN = body.Struct(
    "ACLToken",
    {
        "AccessorID": body.text,
        "SecretID": body.text,
        "Description": body.text,
        "Policies": body.list_of(_LINK, "[]structs.ACLTokenPolicyLink"),
        "ServiceIdentities": body.list_of(_IDENTITY, "structs.ACLServiceIdentities"),
        "Local": body.boolean,
        "ExpirationTTL": body.duration,
        "ExpirationTime": body.text,
    },
    strict=False,
)
_NAME = re.compile(r"[A-Za-z0-9\-_]{1,128}")
_SHORTEST_LIFE, _LONGEST_LIFE = 60.0, 24 * 3600.0
_DECODE = "Token decoding failed: "


async def bootstrap(context: Context, request: Request) -> Answer:
    acl = context.state.acl
    acl.require_enabled()
    context.state.ledger.next()
    return json_answer(_token_shape(context, acl.bootstrap(utc_now())), request)


# ── policies ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def policies(context: Context, request: Request) -> Answer:
    _require(context, request, READ)

    def value() -> list[wire.Json]:
        shapes = (_policy_shape(policy) for policy in context.state.acl.policies())
        return [{"Datacenters": None} | {key: it for key, it in shape.items() if key != "Rules"} for shape in shapes]

    ledger = context.state.ledger
    return await context.query(request, lambda: Result(ledger.index_of(POLICIES), [POLICIES], value))


async def create_policy(context: Context, request: Request) -> Answer:
    _require(context, request, WRITE)
    given = body.decode(await request.body(), _POLICY, prefix="Policy decoding failed: ")
    if given.get("ID"):
        raise BadRequestError("Bad request: Cannot specify the ID when creating a new policy")
    return _put_policy(context, request, str(uuid.uuid4()), given)


async def read_policy(context: Context, request: Request) -> Answer:
    """By id, or by `name/…`."""
    _require(context, request, READ)
    acl, (kind, _, name) = context.state.acl, request.rest.partition("/")
    policy = acl.policy_named(name) if kind == "name" and name else acl.policy(request.rest)
    if policy is None:
        raise AclNotFoundError
    ledger = context.state.ledger
    return await context.query(request, lambda: Result(ledger.index_of(POLICIES), [], lambda: _policy_shape(policy)))


async def update_policy(context: Context, request: Request) -> Answer:
    _require(context, request, WRITE)
    given = body.decode(await request.body(), _POLICY, prefix="Policy decoding failed: ")
    known = context.state.acl.policy(request.rest)
    if known is None:
        raise FailedError(f"Invalid Policy: no such policy {request.rest}")
    if known.id == MANAGEMENT_ID and given.get("Rules", "") != known.rules:
        raise FailedError("Changing the Rules for the builtin global-management policy is not permitted")
    return _put_policy(context, request, known.id, given)


async def delete_policy(context: Context, request: Request) -> Answer:
    _require(context, request, WRITE)
    if request.rest == MANAGEMENT_ID:
        raise FailedError("Delete operation not permitted on the builtin global-management policy")
    context.state.ledger.next()
    context.state.acl.delete_policy(request.rest)
    return json_answer(True, request)


def _put_policy(context: Context, request: Request, id: str, given: Mapping[str, Any]) -> Answer:
    name = given.get("Name", "")
    if not name:
        raise FailedError("Invalid Policy: no Name is set")
    if not _NAME.fullmatch(name):
        raise FailedError("Invalid Policy: invalid Name. Only alphanumeric characters, '-' and '_' are allowed")
    datacenters = tuple(given["Datacenters"]) if given.get("Datacenters") else None
    policy = Policy(id, name, given.get("Description", ""), given.get("Rules", ""), datacenters)
    context.state.ledger.next()
    return json_answer(_policy_shape(context.state.acl.put_policy(policy)), request)


# ── tokens ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def tokens(context: Context, request: Request) -> Answer:
    _require(context, request, READ)
    policy, acl = request.get("policy"), context.state.acl

    def value() -> list[wire.Json]:
        shapes = (_token_shape(context, it) for it in acl.tokens() if not policy or policy in it.policies)
        return [{key: item for key, item in shape.items() if key != "SecretID"} for shape in shapes]

    return await context.query(request, lambda: Result(context.state.ledger.index_of(TOKENS), [TOKENS], value))


async def create_token(context: Context, request: Request) -> Answer:
    _require(context, request, WRITE)
    given = body.decode(await request.body(), _TOKEN, prefix=_DECODE)
    accessor, secret = given.get("AccessorID") or str(uuid.uuid4()), given.get("SecretID") or str(uuid.uuid4())
    for what, id in (("AccessorID", accessor), ("SecretID", secret)):
        if not _is_uuid(id):
            raise FailedError(f"Invalid Token: {what} is not a valid UUID")
    acl = context.state.acl
    if acl.token(accessor):
        raise FailedError("Invalid Token: AccessorID is already in use")
    if acl.secret_in_use(secret):
        raise FailedError("Invalid Token: SecretID is already in use")
    now = utc_now()
    token = Token(
        accessor=accessor,
        secret=secret,
        description=given.get("Description", ""),
        policies=_policy_ids(context, given),
        service_identities=tuple(given.get("ServiceIdentities", ())),
        local=given.get("Local", False),
        create_time=now,
        expiration_time=_expiration(given, now),
    )
    context.state.ledger.next()
    return json_answer(_token_shape(context, acl.put_token(token)), request)


async def read_own_token(context: Context, request: Request) -> Answer:
    acl = context.state.acl
    acl.require_enabled()
    if not request.token:
        raise AclNotFoundError
    token, index = acl.token_of(request.token, utc_now()), context.state.ledger.index_of(TOKENS)
    return await context.query(request, lambda: Result(index, [], lambda: _token_shape(context, token)))


async def read_token(context: Context, request: Request) -> Answer:
    _require(context, request, READ)
    token = _known_token(context, request.rest)
    index = context.state.ledger.index_of(TOKENS)
    return await context.query(request, lambda: Result(index, [], lambda: _token_shape(context, token)))


async def update_token(context: Context, request: Request) -> Answer:
    """Also `/clone`, which makes a new token with the same policies."""
    _require(context, request, WRITE)
    accessor, _, verb = request.rest.partition("/")
    known = _known_token(context, accessor)
    given = body.decode(await request.body(), _TOKEN, prefix=_DECODE)
    if verb == "clone":
        accessor, secret, created = str(uuid.uuid4()), str(uuid.uuid4()), utc_now()
        policies, identities = known.policies, known.service_identities
    else:
        accessor, secret, created = known.accessor, known.secret, known.create_time
        policies, identities = _policy_ids(context, given), tuple(given.get("ServiceIdentities", ()))
    token = Token(
        accessor,
        secret,
        given.get("Description", ""),
        policies,
        identities,
        known.local,
        created,
        known.expiration_time,
    )
    context.state.ledger.next()
    return json_answer(_token_shape(context, context.state.acl.put_token(token)), request)


async def delete_token(context: Context, request: Request) -> Answer:
    _require(context, request, WRITE)
    if request.rest == ANONYMOUS_ID:
        raise FailedError("Delete operation not permitted on the anonymous token")
    context.state.ledger.next()
    context.state.acl.delete_token(request.rest)
    return json_answer(True, request)


# ── this file's own ──────────────────────────────────────────────────────────────────────────────────────────────────


def _require(context: Context, request: Request, access: str) -> None:
    context.state.acl.require_enabled()
    if not context.authorize(request).allow("acl", access):
        raise PermissionDeniedError


def _known_token(context: Context, accessor: str) -> Token:
    token = context.state.acl.token(accessor)
    if token is None:
        raise AclNotFoundError
    return token


def _policy_ids(context: Context, given: Mapping[str, Any]) -> tuple[str, ...]:
    acl, ids = context.state.acl, []
    for link in given.get("Policies", ()):
        id, name = link.get("ID", ""), link.get("Name", "")
        policy = acl.policy(id) if id else acl.policy_named(name)
        if policy is None:
            what = f'ID "{id}"' if id else f'name "{name}"'
            raise FailedError(f"No such ACL policy with {what}")
        ids.append(policy.id)
    return tuple(dict.fromkeys(ids))


def _expiration(given: Mapping[str, Any], now: str) -> str:
    seconds = given.get("ExpirationTTL", 0) / NANOSECONDS
    if not seconds:
        return str(given.get("ExpirationTime", ""))
    told = format_duration(given["ExpirationTTL"])
    if seconds < _SHORTEST_LIFE:
        raise FailedError(f"ExpirationTime cannot be less than 1m0s in the future (was {told})")
    if seconds > _LONGEST_LIFE:
        raise FailedError(f"ExpirationTime cannot be more than 24h0m0s in the future (was {told})")
    end = datetime.datetime.fromisoformat(now) + datetime.timedelta(seconds=seconds)
    return end.isoformat().replace("+00:00", "Z")


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def _policy_shape(policy: Policy) -> wire.Json:
    shape: wire.Json = {"ID": policy.id, "Name": policy.name, "Description": policy.description, "Rules": policy.rules}
    if policy.datacenters:
        shape["Datacenters"] = policy.datacenters
    digest = _hash(policy.name, policy.description, policy.rules, *(policy.datacenters or ()))
    return shape | {"Hash": digest, "CreateIndex": policy.created, "ModifyIndex": policy.modified}


def _token_shape(context: Context, token: Token) -> wire.Json:
    links = [(id, context.state.acl.policy(id)) for id in token.policies]
    shape: wire.Json = {"AccessorID": token.accessor, "SecretID": token.secret, "Description": token.description}
    if links := [(id, policy) for id, policy in links if policy]:
        shape["Policies"] = [{"ID": id, "Name": policy.name} for id, policy in links if policy]
    if token.service_identities:
        shape["ServiceIdentities"] = token.service_identities
    shape["Local"] = token.local
    if token.expiration_time:
        shape["ExpirationTime"] = token.expiration_time
    shape["CreateTime"] = token.create_time
    digest = _hash(token.accessor, token.secret, token.description, *token.policies)
    return shape | {"Hash": digest, "CreateIndex": token.created, "ModifyIndex": token.modified}


def _hash(*parts: str) -> str:
    return base64.b64encode(hashlib.blake2b("\0".join(parts).encode(), digest_size=32).digest()).decode()
