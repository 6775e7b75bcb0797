"""/v1/txn: several operations on keys as one write, all or none."""

from collections.abc import Callable, Mapping
from typing import Any

from embedded.consul import body, wire
from embedded.consul.errors import ApiError, BadRequestError, PermissionDeniedError, TooLargeError
from embedded.consul.http.context import Context
from embedded.consul.http.endpoints.kv import require_session
from embedded.consul.http.message import Answer, Request, json_answer
from embedded.consul.http.query import refuse_other_datacenter
from embedded.consul.model import Entry
from embedded.consul.state.rules import READ, WRITE, Authorizer

_KV = body.Struct(
    "KVTxnOp",
    {
        "Verb": body.text,
        "Key": body.text,
        "Value": body.octets,
        "Flags": body.unsigned,
        "Index": body.unsigned,
        "Session": body.text,
        "Namespace": body.text,
    },
    strict=False,
)
_OTHERS = ("Node", "Service", "Check", "Intention")
_OPERATION = body.Struct("TxnOp", {"KV": _KV, **dict.fromkeys(_OTHERS, body.anything)}, strict=False)
_OPERATIONS = body.list_of(_OPERATION, "api.TxnOps")
_READS = frozenset({"get", "get-tree", "check-index", "check-session", "check-not-exists"})
_WITHOUT_VALUE = frozenset({"get", "get-tree"})

Operation = Mapping[str, Any]


class _OperationError(Exception):
    """Why one operation cannot be done; so none is."""


async def run(context: Context, request: Request) -> Answer:
    raw = await request.body(most=context.limits.value_bytes, setting="txn_max_req_len")
    given = body.decode(raw, _OPERATIONS, prefix="Failed to parse body: ")
    most = context.limits.txn_operations
    if len(given) > most:
        raise TooLargeError(f"Transaction contains too many operations ({len(given)} > {most})")
    refuse_other_datacenter(request, context.identity.datacenter)
    may = context.authorize(request)
    if other := next((name for each in given for name in _OTHERS if name in each), None):
        raise BadRequestError(f"Transactions here are of KV operations alone, not of {other}")
    operations: list[Operation] = [each["KV"] for each in given if "KV" in each]
    only_reads = all(operation.get("Verb", "") not in _WRITES for operation in operations)
    errors = _refused(context, may, operations)
    results: list[wire.Json] | None = None
    if not errors:
        results, errors = _carry_out(context, may, operations)
    shape: wire.Json = {"Results": None if errors else results, "Errors": errors or None}
    answer_headers = []
    if only_reads:
        shape |= {"Index": 0, "LastContact": 0, "KnownLeader": True, "ConsistencyLevel": ""}
        answer_headers = [(b"X-Consul-Knownleader", b"true"), (b"X-Consul-Lastcontact", b"0")]
    answer = json_answer(shape, request, status=409 if errors else 200)
    answer.headers += answer_headers
    return answer


def _refused(context: Context, may: Authorizer, operations: list[Operation]) -> list[wire.Json]:
    """What is wrong before anything is done."""
    errors = []
    for at, operation in enumerate(operations):
        try:
            _refuse(context, may, operation)
        except (ApiError, _OperationError) as error:
            errors.append({"OpIndex": at, "What": str(error)})
    return errors


def _refuse(context: Context, may: Authorizer, operation: Operation) -> None:
    verb, key = operation.get("Verb", ""), operation.get("Key", "")
    if not key and verb not in ("get-tree", "delete-tree"):
        raise _OperationError("Must provide key")
    if verb == "delete-tree":
        allowed = may.allow_below(key)
    elif verb == "get-tree":
        allowed = True  # what may not be read is left out
    elif verb in _READS:
        allowed = may.allow("key", READ, key)
    else:
        allowed = may.allow("key", WRITE, key)
    if not allowed:
        raise PermissionDeniedError
    if verb == "lock" and context.state.keys.delayed(key):
        raise _OperationError(f'failed to lock key "{key}" due to lock delay')


def _carry_out(
    context: Context, may: Authorizer, operations: list[Operation]
) -> tuple[list[wire.Json], list[wire.Json]]:
    """Tries all on a copy of what they touch, so that the errors are all told; the state changes only if there is none."""
    if any(operation.get("Verb") in _WRITES for operation in operations):
        context.state.ledger.next()
    results: list[wire.Json] = []
    errors: list[wire.Json] = []
    with context.state.keys.attempt() as attempt:
        for at, operation in enumerate(operations):
            verb = operation.get("Verb", "")
            try:
                step = _STEPS.get(verb)
                if step is None:
                    raise _OperationError(f'unknown KV verb "{verb}"')
                entries = [
                    it for it in step(context, operation) if verb != "get-tree" or may.allow("key", READ, it.key)
                ]
            except (ApiError, _OperationError) as error:
                errors.append({"OpIndex": at, "What": str(error)})
                continue
            results += [{"KV": wire.entry(it, value=verb in _WITHOUT_VALUE)} for it in entries]
        if not errors:
            attempt.keep()
    return results, errors


def _set(context: Context, operation: Operation) -> list[Entry]:
    return [context.state.keys.set(*_written(operation))]


def _cas(context: Context, operation: Operation) -> list[Entry]:
    done = context.state.keys.set_if(operation.get("Index", 0), *_written(operation))
    return [_done(done, f'failed to set key "{operation["Key"]}", index is stale')]


def _lock(context: Context, operation: Operation) -> list[Entry]:
    require_session(context, operation.get("Session", ""))
    done = context.state.keys.lock(*_written(operation), operation.get("Session", ""))
    return [_done(done, f'failed to lock key "{operation["Key"]}", lock is already held')]


def _unlock(context: Context, operation: Operation) -> list[Entry]:
    if not operation.get("Session"):
        raise _OperationError("missing session")
    done = context.state.keys.unlock(*_written(operation), operation.get("Session", ""))
    return [_done(done, f'failed to unlock key "{operation["Key"]}", lock isn\'t held, or is held by another session')]


def _get(context: Context, operation: Operation) -> list[Entry]:
    return [_existing(context, operation, "")]


def _get_tree(context: Context, operation: Operation) -> list[Entry]:
    return context.state.keys.below(operation.get("Key", ""))


def _delete(context: Context, operation: Operation) -> list[Entry]:
    context.state.keys.delete(operation["Key"])
    return []


def _delete_tree(context: Context, operation: Operation) -> list[Entry]:
    context.state.keys.delete_below(operation.get("Key", ""))
    return []


def _delete_cas(context: Context, operation: Operation) -> list[Entry]:
    if not context.state.keys.delete_if(operation.get("Index", 0), operation["Key"]):
        raise _OperationError(f'failed to delete key "{operation["Key"]}", index is stale')
    return []


def _check_index(context: Context, operation: Operation) -> list[Entry]:
    entry, index = _existing(context, operation, "failed to check index, "), operation.get("Index", 0)
    if entry.modified != index:
        text = f'failed index check for key "{entry.key}", current modify index {entry.modified} != {index}'
        raise _OperationError(text)
    return [entry]


def _check_session(context: Context, operation: Operation) -> list[Entry]:
    entry, session = _existing(context, operation, "failed to check session, "), operation.get("Session", "")
    if entry.session != session:
        text = f'failed session check for key "{entry.key}", current session "{entry.session}" != "{session}"'
        raise _OperationError(text)
    return [entry]


def _check_not_exists(context: Context, operation: Operation) -> list[Entry]:
    if context.state.keys.get(operation["Key"]):
        raise _OperationError(f'key "{operation["Key"]}" exists')
    return []


_STEPS: Mapping[str, Callable[[Context, Operation], list[Entry]]] = {
    "set": _set,
    "cas": _cas,
    "lock": _lock,
    "unlock": _unlock,
    "get": _get,
    "get-tree": _get_tree,
    "delete": _delete,
    "delete-tree": _delete_tree,
    "delete-cas": _delete_cas,
    "check-index": _check_index,
    "check-session": _check_session,
    "check-not-exists": _check_not_exists,
}
_WRITES = frozenset({"set", "cas", "lock", "unlock", "delete", "delete-tree", "delete-cas"})


def _written(operation: Operation) -> tuple[str, bytes, int]:
    return operation["Key"], operation.get("Value", b""), operation.get("Flags", 0)


def _existing(context: Context, operation: Operation, what: str) -> Entry:
    entry = context.state.keys.get(operation["Key"])
    if entry is None:
        raise _OperationError(f'{what}key "{operation["Key"]}" doesn\'t exist')
    return entry


def _done(entry: Entry | None, problem: str) -> Entry:
    if entry is None:
        raise _OperationError(problem)
    return entry
