"""How Consul answers what has nothing to do with what it keeps: methods, paths, options that all reads share."""

import asyncio

import pytest

from tests.contract.consul.conftest import Api


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "catalog/nodes", "OPTIONS,GET"),
        ("HEAD", "catalog/nodes", "OPTIONS,GET"),
        ("PUT", "health/service/web", "OPTIONS,GET"),
        ("DELETE", "agent/service/register", "OPTIONS,PUT"),
        ("GET", "session/create", "OPTIONS,PUT"),
        ("POST", "kv/key", "OPTIONS,GET,PUT,DELETE"),
    ],
)
async def test_a_method_that_an_endpoint_does_not_have_is_refused(
    api: Api, method: str, path: str, allowed: str
) -> None:
    reply = await api.call(method, path)
    assert reply.status == 405
    assert reply.headers["Allow"] == allowed
    assert reply.text == ("" if method == "HEAD" else f"method {method} not allowed")


async def test_options_tells_the_methods(api: Api) -> None:
    reply = await api.call("OPTIONS", "kv/key")
    assert (reply.status, reply.headers["Allow"]) == (200, "OPTIONS,GET,PUT,DELETE")


@pytest.mark.parametrize("path", ["", "nope", "catalog", "catalog/nodes/", "agent/check/nope"])
async def test_an_unknown_path_is_not_found(api: Api, path: str) -> None:
    reply = await api.get(path)
    assert (reply.status, reply.body) == (404, b"")


@pytest.mark.parametrize("path", ["catalog//nodes", "catalog/./nodes", "health/../catalog/nodes"])
async def test_a_path_with_needless_parts_leads_on_to_the_plain_one(api: Api, path: str) -> None:
    reader, writer = await asyncio.open_connection(api.server.host, api.server.port)
    writer.write(
        f"PUT /v1/{path}?a=b HTTP/1.1\r\nHost: consul\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()
    )
    head = (await reader.read()).partition(b"\r\n\r\n")[0].decode().splitlines()
    writer.close()
    assert head[0].split()[1] == "301"
    assert "Location: /v1/catalog/nodes?a=b" in head


@pytest.mark.parametrize(
    ("path", "missing"),
    [
        ("catalog/service/", "Missing service name"),
        ("catalog/node/", "Missing node name"),
        ("health/service/", "Missing service name"),
        ("health/node/", "Missing node name"),
        ("health/checks/", "Missing service name"),
        ("health/state/", "Missing check state"),
        ("session/info/", "Missing session"),
        ("session/node/", "Missing node name"),
        ("kv/", "Missing key name"),
    ],
)
async def test_a_read_says_which_name_is_missing(api: Api, path: str, missing: str) -> None:
    reply = await api.get(path)
    assert (reply.status, reply.text) == (400, missing)
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"stale": "", "consistent": ""}, "Cannot specify ?stale with ?consistent, conflicting semantics."),
        ({"index": "a"}, "Invalid index"),
        ({"index": "-1"}, "Invalid index"),
        ({"wait": "a"}, "Invalid wait time"),
        ({"wait": "5"}, "Invalid wait time"),
    ],
)
@pytest.mark.parametrize("path", ["catalog/nodes", "health/service/consul", "kv/key", "session/list"])
async def test_options_that_cannot_be_read_are_refused(api: Api, path: str, params: dict[str, str], text: str) -> None:
    reply = await api.get(path, **params)
    assert (reply.status, reply.text) == (400, text)


@pytest.mark.parametrize(
    ("params", "consistency"), [({}, "leader"), ({"stale": ""}, "stale"), ({"consistent": ""}, "consistent")]
)
async def test_a_read_of_the_catalog_tells_its_index_and_consistency(
    api: Api, params: dict[str, str], consistency: str
) -> None:
    for path in (
        "catalog/nodes",
        "catalog/services",
        "catalog/service/consul",
        "health/service/consul",
        "health/state/any",
    ):
        reply = await api.get(path, **params)
        assert reply.index > 0
        assert reply.headers["X-Consul-Effective-Consistency"] == consistency
        assert reply.headers["X-Consul-KnownLeader"] == "true"
        assert reply.headers["X-Consul-LastContact"] == "0"
        assert reply.headers["Content-Type"] == "application/json"


async def test_headers_are_spelt_as_scripts_look_for_them(api: Api) -> None:
    async with api.session.get(f"{api.server.url}/v1/catalog/nodes") as answer:
        spelt = {name.decode() for name, _ in answer.raw_headers}
    assert {"X-Consul-Index", "X-Consul-Knownleader", "X-Consul-Lastcontact", "Content-Type"} <= spelt


async def test_a_cached_read_is_accepted_and_says_so(api: Api) -> None:
    name = api.name()
    reply = await api.get(f"health/service/{name}", cached="")
    assert (reply.json, reply.headers["X-Cache"]) == ([], "MISS")


@pytest.mark.parametrize("path", ["catalog/nodes", "health/service/consul", "kv/key", "session/list", "status/leader"])
async def test_there_is_no_way_to_another_datacenter(api: Api, path: str) -> None:
    reply = await api.get(path, dc="elsewhere")
    assert (reply.status, reply.text) == (500, "No path to datacenter")


async def test_the_own_datacenter_may_be_named(api: Api) -> None:
    assert (await api.get("catalog/nodes", dc="dc1")).status == 200
    assert (await api.get("catalog/datacenters")).json == ["dc1"]


async def test_pretty_json_has_lines(api: Api) -> None:
    reply = await api.get("catalog/service/consul", pretty="")
    assert reply.text.startswith("[\n    {\n        ")


async def test_there_is_one_leader(api: Api) -> None:
    leader = (await api.get("status/leader")).json
    assert (await api.get("status/peers")).json == [leader]
    assert (await api.get("agent/self")).json["Stats"]["consul"]["leader_addr"] == leader


async def test_the_agent_tells_who_it_is(api: Api) -> None:
    itself = (await api.get("agent/self")).json
    config, member = itself["Config"], itself["Member"]
    assert config["Datacenter"] == "dc1"
    assert (config["Version"], config["Server"]) == ("1.8.7", True)
    assert member["Name"] == config["NodeName"] == "test-node"
    assert member["Tags"]["dc"] == "dc1"
    assert member["Status"] == 1
    assert (await api.get("agent/members")).json == [member]
    node = next(it for it in (await api.get("catalog/nodes")).json if it["Node"] == config["NodeName"])
    assert node["ID"] == config["NodeID"] == member["Tags"]["id"]
