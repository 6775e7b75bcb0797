"""/v1/session, and the locks that sessions hold on keys."""

import time
import uuid
from typing import Any

import pytest

from tests.contract.consul.conftest import Api, kept
from tests.support.waiting import eventually_async

NOBODY = "adf4238a-882b-9ddc-4a9d-5b6758e4159e"


async def new(api: Api, **fields: Any) -> str:
    fields.setdefault("LockDelay", "0s")
    id = (await api.done("session/create", fields))["ID"]
    assert str(uuid.UUID(id)) == id
    return str(id)


async def test_a_session_shows_what_it_was_made_with(api: Api) -> None:
    id = await new(api, Name="mine", TTL="15s", LockDelay="1s", Behavior="delete")
    (shown,) = (await api.get(f"session/info/{id}")).json
    index = shown["CreateIndex"]
    assert shown == {
        "ID": id,
        "Name": "mine",
        "Node": "test-node",
        "LockDelay": 1_000_000_000,
        "Behavior": "delete",
        "TTL": "15s",
        "NodeChecks": ["serfHealth"],
        "ServiceChecks": None,
        "CreateIndex": index,
        "ModifyIndex": index,
    }
    assert shown in (await api.get("session/list")).json
    assert shown in (await api.get("session/node/test-node")).json


async def test_a_session_needs_no_body(api: Api) -> None:
    id = (await api.done("session/create"))["ID"]
    (shown,) = (await api.get(f"session/info/{id}")).json
    assert (shown["LockDelay"], shown["Behavior"], shown["TTL"]) == (15_000_000_000, "release", "")


@pytest.mark.parametrize(
    ("given", "nanoseconds"), [("2s", 2 * 10**9), (20, 20 * 10**9), ("90s", 90 * 10**9), (5 * 10**9, 5 * 10**9)]
)
async def test_a_lock_delay_is_text_or_seconds_or_nanoseconds(api: Api, given: object, nanoseconds: int) -> None:
    id = await new(api, LockDelay=given)
    assert (await api.get(f"session/info/{id}")).json[0]["LockDelay"] == nanoseconds


@pytest.mark.parametrize(
    "fields",
    [
        {"Checks": []},
        {"NodeChecks": []},
        {"Checks": None},
        {"Checks": ["serfHealth"], "NodeChecks": []},
        {"NodeChecks": None},
    ],
)
async def test_an_empty_list_of_checks_means_none(api: Api, fields: dict[str, Any]) -> None:
    (shown,) = (await api.get(f"session/info/{await new(api, **fields)}")).json
    assert not shown["NodeChecks"]
    assert "Checks" not in shown


@pytest.mark.parametrize(
    ("fields", "status", "text"),
    [
        ({"TTL": "5s"}, 500, "Invalid Session TTL '5000000000', must be between [10s=24h0m0s]"),
        ({"TTL": "25h"}, 500, "Invalid Session TTL '90000000000000', must be between [10s=24h0m0s]"),
        ({"TTL": "x"}, 500, "Session TTL 'x' invalid: time: invalid duration \"x\""),
        ({"Behavior": "x"}, 500, "Invalid Behavior setting 'x'"),
        ({"Node": "none"}, 500, "Missing node registration"),
        ({"Checks": ["none"]}, 500, "Missing check 'none' registration"),
        ({"ServiceChecks": [{"ID": "none"}]}, 500, "Missing check 'none' registration"),
        ({"LockDelay": "x"}, 400, 'Request decode failed: time: invalid duration "x"'),
        (
            {"Name": 1},
            400,
            "Request decode failed: json: cannot unmarshal number into Go struct field .Name of type string",
        ),
    ],
)
async def test_a_session_that_cannot_be_is_refused(api: Api, fields: dict[str, Any], status: int, text: str) -> None:
    reply = await api.put("session/create", fields)
    assert (reply.status, reply.text) == (status, text)


@pytest.mark.parametrize(("method", "path"), [("GET", "info"), ("PUT", "renew"), ("PUT", "destroy")])
async def test_an_id_that_is_none_is_refused(api: Api, method: str, path: str) -> None:
    reply = await api.call(method, f"session/{path}/nonsense")
    assert (reply.status, reply.text) == (500, "failed session lookup: index error: UUID must be 36 characters")


async def test_an_unknown_session(api: Api) -> None:
    assert (await api.get(f"session/info/{NOBODY}")).json == []
    assert await api.done(f"session/destroy/{NOBODY}") is True
    renewed = await api.put(f"session/renew/{NOBODY}")
    assert (renewed.status, renewed.text) == (404, f"Session id '{NOBODY}' not found")


async def test_destroying_and_renewing(api: Api) -> None:
    id = await new(api, TTL="10s")
    shown = (await api.get(f"session/info/{id}")).json
    assert await api.done(f"session/renew/{id}") == shown
    assert await api.done(f"session/destroy/{id}") is True
    assert (await api.get(f"session/info/{id}")).json == []


# ── locks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def holder(api: Api, key: str) -> str | None:
    session: str | None = (await api.get(key)).json[0].get("Session")
    return session


async def test_one_session_holds_a_lock(api: Api) -> None:
    key, mine, other = api.name("kv/lock"), await new(api), await new(api)
    assert await api.done(key, b"mine", acquire=mine) is True
    assert await api.done(key, b"other", acquire=other) is False
    assert await api.done(key, b"other", release=other) is False
    (entry,) = (await api.get(key)).json
    assert (entry["Session"], entry["LockIndex"]) == (mine, 1)
    assert (await api.get(key, raw="")).body == b"mine"


async def test_its_holder_may_lock_it_again_and_the_lock_index_stays(api: Api) -> None:
    key, mine = api.name("kv/lock"), await new(api)
    await api.done(key, b"1", acquire=mine)
    assert await api.done(key, b"2", acquire=mine) is True
    (entry,) = (await api.get(key)).json
    assert (entry["LockIndex"], entry["Session"]) == (1, mine)
    assert (await api.get(key, raw="")).body == b"2"


async def test_the_lock_index_counts_the_holders(api: Api) -> None:
    key, sessions = api.name("kv/lock"), [await new(api), await new(api)]
    for times, session in enumerate(sessions, 1):
        assert await api.done(key, b"", acquire=session) is True
        assert (await api.get(key)).json[0]["LockIndex"] == times
        assert await api.done(key, b"", release=session) is True
        assert await holder(api, key) is None


async def test_locks_are_advisory(api: Api) -> None:
    key, mine = api.name("kv/lock"), await new(api)
    await api.done(key, b"1", acquire=mine)
    assert await api.done(key, b"anybody's") is True
    assert await holder(api, key) == mine
    assert (await api.delete(key)).json is True
    assert await api.done(key, b"", acquire=await new(api)) is True


@pytest.mark.parametrize(
    ("id", "text"),
    [
        ("", "missing session"),
        ("nonsense", "failed session lookup: index error: UUID must be 36 characters"),
        (NOBODY, f'invalid session "{NOBODY}"'),
    ],
)
async def test_a_lock_needs_a_session(api: Api, id: str, text: str) -> None:
    reply = await api.put(api.name("kv/lock"), b"", acquire=id)
    assert (reply.status, reply.text) == (500, text)


async def test_a_release_by_a_session_that_is_none_is_false(api: Api) -> None:
    assert await api.done(api.name("kv/lock"), b"", release="nonsense") is False


async def test_the_end_of_a_session_releases_its_locks(api: Api) -> None:
    keys, mine = [api.name("kv/lock") for _ in range(3)], await new(api)
    for key in keys:
        await api.done(key, b"kept", acquire=mine)
    await api.done(f"session/destroy/{mine}")
    for key in keys:
        (entry,) = (await api.get(key)).json
        assert "Session" not in entry
        assert entry["LockIndex"] == 1
        assert (await api.get(key, raw="")).body == b"kept"


async def test_the_end_of_a_deleting_session_deletes_its_keys(api: Api) -> None:
    key, given_back, mine = api.name("kv/lock"), api.name("kv/lock"), await new(api, Behavior="delete")
    await api.done(key, b"", acquire=mine)
    await api.done(given_back, b"", acquire=mine)
    await api.done(given_back, b"", release=mine)
    await api.done(f"session/destroy/{mine}")
    assert (await api.get(key)).status == 404
    assert (await api.get(given_back)).status == 200


@pytest.mark.parametrize("behavior", ["release", "delete"])
async def test_after_a_session_has_ended_its_locks_stay_free_for_the_delay(api: Api, behavior: str) -> None:
    soon, late, next_one = api.name("kv/lock"), api.name("kv/lock"), await new(api)
    for key, delay in ((late, "60s"), (soon, "700ms")):
        mine = await new(api, LockDelay=delay, Behavior=behavior)
        await api.done(key, b"", acquire=mine)
        began = time.monotonic()
        await api.done(f"session/destroy/{mine}")
    await eventually_async(lambda: api.done(soon, b"", acquire=next_one), 30, 0.02)
    assert time.monotonic() - began >= 0.7
    assert await api.done(late, b"", acquire=next_one) is False


async def test_a_lock_that_was_given_back_is_free_at_once(api: Api) -> None:
    key, mine, next_one = api.name("kv/lock"), await new(api, LockDelay="60s"), await new(api)
    await api.done(key, b"", acquire=mine)
    await api.done(key, b"", release=mine)
    assert await api.done(key, b"", acquire=next_one) is True


# ── how sessions end ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_session_ends_when_one_of_its_checks_turns_critical(api: Api) -> None:
    check = api.name("check")
    await api.done("agent/check/register", {"Name": check, "TTL": "1h", "Status": "passing"})
    await api.until("health/node/test-node", lambda found: any(it["CheckID"] == check for it in found))
    id = await new(api, Checks=["serfHealth", check])
    assert (await api.get(f"session/info/{id}")).json[0]["Checks"] == ["serfHealth", check]

    async with api.watching("session/list") as watch:
        await api.done(f"agent/check/warn/{check}")
        await api.until("health/state/warning", lambda found: any(it["CheckID"] == check for it in found))
        assert (await api.get(f"session/info/{id}")).json != []
        await api.done(f"agent/check/fail/{check}")
        assert id not in [it["ID"] for it in (await watch.woken()).json]

    refused = await api.put("session/create", {"Checks": [check]})
    assert (refused.status, refused.text) == (500, f"Check '{check}' is in critical state")


@pytest.mark.parametrize("gone", ["check", "node"])
async def test_a_session_ends_with_its_check_or_its_node(api: Api, gone: str) -> None:
    node = api.name("node")
    check = {"CheckID": "alive", "Status": "passing"}
    await api.done("catalog/register", {"Node": node, "Address": "10.0.0.1", "Check": check})
    id, key = await new(api, Node=node, NodeChecks=["alive"]), api.name("kv/lock")
    await api.done(key, b"", acquire=id)
    await api.done("catalog/deregister", {"Node": node, **({"CheckID": "alive"} if gone == "check" else {})})
    assert (await api.get(f"session/info/{id}")).json == []
    assert await holder(api, key) is None


async def test_a_session_that_nobody_renews_ends(hasty_api: Api) -> None:
    api = hasty_api
    key, id = api.name("kv/lock"), ""

    async def begin() -> None:
        nonlocal id
        id = await new(api, TTL="400ms")
        await api.done(key, b"", acquire=id)

    async def renew() -> bool:
        was_held = await holder(api, key) == id
        return (await api.put(f"session/renew/{id}")).status == 200 and was_held

    renewed = await kept(begin, renew, ttl=0.4)
    await api.until(key, lambda found: "Session" not in found[0])
    assert time.monotonic() - renewed >= 0.4
    assert (await api.get(f"session/info/{id}")).json == []
