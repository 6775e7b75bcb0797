"""/v1/kv: keys and their values, by key or by prefix; locks."""

import urllib.parse
from typing import Any

from embedded.consul import wire
from embedded.consul.errors import BadRequestError, FailedError, PermissionDeniedError
from embedded.consul.golang import parse_uint
from embedded.consul.http.context import Context
from embedded.consul.http.message import Answer, Request, json_answer
from embedded.consul.http.query import Result, headers, options, refuse_other_datacenter, run
from embedded.consul.model import Entry
from embedded.consul.state.ledger import KEYS, TOMBSTONES
from embedded.consul.state.rules import READ, WRITE
from embedded.consul.watch import KeyTopic, PrefixTopic


async def get(context: Context, request: Request) -> Answer:
    if request.has("keys"):
        return await _below(context, request, names=True)
    if request.has("recurse"):
        return await _below(context, request, names=False)
    key = _key(request)
    if not context.authorize(request).allow("key", READ, key):
        raise PermissionDeniedError
    keys = context.state.keys

    def find() -> Result:
        entry = keys.get(key)
        if entry:
            return Result(entry.modified, [KeyTopic(key)], lambda: entry)
        return Result(keys.index_of_all(), [KEYS, TOMBSTONES], lambda: None)

    found = await _run(context, request, find)
    entry: Entry | None = found.value()
    if entry is None:
        return Answer(404, headers=headers(found.index))
    if request.has("raw"):
        kind = [
            (b"Content-Type", b"text/plain"),
            (b"X-Content-Type-Options", b"nosniff"),
            (b"Content-Security-Policy", b"sandbox"),
        ]
        return Answer(200, entry.value, [*kind, *headers(found.index)])
    answer = json_answer([wire.entry(entry)], request)
    answer.headers += headers(found.index)
    return answer


async def put(context: Context, request: Request) -> Answer:
    key = _key(request)
    _refuse_conflict(request, "cas", "acquire", "release")
    flags = _number(request, "flags")
    value = await request.body(most=context.limits.value_bytes, setting="kv_max_value_size")
    if not context.authorize(request).allow("key", WRITE, key):
        raise PermissionDeniedError
    refuse_other_datacenter(request, context.identity.datacenter)
    keys, ledger = context.state.keys, context.state.ledger
    done: Entry | None
    if request.has("cas"):
        index = _number(request, "cas")
        ledger.next()
        done = keys.set_if(index, key, value, flags)
    elif request.has("acquire"):
        require_session(context, request.get("acquire"))
        if keys.delayed(key):
            return json_answer(False, request)
        ledger.next()
        done = keys.lock(key, value, flags, request.get("acquire"))
    elif request.has("release"):
        ledger.next()
        done = keys.unlock(key, value, flags, request.get("release"))
    else:
        ledger.next()
        done = keys.set(key, value, flags)
    return json_answer(done is not None, request)


async def delete(context: Context, request: Request) -> Answer:
    _refuse_conflict(request, "recurse", "cas")
    may, keys = context.authorize(request), context.state.keys
    refuse_other_datacenter(request, context.identity.datacenter)
    if request.has("recurse"):
        if not may.allow_below(request.rest):
            raise PermissionDeniedError
        context.state.ledger.next()
        keys.delete_below(request.rest)
        return json_answer(True, request)
    key = _key(request)
    if not may.allow("key", WRITE, key):
        raise PermissionDeniedError
    index = _number(request, "cas") if request.has("cas") else None
    context.state.ledger.next()
    if index is not None:
        return json_answer(keys.delete_if(index, key), request)
    keys.delete(key)
    return json_answer(True, request)


def require_session(context: Context, id: str) -> None:
    """Raises FailedError unless there is such a session."""
    if not id:
        raise FailedError("missing session")
    if context.state.sessions.get(id) is None:
        raise FailedError(f'invalid session "{id}"')


async def _below(context: Context, request: Request, *, names: bool) -> Answer:
    prefix, keys = request.rest, context.state.keys
    may = context.authorize(request)
    topics = [PrefixTopic(prefix), KEYS, TOMBSTONES]

    def find() -> Result:
        # Where there is nothing below the prefix, its index is that of the whole store.
        index = keys.index_below(prefix)
        return Result(index, topics[:1] if index != keys.index_of_all() else topics, lambda: keys.below(prefix))

    found = await _run(context, request, find)
    entries = [entry for entry in found.value() if may.allow("key", READ, entry.key)]
    if not entries and not (names and not prefix):
        return Answer(404, headers=headers(found.index))
    shown: list[Any] = (
        _names(entries, prefix, request.get("separator")) if names else [wire.entry(it) for it in entries]
    )
    answer = json_answer(shown, request)
    answer.headers += headers(found.index)
    return answer


async def _run(context: Context, request: Request, find: Any) -> Result:
    wanted = options(request)
    refuse_other_datacenter(request, context.identity.datacenter)
    return await run(request, context.state.ledger, find, wanted)


def _names(entries: list[Entry], prefix: str, separator: str) -> list[str]:
    """The keys, each cut after the first separator that follows the prefix, without repeats."""
    cut = []
    for entry in entries:
        end = entry.key.find(separator, len(prefix)) if separator else -1
        cut.append(entry.key if end < 0 else entry.key[: end + len(separator)])
    return list(dict.fromkeys(cut))


def _key(request: Request) -> str:
    if not request.rest:
        raise BadRequestError("Missing key name")
    return request.rest


def _refuse_conflict(request: Request, *names: str) -> None:
    given = {name: request.get(name) for name in names if request.has(name)}
    if len(given) > 1:
        raise BadRequestError(f"Conflicting flags: {urllib.parse.urlencode(sorted(given.items()))}")


def _number(request: Request, name: str) -> int:
    if not request.has(name):
        return 0
    try:
        return parse_uint(request.get(name))
    except ValueError as error:
        raise FailedError(str(error)) from None
