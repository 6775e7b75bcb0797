"""/v1/txn: several operations as one write."""

import base64
from typing import Any

import pytest

from tests.contract.consul.conftest import Api, Reply


def b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


async def run(api: Api, *operations: dict[str, Any]) -> Reply:
    return await api.put("txn", [{"KV": operation} for operation in operations])


def errors(reply: Reply) -> list[tuple[int, str]]:
    assert reply.status == 409
    assert reply.json["Results"] is None
    return [(error["OpIndex"], error["What"]) for error in reply.json["Errors"]]


async def test_all_operations_are_one_write(api: Api) -> None:
    one, two = api.name("txn"), api.name("txn")
    reply = await run(
        api,
        {"Verb": "set", "Key": one, "Value": b64(b"1"), "Flags": 3},
        {"Verb": "cas", "Key": two, "Index": 0, "Value": b64(b"2")},
        {"Verb": "get", "Key": one},
        {"Verb": "delete", "Key": api.name("absent")},
        {"Verb": "delete-tree", "Key": api.name("absent")},
        {"Verb": "check-not-exists", "Key": api.name("absent")},
    )
    assert reply.status == 200
    assert reply.json["Errors"] is None
    shown = [result["KV"] for result in reply.json["Results"]]
    assert [(it["Key"], it["Flags"], it["Value"]) for it in shown] == [
        (one, 3, None),
        (two, 0, None),
        (one, 3, b64(b"1")),
    ]
    assert len({it["ModifyIndex"] for it in shown}) == 1


async def test_one_failure_undoes_all_and_every_failure_is_told(api: Api) -> None:
    key, new, gone = api.name("txn"), api.name("txn"), api.name("txn")
    await api.done(f"kv/{key}", b"before")
    index = (await api.get(f"kv/{key}")).json[0]["ModifyIndex"]
    reply = await run(
        api,
        {"Verb": "set", "Key": new, "Value": b64(b"1")},
        {"Verb": "set", "Key": key, "Value": b64(b"after")},
        {"Verb": "delete", "Key": key},
        {"Verb": "get", "Key": gone},
        {"Verb": "check-not-exists", "Key": new},
    )
    assert errors(reply) == [(3, f'key "{gone}" doesn\'t exist'), (4, f'key "{new}" exists')]
    assert (await api.get(f"kv/{new}")).status == 404
    (entry,) = (await api.get(f"kv/{key}")).json
    assert (entry["Value"], entry["ModifyIndex"]) == (b64(b"before"), index)


async def test_an_undone_transaction_wakes_nobody(api: Api) -> None:
    key = api.name("txn")
    await api.done(f"kv/{key}", b"before")
    async with api.watching(f"kv/{key}", wait="400ms") as watch:
        await run(api, {"Verb": "set", "Key": key, "Value": b64(b"after")}, {"Verb": "get", "Key": api.name("absent")})
        assert (await watch.ran_out(0.4)).index == watch.before.index


async def test_what_does_not_fit_is_told_in_words(api: Api) -> None:
    key, other = api.name("txn"), api.name("txn")
    session = (await api.done("session/create", {"LockDelay": "0s"}))["ID"]
    await api.done(f"kv/{key}", b"1")
    index = (await api.get(f"kv/{key}")).json[0]["ModifyIndex"]
    reply = await run(
        api,
        {"Verb": "cas", "Key": key, "Index": 1, "Value": ""},
        {"Verb": "check-index", "Key": key, "Index": 5},
        {"Verb": "check-session", "Key": key, "Session": session},
        {"Verb": "unlock", "Key": key, "Session": session},
        {"Verb": "delete-cas", "Key": key, "Index": 2},
        {"Verb": "check-not-exists", "Key": key},
        {"Verb": "lock", "Key": key, "Session": "nonsense"},
        {"Verb": "unlock", "Key": other, "Session": session},
        {"Verb": "nonsense", "Key": key},
        {"Verb": "check-index", "Key": other, "Index": 5},
    )
    assert errors(reply) == [
        (0, f'failed to set key "{key}", index is stale'),
        (1, f'failed index check for key "{key}", current modify index {index} != 5'),
        (2, f'failed session check for key "{key}", current session "" != "{session}"'),
        (3, f'failed to unlock key "{key}", lock isn\'t held, or is held by another session'),
        (4, f'failed to delete key "{key}", index is stale'),
        (5, f'key "{key}" exists'),
        (6, "failed session lookup: index error: UUID must be 36 characters"),
        (7, f'failed to unlock key "{other}", lock isn\'t held, or is held by another session'),
        (8, 'unknown KV verb "nonsense"'),
        (9, f'failed to check index, key "{other}" doesn\'t exist'),
    ]


async def test_locking_and_unlocking(api: Api) -> None:
    key = api.name("txn")
    session, other = [(await api.done("session/create", {"LockDelay": "0s"}))["ID"] for _ in range(2)]
    assert (await run(api, {"Verb": "lock", "Key": key, "Session": session, "Value": b64(b"x")})).status == 200
    taken = await run(api, {"Verb": "lock", "Key": key, "Session": other})
    assert errors(taken) == [(0, f'failed to lock key "{key}", lock is already held')]
    reply = await run(
        api,
        {"Verb": "check-session", "Key": key, "Session": session},
        {"Verb": "unlock", "Key": key, "Session": session},
        {"Verb": "lock", "Key": key, "Session": other},
    )
    assert [it["KV"].get("Session") for it in reply.json["Results"]] == [session, None, other]
    assert [it["KV"]["LockIndex"] for it in reply.json["Results"]] == [1, 1, 2]


async def test_a_lock_that_was_undone_is_not_held(api: Api) -> None:
    key = api.name("txn")
    session, other = [(await api.done("session/create", {"LockDelay": "0s"}))["ID"] for _ in range(2)]
    reply = await run(api, {"Verb": "lock", "Key": key, "Session": session}, {"Verb": "get", "Key": api.name("absent")})
    assert reply.status == 409
    assert await api.done(f"kv/{key}", b"", acquire=other) is True


async def test_a_tree_is_read_and_deleted(api: Api) -> None:
    prefix = api.name("tree")
    for name in ("b", "a"):
        await api.done(f"kv/{prefix}/{name}", name.encode())
    reply = await run(api, {"Verb": "get-tree", "Key": prefix}, {"Verb": "delete-tree", "Key": prefix})
    assert [(it["KV"]["Key"], it["KV"]["Value"]) for it in reply.json["Results"]] == [
        (f"{prefix}/a", b64(b"a")),
        (f"{prefix}/b", b64(b"b")),
    ]
    assert (await api.get(f"kv/{prefix}", recurse="")).status == 404


async def test_reads_alone_are_a_query(api: Api) -> None:
    key = api.name("txn")
    await api.done(f"kv/{key}", b"1")
    reply = await run(api, {"Verb": "get", "Key": key})
    assert reply.headers["X-Consul-KnownLeader"] == "true"
    assert (reply.json["KnownLeader"], reply.json["LastContact"]) == (True, 0)
    assert "X-Consul-KnownLeader" not in (await run(api, {"Verb": "set", "Key": key, "Value": ""})).headers


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"", 400, "Failed to parse body: EOF"),
        (b"[", 400, "Failed to parse body: unexpected EOF"),
        (b'{"x":1}', 400, "Failed to parse body: json: cannot unmarshal object into Go value of type api.TxnOps"),
        (
            b'[{"KV":{"Verb":"set","Key":"k","Value":"not base64!"}}]',
            400,
            "Failed to parse body: illegal base64 data at input byte 3",
        ),
        (b'[{"KV":{"Verb":"get","Key":"k"}}' + b',{"KV":{"Verb":"get","Key":"k"}}' * 64 + b"]", 413, None),
        (b'[{"KV":{"Verb":"set","Key":"k","Value":"' + b"eHh4" * 150_000 + b'"}}]', 413, None),
    ],
)
async def test_a_body_that_is_no_transaction_is_refused(api: Api, body: bytes, status: int, text: str | None) -> None:
    reply = await api.put("txn", body)
    assert reply.status == status
    assert text is None or reply.text == text


async def test_every_operation_needs_a_key(api: Api) -> None:
    assert errors(await run(api, {"Verb": "get", "Key": api.name()}, {"Verb": "set"}))[-1] == (1, "Must provide key")


async def test_nothing_to_do_is_done(api: Api) -> None:
    assert (await run(api)).json["Results"] == []
