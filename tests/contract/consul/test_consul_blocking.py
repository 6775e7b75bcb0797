"""Blocking queries: what wakes a reader, and what does not.

The indexes are those of the real server, down to its habits: a check wakes the readers of its service, a check of a node those of
all services on that node, and a service without instances has the index of the last time that any service lost its last one.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.consul.conftest import MOST, Api
from tests.support.waiting import eventually_async


async def external(api: Api, node: str, **fields: Any) -> None:
    await api.done("catalog/register", {"Node": node, "Address": "10.0.0.1", **fields})


# ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "path", ["catalog/nodes", "catalog/services", "health/service/{name}", "health/state/any", "kv/{name}"]
)
async def test_without_a_change_a_read_ends_with_its_time_and_the_same_index(api: Api, path: str) -> None:
    path = path.format(name=api.name())
    async with api.watching(path, wait="300ms") as watch:
        assert (await watch.ran_out(0.3)).index == watch.before.index


async def test_the_time_is_stretched_by_up_to_a_sixteenth(api: Api) -> None:
    key = api.name("kv/key")

    async def in_time() -> bool:
        async with api.watching(key, wait="1600ms") as watch:
            await watch.ran_out(1.6)
            return time.monotonic() - watch.began < 1.6 * 17 / 16 + 0.3

    await eventually_async(in_time, MOST, what="one of several waits that this test looks at in time")


async def test_a_read_from_an_older_index_does_not_wait(api: Api) -> None:
    key = api.name("kv/key")
    await api.done(key, b"1")
    index = (await api.get(key)).index
    assert (await asyncio.wait_for(api.get(key, index=index - 1, wait="10m"), MOST)).index == index


async def test_a_read_from_a_later_index_waits_for_it(api: Api) -> None:
    key = api.name("kv/key")
    await api.done(key, b"1")
    now = (await api.get(key)).index
    reply = await api.get(key, index=now + 1_000_000, wait="200ms")
    assert reply.index == now


async def test_index_zero_does_not_wait(api: Api) -> None:
    assert (await asyncio.wait_for(api.get("catalog/nodes", index=0, wait="10m"), MOST)).index > 0


async def test_an_index_is_never_zero(api: Api) -> None:
    for path in (
        "session/list",
        "kv/" + api.name(),
        "catalog/node/" + api.name("nobody"),
        "event/list",
        "coordinate/nodes",
    ):
        assert (await api.get(path)).index >= 1


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_change_of_a_key_wakes_its_reader(api: Api) -> None:
    key = api.name("kv/key")
    await api.done(key, b"1")
    async with api.watching(key) as watch:
        await api.done(key, b"2")
        reply = await watch.woken()
        assert reply.index == reply.json[0]["ModifyIndex"]


async def test_the_deletion_of_a_key_wakes_its_reader(api: Api) -> None:
    key = api.name("kv/key")
    await api.done(key, b"1")
    async with api.watching(key) as watch:
        await api.delete(key)
        reply = await watch.woken()
        assert (reply.status, reply.index > watch.before.index) == (404, True)


async def test_a_key_that_comes_wakes_who_waits_for_it(api: Api) -> None:
    key = api.name("kv/key")
    async with api.watching(key) as watch:
        assert watch.before.status == 404
        await api.done(key, b"1")
        assert (await watch.woken()).json[0]["Value"]


async def test_other_keys_do_not_wake_the_reader_of_a_key(api: Api) -> None:
    key = api.name("kv/key")
    await api.done(key, b"1")
    async with api.watching(key, wait="400ms") as watch:
        await api.done(f"{key}/below", b"1")
        await api.done(api.name("kv/other"), b"1")
        await api.delete(f"{key}/below")
        assert (await watch.ran_out(0.4)).index == watch.before.index


async def test_the_same_value_wakes_nobody(api: Api) -> None:
    key = api.name("kv/key")
    await api.done(key, b"1")
    async with api.watching(key, wait="400ms") as watch:
        await api.done(key, b"1")
        assert (await watch.ran_out(0.4)).index == watch.before.index


@pytest.mark.parametrize("params", [{"recurse": ""}, {"keys": ""}, {"keys": "", "separator": "/"}])
async def test_changes_below_a_prefix_wake_its_reader(api: Api, params: dict[str, str]) -> None:
    prefix = api.name("kv/tree")
    await api.done(f"{prefix}/a", b"1")
    async with api.watching(f"{prefix}/", **params) as watch:
        await api.done(f"{prefix}/b", b"1")
        await watch.woken()
    async with api.watching(f"{prefix}/", **params) as watch:
        await api.delete(f"{prefix}/a")
        assert (await watch.woken()).index > watch.before.index
    async with api.watching(f"{prefix}/", **params) as watch:
        await api.delete(f"{prefix}/", recurse="")
        reply = await watch.woken()
        assert (reply.status, reply.index > watch.before.index) == (404, True)


async def test_changes_elsewhere_do_not_wake_the_reader_of_a_prefix(api: Api) -> None:
    prefix = api.name("kv/tree")
    await api.done(f"{prefix}/a", b"1")
    async with api.watching(f"{prefix}/", wait="400ms", recurse="") as watch:
        await api.done(f"{prefix}0", b"1")
        await api.delete(f"{prefix}0")
        assert (await watch.ran_out(0.4)).index == watch.before.index


async def test_a_prefix_that_was_emptied_keeps_its_index(api: Api) -> None:
    prefix = api.name("kv/tree")
    await api.done(f"{prefix}/a", b"1")
    await api.delete(f"{prefix}/a")
    async with api.watching(f"{prefix}/", wait="400ms", recurse="") as watch:
        await api.done(api.name("kv/elsewhere"), b"1")
        assert (await watch.ran_out(0.4)).index == watch.before.index


async def test_a_lock_wakes_who_waits_for_its_key(api: Api) -> None:
    key = api.name("kv/lock")
    session = (await api.done("session/create", {"LockDelay": "0s"}))["ID"]
    await api.done(key, b"1")
    async with api.watching(key) as watch:
        await api.done(key, b"1", acquire=session)
        assert (await watch.woken()).json[0]["Session"] == session
    async with api.watching(key) as watch:
        await api.done(f"session/destroy/{session}")
        assert "Session" not in (await watch.woken()).json[0]


async def test_every_change_wakes_every_reader_of_many(api: Api) -> None:
    key = api.name("kv/key")
    await api.done(key, b"1")
    index = (await api.get(key)).index
    readers = [asyncio.create_task(api.get(key, index=index, wait="10m")) for _ in range(100)]
    await api.done(key, b"2")
    replies = await asyncio.wait_for(asyncio.gather(*readers), MOST)
    assert len({reply.index for reply in replies}) == 1
    assert replies[0].index > index


# ── services ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_new_instance_wakes_the_readers_of_its_service(api: Api) -> None:
    name, node = api.name(), api.name("node")
    await external(api, node, Service={"ID": f"{name}-1", "Service": name})
    async with (
        api.watching(f"health/service/{name}", passing="") as health,
        api.watching(f"catalog/service/{name}") as catalog,
    ):
        await external(api, node, Service={"ID": f"{name}-2", "Service": name})
        assert len((await health.woken()).json) == 2
        assert len((await catalog.woken()).json) == 2


async def test_the_first_instance_wakes_who_waits_for_the_service(api: Api) -> None:
    name = api.name()
    async with api.watching(f"health/service/{name}") as watch:
        await external(api, api.name("node"), Service={"Service": name})
        found: list[Any] = []
        index = watch.before.index
        reply = await watch.woken()
        while not (found := reply.json):
            reply = await asyncio.wait_for(
                api.get(f"health/service/{name}", index=max(index, reply.index), wait="10m"), MOST
            )
        assert found[0]["Service"]["Service"] == name


async def test_the_loss_of_the_last_instance_wakes_the_readers(api: Api) -> None:
    name, node = api.name(), api.name("node")
    await external(api, node, Service={"Service": name})
    async with api.watching(f"health/service/{name}") as watch:
        await api.done("catalog/deregister", {"Node": node, "ServiceID": name})
        reply = await watch.woken()
        assert (reply.json, reply.index > watch.before.index) == ([], True)


def status_of(entry: dict[str, Any], check: str) -> str:
    return next(found["Status"] for found in entry["Checks"] if found["CheckID"] == check)


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        (
            {"Check": {"CheckID": "c", "ServiceID": "{name}", "Status": "critical"}},
            lambda entry: status_of(entry, "c") == "critical",
        ),
        ({"Check": {"CheckID": "n", "Status": "critical"}}, lambda entry: status_of(entry, "n") == "critical"),
        ({"Service": {"Service": "{name}", "Tags": ["new"]}}, lambda entry: entry["Service"]["Tags"] == ["new"]),
        ({"Address": "10.0.0.2"}, lambda entry: entry["Node"]["Address"] == "10.0.0.2"),
        ({"NodeMeta": {"a": "b"}}, lambda entry: entry["Node"]["Meta"] == {"a": "b"}),
    ],
)
async def test_what_changes_an_instance_wakes_the_readers_of_its_service_and_is_in_their_answer(
    api: Api, change: dict[str, Any], shown: Callable[[dict[str, Any]], bool]
) -> None:
    name, node = api.name(), api.name("node")
    await external(
        api, node, Service={"Service": name}, Checks=[{"CheckID": "c", "ServiceID": name, "Status": "passing"}]
    )
    await external(api, node, Check={"CheckID": "n", "Status": "passing"})
    async with api.watching(f"health/service/{name}") as watch:
        (field, value), *_ = change.items()
        if isinstance(value, dict):
            value = {key: item.format(name=name) if isinstance(item, str) else item for key, item in value.items()}
        await external(api, node, **{field: value})
        (entry,) = (await watch.woken()).json
        assert shown(entry) and not shown(watch.before.json[0])


async def test_other_services_nodes_and_keys_do_not_wake_the_readers_of_a_service(api: Api) -> None:
    name, other, node, away = api.name(), api.name(), api.name("node"), api.name("node")
    await external(api, node, Service={"Service": name}, Check={"CheckID": "c", "ServiceID": name, "Status": "passing"})
    async with (
        api.watching(f"health/service/{name}", wait="500ms") as health,
        api.watching(f"catalog/service/{name}", wait="500ms") as catalog,
    ):
        await external(api, node, Service={"Service": other})
        await external(api, node, Check={"CheckID": "o", "ServiceID": other, "Status": "critical"})
        await external(api, away, Service={"Service": other}, Check={"CheckID": "n", "Status": "critical"})
        await api.done("catalog/deregister", {"Node": away})
        await api.done("catalog/deregister", {"Node": node, "ServiceID": other})
        await api.done(api.name("kv/key"), b"1")
        await api.done("session/create", {})
        assert (await health.ran_out(0.5)).index == health.before.index
        assert (await catalog.ran_out(0.5)).index == catalog.before.index


async def test_a_registration_without_a_change_wakes_no_reader_of_the_service(api: Api) -> None:
    name, node = api.name(), api.name("node")
    fields = {
        "Service": {"Service": name, "Tags": ["t"]},
        "Check": {"CheckID": "c", "ServiceID": name, "Status": "passing"},
    }
    await external(api, node, **fields)
    async with (
        api.watching(f"health/service/{name}", wait="400ms") as health,
        api.watching("catalog/services", wait="400ms") as services,
        api.watching("catalog/nodes", wait="400ms") as nodes,
    ):
        await external(api, node, **fields)
        for watch in (health, services, nodes):
            assert (await watch.ran_out(0.4)).index == watch.before.index


async def test_an_agents_registration_without_a_change_wakes_no_reader_of_the_service(api: Api) -> None:
    name = await api.registered(api.name(), Tags=["t"])
    async with api.watching(f"health/service/{name}", wait="500ms") as watch:
        body = {"Name": name, "ID": name, "Tags": ["t"], "Check": {"TTL": "1h", "Status": "passing"}}
        await api.done("agent/service/register", body)
        assert (await watch.ran_out(0.5)).index == watch.before.index


async def test_checks_do_not_wake_the_readers_of_the_list_of_services(api: Api) -> None:
    name, node = api.name(), api.name("node")
    await external(api, node, Service={"Service": name}, Check={"CheckID": "c", "ServiceID": name, "Status": "passing"})
    async with api.watching("catalog/services", wait="400ms") as watch:
        await external(api, node, Check={"CheckID": "c", "ServiceID": name, "Status": "critical"})
        assert (await watch.ran_out(0.4)).index == watch.before.index


async def test_services_that_come_and_go_wake_the_readers_of_the_list(api: Api) -> None:
    name, node = api.name(), api.name("node")
    async with api.watching("catalog/services") as watch:
        await external(api, node, Service={"Service": name})
        assert name in (await watch.woken()).json
    async with api.watching("catalog/services") as watch:
        await api.done("catalog/deregister", {"Node": node, "ServiceID": name})
        assert name not in (await watch.woken()).json


async def test_a_check_wakes_the_readers_of_checks(api: Api) -> None:
    node = api.name("node")
    await external(api, node, Check={"CheckID": "c", "Status": "passing"})
    paths = (f"health/node/{node}", "health/state/any", "health/state/critical")
    async with api.watching(paths[0]) as one, api.watching(paths[1]) as two, api.watching(paths[2]) as three:
        await external(api, node, Check={"CheckID": "c", "Status": "critical"})
        for watch in (one, two, three):
            found = (await watch.woken()).json
            assert ("c", "critical") in [(it["CheckID"], it["Status"]) for it in found if it["Node"] == node]


async def test_nodes_that_come_and_change_and_go_wake_the_readers_of_the_list(api: Api) -> None:
    node = api.name("node")
    for body in ({"Address": "10.0.0.1"}, {"Address": "10.0.0.2"}):
        async with api.watching("catalog/nodes") as watch:
            await api.done("catalog/register", {"Node": node, **body})
            found = (await watch.woken()).json
            assert body["Address"] in [it["Address"] for it in found if it["Node"] == node]
    async with api.watching("catalog/nodes") as watch:
        await api.done("catalog/deregister", {"Node": node})
        assert node not in [it["Node"] for it in (await watch.woken()).json]


async def test_sessions_wake_the_readers_of_sessions(api: Api) -> None:
    async with api.watching("session/list") as watch:
        id = (await api.done("session/create", {}))["ID"]
        assert id in [it["ID"] for it in (await watch.woken()).json]
    async with api.watching(f"session/info/{id}") as watch:
        await api.done(f"session/destroy/{id}")
        assert (await watch.woken()).json == []


async def test_events_wake_the_readers_of_events(api: Api) -> None:
    name = api.name("event")
    async with api.watching("event/list", name=name) as watch:
        fired = await api.done(f"event/fire/{name}", b"payload")
        (shown,) = (await watch.woken()).json
    assert (shown["ID"], shown["Name"], shown["Payload"]) == (fired["ID"], name, "cGF5bG9hZA==")


async def test_events_go_to_those_whom_they_are_for(api: Api) -> None:
    service = await api.registered(api.name(), Tags=["v1"])
    name = api.name("event")
    for params in ({}, {"node": "test-"}, {"service": service}, {"service": service, "tag": "v"}):
        await api.done(f"event/fire/{name}", **params)
    expected = 4
    await api.until(f"event/list?name={name}", lambda found: len(found) == expected)
    for params in ({"node": "elsewhere"}, {"service": "nobody"}, {"service": service, "tag": "v2"}):
        await api.done(f"event/fire/{name}", **params)
    last = await api.done(f"event/fire/{name}")
    found = await api.until(f"event/list?name={name}", lambda found: found[-1]["ID"] == last["ID"])
    assert len(found) == expected + 1
    refused = await api.put(f"event/fire/{name}", tag="v1")
    assert (refused.status, refused.text) == (500, "Cannot provide tag filter without service filter")


# ── the indexes as a whole ───────────────────────────────────────────────────────────────────────────────────────────

READS = {
    "nodes": "catalog/nodes",
    "services": "catalog/services",
    "A": "catalog/service/{a}",
    "health A": "health/service/{a}",
    "B": "catalog/service/{b}",
    "health B": "health/service/{b}",
    "node": "catalog/node/{node}",
    "checks of A": "health/checks/{a}",
    "checks of node": "health/node/{node}",
    "state": "health/state/critical",
}
CHECKS = {"checks of A", "checks of node", "state"}
MOVES: list[tuple[str, dict[str, Any], set[str]]] = [
    ("register", {}, {"nodes", "node"}),
    ("register", {"Service": {"ID": "a1", "Service": "{a}"}}, {"services", "A", "health A", "node"}),
    ("register", {"Service": {"ID": "b1", "Service": "{b}"}}, {"services", "B", "health B", "node"}),
    ("register", {"Service": {"ID": "a1", "Service": "{a}"}}, set()),
    ("register", {"Service": {"ID": "a1", "Service": "{a}", "Port": 1}}, {"services", "A", "health A", "node"}),
    ("register", {"Check": {"CheckID": "c", "ServiceID": "a1", "Status": "passing"}}, {"A", "health A", *CHECKS}),
    ("register", {"Check": {"CheckID": "c", "ServiceID": "a1", "Status": "passing"}}, CHECKS),
    ("register", {"Check": {"CheckID": "c", "ServiceID": "a1", "Status": "warning"}}, {"A", "health A", *CHECKS}),
    ("register", {"Check": {"CheckID": "n", "Status": "passing"}}, {"A", "B", "health A", "health B", *CHECKS}),
    ("register", {"Address": "10.0.0.2"}, {"nodes", "node", "A", "B", "health A", "health B"}),
    ("deregister", {"CheckID": "c"}, {"A", "health A", *CHECKS}),
    ("deregister", {"CheckID": "n"}, {"services", "node", "A", "B", "health A", "health B", *CHECKS}),
    ("deregister", {"ServiceID": "b1"}, {"services", "node", "B", "health B", *CHECKS}),
    ("register", {"Service": {"ID": "a2", "Service": "{a}"}}, {"services", "A", "health A", "node"}),
    ("deregister", {"ServiceID": "a2"}, {"services", "A", "health A", "node", *CHECKS}),
]


async def test_each_change_moves_the_indexes_that_it_moves_on_the_real_server(api: Api) -> None:
    names = {"a": api.name(), "b": api.name(), "node": api.name("node")}

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: filled(item) for key, item in value.items()}
        return value.format(**names) if isinstance(value, str) else value

    async def indexes() -> dict[str, int]:
        return {read: (await api.get(path.format(**names))).index for read, path in READS.items()}

    # Some service has lost its last instance: from then on services that are absent have an index of their own.
    await external(api, names["node"], Service={"Service": api.name()})
    await api.done("catalog/deregister", {"Node": names["node"]})
    address = "10.0.0.1"
    for verb, fields, moved in MOVES:
        before = await indexes()
        body = {"Node": names["node"], **filled(fields)}
        if verb == "register":
            address = body.setdefault("Address", address)
        await api.done(f"catalog/{verb}", body)
        after = await indexes()
        assert {read for read in READS if after[read] != before[read]} == moved, (verb, fields)
        assert all(after[read] >= before[read] for read in READS), (verb, fields)
