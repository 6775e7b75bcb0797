"""/v1/catalog and /v1/health: what is registered, and what reads make of it."""

from typing import Any

import pytest

from tests.contract.consul.conftest import Api

CRITICAL, WARNING, PASSING = "critical", "warning", "passing"


async def external(api: Api, **fields: Any) -> str:
    """A node of its own, so that no agent keeps it up; its name."""
    node = fields.pop("Node", None) or api.name("node")
    assert await api.done("catalog/register", {"Node": node, "Address": "10.0.0.1", **fields}) is True
    return str(node)


# ── nodes ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_node_shows_what_it_was_registered_with(api: Api) -> None:
    id = "40e4a748-2192-161a-0510-" + api.name("")[-8:] + "abcd"
    node = await external(api, ID=id, NodeMeta={"rack": "1"}, TaggedAddresses={"lan": "10.0.0.9"})
    shown = next(it for it in (await api.get("catalog/nodes")).json if it["Node"] == node)
    index = shown["CreateIndex"]
    assert shown == {
        "ID": id,
        "Node": node,
        "Address": "10.0.0.1",
        "Datacenter": "dc1",
        "TaggedAddresses": {"lan": "10.0.0.9"},
        "Meta": {"rack": "1"},
        "CreateIndex": index,
        "ModifyIndex": index,
    }


async def test_nodes_are_sorted_and_may_be_picked_by_their_metadata(api: Api) -> None:
    rack = api.name("rack")
    names = sorted([await external(api, NodeMeta={"rack": rack, "row": str(row)}) for row in range(3)])
    assert [it["Node"] for it in (await api.get("catalog/nodes", **{"node-meta": f"rack:{rack}"})).json] == names
    both = [f"rack:{rack}", "row:1"]
    assert len((await api.get("catalog/nodes", **{"node-meta": both})).json) == 1


async def test_a_changed_node_keeps_its_create_index(api: Api) -> None:
    node = await external(api)
    before = (await api.get(f"catalog/node/{node}")).json["Node"]
    await external(api, Node=node, Address="10.0.0.2")
    after = (await api.get(f"catalog/node/{node}")).json["Node"]
    assert (after["Address"], after["CreateIndex"]) == ("10.0.0.2", before["CreateIndex"])
    assert after["ModifyIndex"] > before["ModifyIndex"]


async def test_a_node_that_comes_with_another_name_but_its_id_is_renamed(api: Api) -> None:
    id = "40e4a748-2192-161a-0510-" + api.name("")[-8:] + "abcd"
    old = await external(api, ID=id, Service={"Service": api.name()})
    new = await external(api, ID=id)
    assert (await api.get(f"catalog/node/{old}")).json is None
    assert (await api.get(f"catalog/node/{new}")).json["Node"]["ID"] == id


async def test_an_unknown_node(api: Api) -> None:
    name = api.name("nobody")
    assert (await api.get(f"catalog/node/{name}")).json is None
    assert (await api.get(f"catalog/node-services/{name}")).json == {"Node": None, "Services": None}
    assert (await api.get(f"health/node/{name}")).json == []


async def test_near_is_accepted(api: Api) -> None:
    for near in ("_agent", "_ip", "test-node", "nobody"):
        assert (await api.get("catalog/nodes", near=near)).status == 200
        assert len((await api.get("health/service/consul", near=near)).json) == 1


# ── services ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_service_shows_what_it_was_registered_with(api: Api) -> None:
    name = api.name()
    service = {
        "ID": f"{name}-1",
        "Service": name,
        "Tags": ["b", "a"],
        "Address": "10.0.0.7",
        "Port": 8080,
        "Meta": {"version": "1"},
        "Weights": {"Passing": 5, "Warning": 2},
        "EnableTagOverride": True,
        "TaggedAddresses": {"wan": {"Address": "1.2.3.4", "Port": 80}},
    }
    node = await external(api, Service=service, NodeMeta={"rack": "1"})
    (shown,) = (await api.get(f"catalog/service/{name}")).json
    index = shown["CreateIndex"]
    assert shown == {
        "ID": "",
        "Node": node,
        "Address": "10.0.0.1",
        "Datacenter": "dc1",
        "TaggedAddresses": None,
        "NodeMeta": {"rack": "1"},
        "ServiceKind": "",
        "ServiceID": f"{name}-1",
        "ServiceName": name,
        "ServiceTags": ["b", "a"],
        "ServiceAddress": "10.0.0.7",
        "ServiceTaggedAddresses": {"wan": {"Address": "1.2.3.4", "Port": 80}},
        "ServiceWeights": {"Passing": 5, "Warning": 2},
        "ServiceMeta": {"version": "1"},
        "ServicePort": 8080,
        "ServiceEnableTagOverride": True,
        "ServiceProxy": {"MeshGateway": {}, "Expose": {}},
        "ServiceConnect": {},
        "CreateIndex": index,
        "ModifyIndex": index,
    }
    on_node = (await api.get(f"catalog/node/{node}")).json["Services"]
    assert on_node == {
        f"{name}-1": {
            **service,
            "Proxy": {"MeshGateway": {}, "Expose": {}},
            "Connect": {},
            "CreateIndex": index,
            "ModifyIndex": index,
        }
    }
    assert (await api.get(f"catalog/node-services/{node}")).json["Services"] == list(on_node.values())
    (instance,) = (await api.get(f"health/service/{name}")).json
    assert instance["Service"] == on_node[f"{name}-1"]
    assert (instance["Node"]["Node"], instance["Checks"]) == (node, [])


async def test_what_is_not_given_has_defaults(api: Api) -> None:
    name = api.name()
    node = await external(api, Service={"Service": name})
    shown = (await api.get(f"catalog/node/{node}")).json["Services"][name]
    assert (shown["ID"], shown["Tags"], shown["Meta"], shown["Port"]) == (name, [], None, 0)
    assert shown["Weights"] == {"Passing": 1, "Warning": 1}
    assert (await api.get(f"catalog/service/{name}")).json[0]["ServiceMeta"] == {}


async def test_services_are_listed_with_the_tags_of_all_their_instances(api: Api) -> None:
    name, rack = api.name(), api.name("rack")
    await external(api, Service={"Service": name, "Tags": ["b", "a"]}, NodeMeta={"rack": rack})
    await external(api, Service={"Service": name, "Tags": ["a", "c"]})
    assert sorted((await api.get("catalog/services")).json[name]) == ["a", "b", "c"]
    there = (await api.get("catalog/services", **{"node-meta": f"rack:{rack}"})).json
    assert {service: sorted(tags) for service, tags in there.items()} == {name: ["a", "b"]}


async def test_instances_come_in_the_order_of_node_and_id(api: Api) -> None:
    name = api.name()
    nodes = sorted([api.name("node") for _ in range(3)])
    for node in reversed(nodes):
        for id in ("b", "a"):
            await external(api, Node=node, Service={"ID": f"{name}-{id}", "Service": name})
    expected = [(node, f"{name}-{id}") for node in nodes for id in ("a", "b")]
    assert [(it["Node"], it["ServiceID"]) for it in (await api.get(f"catalog/service/{name}")).json] == expected
    health = (await api.get(f"health/service/{name}")).json
    assert [(it["Node"]["Node"], it["Service"]["ID"]) for it in health] == expected


@pytest.mark.parametrize(
    ("tags", "expected"),
    [(["v1"], {"x", "y"}), (["v1", "blue"], {"x"}), (["V1", "BLUE"], {"x"}), (["v2"], set()), (["v1", "v2"], set())],
)
@pytest.mark.parametrize("path", ["catalog", "health"])
async def test_all_wanted_tags_must_be_there_whatever_their_case(
    api: Api, path: str, tags: list[str], expected: set[str]
) -> None:
    name = api.name()
    node = await external(api, Service={"ID": f"{name}-x", "Service": name, "Tags": ["v1", "Blue"]})
    await external(api, Node=node, Service={"ID": f"{name}-y", "Service": name, "Tags": ["v1"]})
    found = (await api.get(f"{path}/service/{name}", tag=tags)).json
    ids = [it["ServiceID"] if path == "catalog" else it["Service"]["ID"] for it in found]
    assert {id.removeprefix(f"{name}-") for id in ids} == expected


async def test_names_are_found_in_any_case(api: Api) -> None:
    name = api.name("MiXed")
    node = await external(
        api, Node=api.name("NoDe"), Service={"Service": name}, Check={"CheckID": "C", "Status": PASSING}
    )
    assert [it["ServiceName"] for it in (await api.get(f"catalog/service/{name.lower()}")).json] == [name]
    assert len((await api.get(f"health/service/{name.upper()}")).json) == 1
    assert (await api.get(f"catalog/node/{node.upper()}")).json["Node"]["Node"] == node
    assert [it["CheckID"] for it in (await api.get(f"health/node/{node.lower()}")).json] == ["C"]


# ── checks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_check_shows_what_it_was_registered_with(api: Api) -> None:
    name = api.name()
    definition = {
        "HTTP": "http://10.0.0.1/",
        "Interval": "10s",
        "Timeout": "1s",
        "DeregisterCriticalServiceAfter": "90s",
    }
    check = {"CheckID": "c", "Name": "n", "Status": WARNING, "Notes": "why", "Output": "out", "ServiceID": name}
    node = await external(api, Service={"Service": name, "Tags": ["t"]}, Check={**check, "Definition": definition})
    (shown,) = (await api.get(f"health/checks/{name}")).json
    index = shown["CreateIndex"]
    assert shown == {
        **check,
        "Node": node,
        "ServiceName": name,
        "ServiceTags": ["t"],
        "Type": "http",
        "Definition": {**definition, "DeregisterCriticalServiceAfter": "1m30s"},
        "CreateIndex": index,
        "ModifyIndex": index,
    }
    assert (await api.get(f"health/node/{node}")).json == [shown]
    assert shown in (await api.get("health/state/warning")).json
    assert shown in (await api.get("health/state/any")).json
    assert shown not in (await api.get("health/state/critical")).json


async def test_several_checks_come_at_once_and_are_critical_by_default(api: Api) -> None:
    node = await external(api, Checks=[{"Name": "b"}, {"CheckID": "a", "Status": PASSING}], Check={"Name": "c"})
    shown = (await api.get(f"health/node/{node}")).json
    assert [(it["CheckID"], it["Status"]) for it in shown] == [("a", PASSING), ("b", CRITICAL), ("c", CRITICAL)]


@pytest.mark.parametrize(
    ("of_node", "of_service", "of_other", "passes"),
    [
        (PASSING, PASSING, CRITICAL, True),
        (WARNING, PASSING, PASSING, False),
        (PASSING, WARNING, PASSING, False),
        (CRITICAL, PASSING, PASSING, False),
        (PASSING, CRITICAL, PASSING, False),
    ],
)
async def test_passing_leaves_out_instances_with_any_other_check(
    api: Api, of_node: str, of_service: str, of_other: str, passes: bool
) -> None:
    name, other = api.name(), api.name()
    node = await external(api, Service={"Service": name}, Check={"CheckID": "node", "Status": of_node})
    await external(
        api, Node=node, Service={"Service": other}, Check={"CheckID": "o", "ServiceID": other, "Status": of_other}
    )
    await external(api, Node=node, Check={"CheckID": "s", "ServiceID": name, "Status": of_service})
    (instance,) = (await api.get(f"health/service/{name}")).json
    assert [it["CheckID"] for it in instance["Checks"]] == ["node", "s"]
    for value, expected in (("", passes), ("1", passes), ("true", passes), ("false", True), ("0", True)):
        assert len((await api.get(f"health/service/{name}", passing=value)).json) == int(expected)


async def test_a_passing_that_is_neither_is_refused(api: Api) -> None:
    reply = await api.get("health/service/consul", passing="maybe")
    assert (reply.status, reply.text) == (400, "Invalid value for ?passing")


@pytest.mark.parametrize("path", ["health/state/any", "health/service/{name}", "health/checks/{name}"])
async def test_health_may_be_picked_by_the_nodes_metadata(api: Api, path: str) -> None:
    name, rack = api.name(), api.name("rack")
    check = {"CheckID": "c", "ServiceID": name, "Status": PASSING}
    await external(api, Service={"Service": name}, NodeMeta={"rack": rack}, Check=check)
    await external(api, Service={"Service": name}, NodeMeta={"rack": "other"}, Check=check)
    found = await api.get(path.format(name=name), **{"node-meta": f"rack:{rack}"})
    assert len(found.json) == 1


# ── removing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_service_goes_with_its_checks_and_a_node_with_all(api: Api) -> None:
    name, other = api.name(), api.name()
    node = await external(api, Service={"Service": name}, Check={"CheckID": "s", "ServiceID": name, "Status": PASSING})
    await external(api, Node=node, Service={"Service": other}, Check={"CheckID": "n", "Status": PASSING})

    await api.done("catalog/deregister", {"Node": node, "ServiceID": name})
    assert (await api.get(f"catalog/service/{name}")).json == []
    assert name not in (await api.get("catalog/services")).json
    assert [it["CheckID"] for it in (await api.get(f"health/node/{node}")).json] == ["n"]

    await api.done("catalog/deregister", {"Node": node, "CheckID": "n"})
    assert (await api.get(f"health/node/{node}")).json == []

    await api.done("catalog/deregister", {"Node": node})
    assert (await api.get(f"catalog/service/{other}")).json == []
    assert (await api.get(f"catalog/node/{node}")).json is None


@pytest.mark.parametrize("what", [{}, {"ServiceID": "none"}, {"CheckID": "none"}])
async def test_removing_what_is_not_there_is_done_already(api: Api, what: dict[str, str]) -> None:
    assert await api.done("catalog/deregister", {"Node": api.name("nobody"), **what}) is True


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"", 400, "Request decode failed: EOF"),
        (b"{", 400, "Request decode failed: unexpected EOF"),
        ({}, 500, "Must provide node"),
        ({"Node": "n"}, 500, "Must provide address if SkipNodeUpdate is not set"),
        ({"Node": "n", "Address": "1.1.1.1", "Datacenter": "elsewhere"}, 500, "No path to datacenter"),
        ({"Node": "n", "Address": "1.1.1.1", "ID": "bad"}, 500, "Bad node ID: uuid string is wrong length"),
        ({"Node": "n", "Address": "1.1.1.1", "Service": {"ID": "x"}}, 500, "Must provide service name with ID"),
        ({"Node": "n", "Address": "1.1.1.1", "Nope": 1}, 400, 'Request decode failed: json: unknown field "Nope"'),
        (
            {"Node": 1},
            400,
            "Request decode failed: json: cannot unmarshal number into Go struct field RegisterRequest.Node of type string",
        ),
        (
            {"Node": "n", "Address": "1.1.1.1", "Service": {"Service": "x", "Port": "80"}},
            400,
            "Request decode failed: json: cannot unmarshal string into Go struct field NodeService.Service.Port of type int",
        ),
        (
            {"Node": "n", "Address": "1.1.1.1", "Check": {"CheckID": "c", "Node": "other"}},
            500,
            'check node "other" does not match node "n"',
        ),
    ],
)
async def test_a_registration_that_cannot_be_is_refused(api: Api, body: Any, status: int, text: str) -> None:
    reply = await api.put("catalog/register", body)
    assert (reply.status, reply.text) == (status, text)


async def test_a_registration_that_fails_changes_nothing(api: Api) -> None:
    node, name = api.name("node"), api.name()
    orphan = {"CheckID": "c", "ServiceID": "nobody"}
    body = {"Node": node, "Address": "10.0.0.1", "Service": {"Service": name}, "Check": orphan}
    reply = await api.put("catalog/register", body)
    assert reply.status == 500
    assert reply.text == f'failed inserting check: Missing service registration on node "{node}"'
    assert (await api.get(f"catalog/node/{node}")).json is None
    assert (await api.get(f"catalog/service/{name}")).json == []


async def test_field_names_are_read_in_any_case(api: Api) -> None:
    name, node = api.name(), api.name("node")
    await api.done("catalog/register", {"node": node, "ADDRESS": "10.0.0.1", "service": {"service": name, "port": 5}})
    assert (await api.get(f"catalog/service/{name}")).json[0]["ServicePort"] == 5


async def test_a_node_update_may_be_skipped(api: Api) -> None:
    name, node = api.name(), await external(api)
    await api.done("catalog/register", {"Node": node, "SkipNodeUpdate": True, "Service": {"Service": name}})
    (shown,) = (await api.get(f"catalog/service/{name}")).json
    assert (shown["Node"], shown["Address"]) == (node, "10.0.0.1")
