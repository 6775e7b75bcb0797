"""/v1/agent: the services of the agent, maintenance, and its view of their health."""

import asyncio
from typing import Any

import pytest

from tests.contract.consul.conftest import MOST, Api


async def test_a_service_shows_what_it_was_registered_with(api: Api) -> None:
    name = api.name()
    given = {
        "ID": f"{name}-1",
        "Name": name,
        "Tags": ["b", "a", "b"],
        "Port": 8080,
        "Address": "10.0.0.7",
        "Meta": {"version": "1"},
        "Weights": {"Passing": 5, "Warning": 2},
        "EnableTagOverride": True,
        "TaggedAddresses": {"lan": {"Address": "1.2.3.4", "Port": 9}},
    }
    await api.done("agent/service/register", given)
    expected = {key: value for key, value in given.items() if key != "Name"} | {"Service": name}
    its_own = {"Address": "10.0.0.7", "Port": 8080}
    expected["TaggedAddresses"] = {"lan": {"Address": "1.2.3.4", "Port": 9}, "lan_ipv4": its_own, "wan_ipv4": its_own}
    reply = await api.get(f"agent/service/{name}-1")
    assert reply.json == expected | {"ContentHash": reply.headers["X-Consul-ContentHash"]}
    assert (await api.get("agent/services")).json[f"{name}-1"] == expected
    (catalog,) = await api.until(f"catalog/service/{name}", bool)
    assert (catalog["Node"], catalog["ServiceAddress"], catalog["ServicePort"]) == ("test-node", "10.0.0.7", 8080)
    assert catalog["ServiceTags"] == ["b", "a", "b"]


async def test_what_is_not_given_has_defaults(api: Api) -> None:
    name = api.name()
    await api.done("agent/service/register", {"Name": name, "Tags": None, "Meta": None, "Check": None, "Checks": None})
    assert (await api.get("agent/services")).json[name] == {
        "ID": name,
        "Service": name,
        "Tags": [],
        "Meta": {},
        "Port": 0,
        "Address": "",
        "Weights": {"Passing": 1, "Warning": 1},
        "EnableTagOverride": False,
    }


async def test_field_names_may_be_in_snake_case_where_the_documentation_says_so(api: Api) -> None:
    name = api.name()
    body = {"name": name, "enable_tag_override": True, "tagged_addresses": {"lan": {"address": "1.1.1.1", "port": 1}}}
    await api.done("agent/service/register", body)
    shown = (await api.get(f"agent/service/{name}")).json
    assert shown["EnableTagOverride"] is True
    assert shown["TaggedAddresses"] == {"lan": {"Address": "1.1.1.1", "Port": 1}}


@pytest.mark.parametrize("name", ["with space", "dots.and_lines-", "ünï", "/slash", "UPPER"])
async def test_a_name_may_have_any_characters(api: Api, name: str) -> None:
    name = f"{name}{api.name('')}"
    await api.done("agent/service/register", {"Name": name})
    assert (await api.get("agent/services")).json[name]["Service"] == name
    await api.until("catalog/services", lambda found: name in found)


async def test_a_service_is_replaced_as_a_whole(api: Api) -> None:
    name = await api.registered(api.name(), Tags=["old"], Meta={"a": "b"}, Port=1)
    await api.done("agent/service/register", {"Name": name, "Port": 2})
    shown = (await api.get(f"agent/service/{name}")).json
    assert (shown["Tags"], shown["Meta"], shown["Port"]) == ([], {}, 2)
    await api.until(
        f"catalog/service/{name}", lambda found: found[0]["ServicePort"] == 2 and found[0]["ServiceTags"] == []
    )


async def test_deregistering_takes_the_checks_along(api: Api) -> None:
    name = await api.registered(api.name())
    await api.done(f"agent/service/deregister/{name}")
    assert name not in (await api.get("agent/services")).json
    assert f"service:{name}" not in (await api.get("agent/checks")).json
    await api.until(f"health/service/{name}", lambda found: not found)
    await api.until("health/node/test-node", lambda found: all(it["ServiceID"] != name for it in found))


async def test_deregistering_what_is_not_there(api: Api) -> None:
    assert (await api.put("agent/service/deregister/" + api.name("nobody"))).status == 200
    nameless = await api.put("agent/service/deregister/")
    assert (nameless.status, nameless.text) == (500, "ServiceID missing")


async def test_an_unknown_service(api: Api) -> None:
    name = api.name("nobody")
    reply = await api.get(f"agent/service/{name}")
    assert (reply.status, reply.text) == (404, f"unknown service ID: {name}")


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"", 400, "Request decode failed: EOF"),
        (b"{", 400, "Request decode failed: unexpected EOF"),
        (b"xx", 400, "Request decode failed: invalid character 'x' looking for beginning of value"),
        (
            b'{"Name":"f",}',
            400,
            "Request decode failed: invalid character '}' looking for beginning of object key string",
        ),
        (b"null", 400, "Missing service name"),
        ({}, 400, "Missing service name"),
        (
            {"Name": 1},
            400,
            "Request decode failed: json: cannot unmarshal number into Go struct field .Name of type string",
        ),
        (
            {"Name": "a", "Port": "80"},
            400,
            "Request decode failed: json: cannot unmarshal string into Go struct field .Port of type int",
        ),
        (
            {"Name": "a", "Port": 1.5},
            400,
            "Request decode failed: json: cannot unmarshal number 1.5 into Go struct field .Port of type int",
        ),
        (
            {"Name": "a", "Tags": "x"},
            400,
            "Request decode failed: json: cannot unmarshal string into Go struct field .Tags of type []string",
        ),
        (
            {"Name": "a", "Tags": [1]},
            400,
            "Request decode failed: json: cannot unmarshal number into Go struct field .Tags of type string",
        ),
        (
            {"Name": "a", "Meta": []},
            400,
            "Request decode failed: json: cannot unmarshal array into Go struct field .Meta of type map[string]string",
        ),
        ({"Name": "a", "Unknown": 1}, 400, 'Request decode failed: json: unknown field "Unknown"'),
        ({"Name": "a", "Address": "0.0.0.0"}, 400, "Invalid service address"),
        ({"Name": "a", "Address": "[::]"}, 400, "Invalid service address"),
        (
            {"Name": "a", "Meta": {"a b": "x"}},
            400,
            "Invalid Service Meta: Couldn't load metadata pair ('a b', 'x'): Key contains invalid characters",
        ),
        (
            {"Name": "a", "Meta": {"consul-x": "1"}},
            400,
            "Invalid Service Meta: Couldn't load metadata pair ('consul-x', '1'): "
            "Key prefix 'consul-' is reserved for internal use",
        ),
        (
            {"Name": "a", "Meta": {str(key): "" for key in range(65)}},
            400,
            "Invalid Service Meta: Node metadata cannot contain more than 64 key/value pairs",
        ),
        ({"Name": "a", "Weights": {"Passing": 0}}, 400, "Invalid Weights: Passing must be greater than 0"),
        ({"Name": "a", "Weights": {"Passing": 1, "Warning": -1}}, 400, None),
    ],
)
async def test_a_service_that_cannot_be_is_refused(api: Api, body: Any, status: int, text: str | None) -> None:
    reply = await api.put("agent/service/register", body)
    assert reply.status == status
    assert text is None or reply.text == text
    assert "a" not in (await api.get("agent/services")).json


async def test_long_metadata_is_refused(api: Api) -> None:
    for meta in ({"k" * 129: "x"}, {"k": "x" * 513}):
        reply = await api.put("agent/service/register", {"Name": "a", "Meta": meta})
        assert reply.status == 400
        assert " is too long (limit: " in reply.text
    name = api.name()
    await api.done("agent/service/register", {"Name": name, "Meta": {"k" * 128: "x" * 512}})


async def test_what_follows_the_json_is_not_looked_at(api: Api) -> None:
    name = api.name()
    assert (await api.put("agent/service/register", b'{"Name":"%s"} and more' % name.encode())).status == 200


# ── waiting for a change of one service ──────────────────────────────────────────────────────────────────────────────


async def test_the_hash_of_a_service_changes_with_it(api: Api) -> None:
    name = await api.registered(api.name(), Port=1)
    first = (await api.get(f"agent/service/{name}")).headers["X-Consul-ContentHash"]
    assert (await api.get(f"agent/service/{name}")).headers["X-Consul-ContentHash"] == first
    await api.done("agent/service/register", {"Name": name, "Port": 2})
    assert (await api.get(f"agent/service/{name}")).headers["X-Consul-ContentHash"] != first


async def test_a_read_with_the_current_hash_waits_for_a_change(api: Api) -> None:
    name = await api.registered(api.name(), Port=1)
    now = (await api.get(f"agent/service/{name}")).headers["X-Consul-ContentHash"]
    assert (await api.get(f"agent/service/{name}", hash="other", wait="10m")).json["Port"] == 1
    waiting = asyncio.create_task(api.get(f"agent/service/{name}", hash=now, wait="10m"))
    await api.done("agent/service/register", {"Name": name, "Port": 2})
    assert (await asyncio.wait_for(waiting, MOST)).json["Port"] == 2


async def test_a_read_with_the_current_hash_ends_with_its_time(api: Api) -> None:
    name = await api.registered(api.name())
    now = (await api.get(f"agent/service/{name}")).headers["X-Consul-ContentHash"]
    assert (await api.get(f"agent/service/{name}", hash=now, wait="200ms")).json["ContentHash"] == now


# ── maintenance ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_service_in_maintenance_has_a_critical_check_that_says_why(api: Api) -> None:
    name = await api.registered(api.name(), Tags=["t"])
    await api.done(f"agent/service/maintenance/{name}", enable="true", reason="draining")
    found = await api.until(f"health/service/{name}", lambda found: len(found[0]["Checks"]) == 3)
    check = next(it for it in found[0]["Checks"] if it["CheckID"] == f"_service_maintenance:{name}")
    assert (check["Name"], check["Status"], check["Notes"]) == ("Service Maintenance Mode", "critical", "draining")
    assert (check["ServiceID"], check["ServiceTags"], check["Type"]) == (name, ["t"], "maintenance")
    assert (await api.get(f"health/service/{name}", passing="")).json == []

    await api.done(f"agent/service/maintenance/{name}", enable="false")
    await api.until(f"health/service/{name}?passing=1", bool)


async def test_the_node_in_maintenance_takes_all_its_services_along(api: Api) -> None:
    names = [await api.registered(api.name()) for _ in range(2)]
    await api.done("agent/maintenance", enable="true")
    for name in names:
        await api.until(f"health/service/{name}?passing=1", lambda found: not found)
    check = (await api.get("agent/checks")).json["_node_maintenance"]
    assert (check["Name"], check["Status"]) == ("Node Maintenance Mode", "critical")
    assert check["Notes"].startswith("Maintenance mode is enabled for this node, but no reason was provided.")
    await api.done("agent/maintenance", enable="false")
    for name in names:
        await api.until(f"health/service/{name}?passing=1", bool)


@pytest.mark.parametrize(
    ("path", "params", "status", "text"),
    [
        ("agent/service/maintenance/nobody", {"enable": "true"}, 404, 'No service registered with ID "nobody"'),
        ("agent/service/maintenance/nobody", {}, 400, "Missing value for enable"),
        ("agent/service/maintenance/", {"enable": "true"}, 400, "Missing service ID"),
        ("agent/maintenance", {}, 400, "Missing value for enable"),
        ("agent/maintenance", {"enable": "maybe"}, 400, 'Invalid value for enable: "maybe"'),
    ],
)
async def test_maintenance_that_cannot_be_is_refused(
    api: Api, path: str, params: dict[str, str], status: int, text: str
) -> None:
    reply = await api.put(path, **params)
    assert (reply.status, reply.text) == (status, text)


# ── the agent's view of health ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("status", "code"), [("passing", 200), ("warning", 429), ("critical", 503)])
async def test_the_health_of_a_service_is_the_worst_of_its_checks(api: Api, status: str, code: int) -> None:
    name = await api.registered(api.name())
    await api.done(f"agent/check/update/service:{name}", {"Status": status})
    reply = await api.get(f"agent/health/service/id/{name}")
    assert (reply.status, reply.headers["X-Consul-Reason"]) == (code, status)
    assert (reply.json["AggregatedStatus"], reply.json["Service"]["ID"]) == (status, name)
    assert [it["CheckID"] for it in reply.json["Checks"]] == [f"service:{name}"]
    text = await api.get(f"agent/health/service/id/{name}", format="text")
    assert (text.status, text.text, text.headers["Content-Type"]) == (code, status, "text/plain")


async def test_the_health_of_a_name_is_the_worst_of_its_instances(api: Api) -> None:
    name = api.name()
    for id in ("a", "b"):
        await api.registered(name, f"{name}-{id}")
    assert (await api.get(f"agent/health/service/name/{name}")).status == 200
    await api.done(f"agent/service/maintenance/{name}-b", enable="true")
    reply = await api.get(f"agent/health/service/name/{name}")
    assert (reply.status, reply.headers["X-Consul-Reason"]) == (503, "maintenance")
    states = {it["Service"]["ID"]: it["AggregatedStatus"] for it in reply.json}
    assert states == {f"{name}-a": "passing", f"{name}-b": "maintenance"}


async def test_the_health_of_what_is_not_there(api: Api) -> None:
    name = api.name("nobody")
    by_id = await api.get(f"agent/health/service/id/{name}")
    assert (by_id.status, by_id.json) == (404, {"AggregatedStatus": "critical", "Service": None, "Checks": None})
    by_name = await api.get(f"agent/health/service/name/{name}")
    assert (by_name.status, by_name.json) == (404, [])
    assert (await api.get("agent/health/service/id/")).text == "Bad request: Missing serviceID"


@pytest.mark.parametrize(
    ("address", "added"),
    [("10.0.0.7", ["lan_ipv4", "wan_ipv4"]), ("fe80::7", ["lan_ipv6", "wan_ipv6"]), ("host.example", []), ("", [])],
)
async def test_an_ip_address_is_tagged_by_its_family(api: Api, address: str, added: list[str]) -> None:
    name = api.name()
    await api.done("agent/service/register", {"Name": name, "Address": address, "Port": 80})
    tagged = (await api.get(f"agent/service/{name}")).json.get("TaggedAddresses", {})
    assert tagged == {tag: {"Address": address, "Port": 80} for tag in added}
