"""/v1/acl, and what tokens may do elsewhere. Everything here asks for tokens."""

import json
import uuid
from typing import Any

import pytest

from tests.contract.consul.conftest import MANAGEMENT, Api

RULES = """
key_prefix "{p}/read/" { policy = "read" }   # a comment
key "{p}/read/but-write" { policy = "write" }
key_prefix "{p}/write/" { policy = "write" }
key_prefix "{p}/write/secret" { policy = "deny" }
service_prefix "" { policy = "read" }
service "{p}-web" { policy = "write" }
node_prefix "" { policy = "read" }
"""


async def policy(api: Api, rules: str) -> dict[str, Any]:
    made: dict[str, Any] = await api.done("acl/policy", {"Name": api.name("policy"), "Rules": rules})
    return made


async def token(api: Api, rules: str) -> Api:
    """The API with a token that has these rules."""
    made = await api.done("acl/token", {"Policies": [{"ID": (await policy(api, rules))["ID"]}]})
    return api.bearing(made["SecretID"])


@pytest.fixture
def prefix(acl_api: Api) -> str:
    return acl_api.name("p")


@pytest.fixture
async def limited(acl_api: Api, prefix: str) -> Api:
    return await token(acl_api, RULES.replace("{p}", prefix))


# ── bearing tokens ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "how",
    [
        {"headers": {"X-Consul-Token": MANAGEMENT}},
        {"headers": {"Authorization": f"Bearer {MANAGEMENT}"}},
        {"headers": {"Authorization": f"bearer {MANAGEMENT}"}},
        {"token": MANAGEMENT},
    ],
)
async def test_a_token_may_come_in_three_ways(acl_api: Api, how: dict[str, Any]) -> None:
    nobody = acl_api.bearing(None)
    assert (await nobody.call("GET", "agent/self")).status == 403
    assert (await nobody.call("GET", "agent/self", **how)).status == 200


async def test_an_unknown_token_is_refused_everywhere(acl_api: Api) -> None:
    stranger = acl_api.bearing(str(uuid.uuid4()))
    for path in ("kv/x", "catalog/nodes", "health/service/x", "agent/self", "acl/token/self", "session/list"):
        reply = await stranger.get(path)
        assert (reply.status, reply.text) == (403, "ACL not found"), path


@pytest.mark.parametrize(
    ("method", "path", "body", "text"),
    [
        ("GET", "kv/x", None, "Permission denied"),
        ("PUT", "kv/x", b"1", "Permission denied"),
        ("DELETE", "kv/x", None, "Permission denied"),
        ("DELETE", "kv/x?recurse", None, "Permission denied"),
        ("GET", "agent/self", None, "Permission denied"),
        ("GET", "agent/metrics", None, "Permission denied"),
        ("PUT", "agent/reload", None, "Permission denied"),
        ("PUT", "agent/service/register", {"Name": "a"}, "Permission denied: Missing service:write on a"),
        (
            "PUT",
            "agent/check/register",
            {"Name": "a", "TTL": "1s"},
            "Permission denied: Missing node:write on test-node",
        ),
        ("PUT", "agent/maintenance?enable=true", None, "Permission denied"),
        ("PUT", "catalog/register", {"Node": "n", "Address": "1.1.1.1"}, "Permission denied"),
        ("PUT", "catalog/deregister", {"Node": "n"}, "Permission denied"),
        ("PUT", "session/create", {}, "Permission denied"),
        ("PUT", "event/fire/x", None, "Permission denied"),
        ("GET", "acl/tokens", None, "Permission denied"),
        ("GET", "acl/policies", None, "Permission denied"),
        ("PUT", "acl/policy", {"Name": "p"}, "Permission denied"),
        ("PUT", "acl/token", {}, "Permission denied"),
        ("GET", "operator/raft/configuration", None, "Permission denied"),
    ],
)
async def test_without_a_token_nothing_is_given_or_taken(
    acl_api: Api, method: str, path: str, body: Any, text: str
) -> None:
    path, _, query = path.partition("?")
    params = dict([(query + "=").split("=")[:2]]) if query else {}
    reply = await acl_api.bearing(None).call(method, path, body, **params)
    assert (reply.status, reply.text) == (403, text)


@pytest.mark.parametrize(
    ("path", "nothing"),
    [
        ("catalog/nodes", []),
        ("catalog/services", {}),
        ("catalog/service/consul", []),
        ("health/service/consul", []),
        ("health/state/any", []),
        ("health/node/test-node", []),
        ("agent/services", {}),
        ("agent/checks", {}),
        ("agent/members", []),
        ("session/list", []),
        ("coordinate/nodes", []),
    ],
)
async def test_without_a_token_lists_are_empty(acl_api: Api, path: str, nothing: Any) -> None:
    reply = await acl_api.bearing(None).get(path)
    assert (reply.status, reply.json) == (200, nothing)


# ── rules ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("key", "read", "write"),
    [
        ("read/x", True, False),
        ("read/but-write", True, True),
        ("read/but-write/below", True, False),
        ("write/x", True, True),
        ("write/secret", False, False),
        ("write/secret/below", False, False),
        ("elsewhere", False, False),
    ],
)
async def test_the_nearest_rule_decides_over_a_key(
    acl_api: Api, limited: Api, prefix: str, key: str, read: bool, write: bool
) -> None:
    key = f"kv/{prefix}/{key}"
    await acl_api.done(key, b"1")
    assert (await limited.get(key)).status == (200 if read else 403)
    assert (await limited.put(key, b"2")).status == (200 if write else 403)
    assert (await limited.delete(key)).status == (200 if write else 403)


async def test_lists_of_keys_leave_out_what_may_not_be_read(acl_api: Api, limited: Api, prefix: str) -> None:
    for key in ("read/a", "write/b", "write/secret/c", "other/d"):
        await acl_api.done(f"kv/{prefix}/{key}", b"1")
    seen = [f"{prefix}/read/a", f"{prefix}/write/b"]
    assert [it["Key"] for it in (await limited.get(f"kv/{prefix}/", recurse="")).json] == seen
    assert (await limited.get(f"kv/{prefix}/", keys="")).json == seen
    assert (await limited.get(f"kv/{prefix}/other/", recurse="")).status == 404


async def test_a_prefix_is_deleted_only_where_all_below_it_may_be_written(
    acl_api: Api, limited: Api, prefix: str
) -> None:
    for below, status in (("write/", 403), ("write/a/", 200), ("read/", 403), ("", 403)):
        assert (await limited.delete(f"kv/{prefix}/{below}", recurse="")).status == status, below


async def test_a_transaction_may_do_what_its_token_may(acl_api: Api, limited: Api, prefix: str) -> None:
    operations = [
        {"KV": {"Verb": "set", "Key": f"{prefix}/write/x", "Value": "eA=="}},
        {"KV": {"Verb": "set", "Key": f"{prefix}/read/x", "Value": "eA=="}},
        {"KV": {"Verb": "get-tree", "Key": prefix}},
    ]
    reply = await limited.put("txn", operations)
    assert reply.status == 409
    assert reply.json["Errors"] == [{"OpIndex": 1, "What": "Permission denied"}]
    await acl_api.done(f"kv/{prefix}/hidden", b"1")
    reply = await limited.put("txn", [operations[0], operations[2]])
    assert [it["KV"]["Key"] for it in reply.json["Results"]] == [f"{prefix}/write/x"] * 2


async def test_a_service_is_its_tokens(acl_api: Api, limited: Api, prefix: str) -> None:
    web = f"{prefix}-web"
    await limited.done("agent/service/register", {"Name": web, "Check": {"TTL": "1h"}})
    await limited.done(f"agent/check/pass/service:{web}")
    await acl_api.until(f"health/service/{web}?passing=1", bool)
    other = await limited.put("agent/service/register", {"Name": f"{web}-2"})
    assert (other.status, other.text) == (403, f"Permission denied: Missing service:write on {web}-2")
    nobody = acl_api.bearing(None)
    for path in (f"agent/service/deregister/{web}", f"agent/check/pass/service:{web}"):
        reply = await nobody.put(path)
        assert (reply.status, reply.text) == (403, f"Permission denied: Missing service:write on {web}")
    assert web in (await limited.get("agent/services")).json
    assert web not in (await nobody.get("agent/services")).json
    await limited.done(f"agent/service/deregister/{web}")


async def test_what_is_not_there_is_an_error_where_tokens_are_asked_for(acl_api: Api) -> None:
    service = await acl_api.put("agent/service/deregister/nobody")
    assert (service.status, service.text) == (500, 'Unknown service {"nobody" {}}')
    check = await acl_api.put("agent/check/pass/nobody")
    assert (check.status, check.text) == (500, 'Unknown check "nobody"')


async def test_instances_are_shown_to_who_may_read_service_and_node(acl_api: Api) -> None:
    name, node = acl_api.name(), acl_api.name("node")
    await acl_api.done("catalog/register", {"Node": node, "Address": "10.0.0.1", "Service": {"Service": name}})
    for rules, expected in (
        (f'service "{name}" {{ policy = "read" }} node "{node}" {{ policy = "read" }}', 1),
        (f'service "{name}" {{ policy = "read" }}', 0),
        (f'node "{node}" {{ policy = "read" }}', 0),
    ):
        reader = await token(acl_api, rules)
        assert len((await reader.get(f"health/service/{name}")).json) == expected
        assert len((await reader.get(f"catalog/service/{name}")).json) == expected
        assert name not in (await acl_api.bearing(None).get("catalog/services")).json


async def test_outside_registrations_need_the_service_and_the_node(acl_api: Api) -> None:
    name, node = acl_api.name(), acl_api.name("node")
    body = {"Node": node, "Address": "10.0.0.1", "Service": {"Service": name}}
    only_service = await token(acl_api, f'service "{name}" {{ policy = "write" }}')
    both = await token(acl_api, f'service "{name}" {{ policy = "write" }} node "{node}" {{ policy = "write" }}')
    assert (await only_service.put("catalog/register", body)).status == 403
    assert (await both.put("catalog/register", body)).status == 200
    assert (await only_service.put("catalog/register", {**body, "Service": {"Service": name, "Port": 1}})).status == 200
    assert (await only_service.put("catalog/deregister", {"Node": node})).status == 403
    assert (await only_service.put("catalog/deregister", {"Node": node, "ServiceID": name})).status == 200


async def test_sessions_and_events_have_rules_of_their_own(acl_api: Api, limited: Api) -> None:
    allowed = await token(
        acl_api,
        'session_prefix "" { policy = "write" } event "deploy" { policy = "write" } node_prefix "" { policy = "read" }',
    )
    id = (await allowed.done("session/create", {}))["ID"]
    assert (await limited.put(f"session/renew/{id}")).status == 403
    assert (await limited.put(f"session/destroy/{id}")).status == 403
    assert [it["ID"] for it in (await limited.get("session/list")).json] == []
    assert await allowed.done(f"session/destroy/{id}") is True
    assert (await allowed.put("event/fire/deploy")).status == 200
    assert (await allowed.put("event/fire/deploys")).status == 403


async def test_rules_may_be_json(acl_api: Api) -> None:
    name = acl_api.name("json")
    rules = {"key_prefix": {f"{name}/": {"policy": "write"}}, "operator": "read"}
    bearer = await token(acl_api, json.dumps(rules))
    assert await bearer.done(f"kv/{name}/x", b"1") is True
    assert (await bearer.get("operator/raft/configuration")).status == 200
    assert (await bearer.put(f"kv/{name}", b"1")).status == 403


async def test_the_strictest_of_several_policies_counts_and_deny_is_the_strictest(acl_api: Api) -> None:
    name = acl_api.name("key")
    made = [
        await policy(acl_api, f'key "{name}-{what}" {{ policy = "{rule}" }}')
        for what, rule in [("a", "read"), ("a", "write"), ("b", "write"), ("b", "deny")]
    ]
    secret = (await acl_api.done("acl/token", {"Policies": [{"ID": it["ID"]} for it in made]}))["SecretID"]
    bearer = acl_api.bearing(secret)
    assert (await bearer.put(f"kv/{name}-a", b"1")).status == 200
    assert (await bearer.put(f"kv/{name}-b", b"1")).status == 403


async def test_a_service_identity_stands_for_the_rules_of_a_service(acl_api: Api) -> None:
    name = acl_api.name()
    secret = (await acl_api.done("acl/token", {"ServiceIdentities": [{"ServiceName": name}]}))["SecretID"]
    bearer = acl_api.bearing(secret)
    await bearer.done("agent/service/register", {"Name": name})
    assert (await bearer.put("agent/service/register", {"Name": f"{name}-x"})).status == 403
    assert len((await bearer.get("catalog/nodes")).json) >= 1
    await bearer.done(f"agent/service/deregister/{name}")


# ── policies ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_policy_is_made_read_changed_and_deleted(acl_api: Api) -> None:
    name, rules = acl_api.name("policy"), 'key "x" { policy = "read" }'
    made = await acl_api.done("acl/policy", {"Name": name, "Description": "d", "Rules": rules})
    assert made == {
        "ID": made["ID"],
        "Name": name,
        "Description": "d",
        "Rules": rules,
        "Hash": made["Hash"],
        "CreateIndex": made["CreateIndex"],
        "ModifyIndex": made["CreateIndex"],
    }
    assert (await acl_api.get(f"acl/policy/{made['ID']}")).json == made
    assert (await acl_api.get(f"acl/policy/name/{name}")).json == made
    listed = next(it for it in (await acl_api.get("acl/policies")).json if it["ID"] == made["ID"])
    assert "Rules" not in listed
    changed = await acl_api.done(f"acl/policy/{made['ID']}", {"Name": f"{name}-2", "Rules": rules})
    assert (changed["Name"], changed["Description"], changed["CreateIndex"]) == (f"{name}-2", "", made["CreateIndex"])
    assert changed["ModifyIndex"] > made["ModifyIndex"]
    assert changed["Hash"] != made["Hash"]
    for _ in range(2):
        assert (await acl_api.delete(f"acl/policy/{made['ID']}")).json is True
    gone = await acl_api.get(f"acl/policy/{made['ID']}")
    assert (gone.status, gone.text) == (403, "ACL not found")


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"Rules": ""}, 500, "Invalid Policy: no Name is set"),
        ({"Name": "a b"}, 500, "Invalid Policy: invalid Name. Only alphanumeric characters, '-' and '_' are allowed"),
        ({"Name": "global-management"}, 500, 'Invalid Policy: A Policy with Name "global-management" already exists'),
        ({"Name": "p", "ID": MANAGEMENT}, 400, "Bad request: Cannot specify the ID when creating a new policy"),
        ({"Name": "p", "Rules": "key_prefix {"}, 500, None),
        ({"Name": "p", "Rules": 'key "x" { policy = "bogus" }'}, 500, None),
        ({"Name": "p", "Rules": 'service "x" { policy = "list" }'}, 500, None),
    ],
)
async def test_a_policy_that_cannot_be_is_refused(acl_api: Api, body: Any, status: int, text: str | None) -> None:
    reply = await acl_api.put("acl/policy", body)
    assert reply.status == status
    assert text is None or reply.text == text
    assert "p" not in [it["Name"] for it in (await acl_api.get("acl/policies")).json]


async def test_the_management_policy_stays(acl_api: Api) -> None:
    path = "acl/policy/00000000-0000-0000-0000-000000000001"
    changed = await acl_api.put(path, {"Name": "x", "Rules": 'key "x" { policy = "read" }'})
    assert changed.text == "Changing the Rules for the builtin global-management policy is not permitted"
    assert (await acl_api.delete(path)).text == "Delete operation not permitted on the builtin global-management policy"


async def test_a_changed_policy_counts_at_once(acl_api: Api) -> None:
    key = acl_api.name("key")
    made = await policy(acl_api, f'key "{key}" {{ policy = "read" }}')
    secret = (await acl_api.done("acl/token", {"Policies": [{"Name": made["Name"]}]}))["SecretID"]
    bearer = acl_api.bearing(secret)
    rules = f'key "{key}" {{ policy = "write" }}'
    await acl_api.done(f"acl/policy/{made['ID']}", {"Name": made["Name"], "Rules": rules})
    assert await bearer.done(f"kv/{key}", b"1") is True
    await acl_api.delete(f"acl/policy/{made['ID']}")
    assert (await bearer.put(f"kv/{key}", b"1")).status == 403


# ── tokens ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_token_is_made_read_changed_and_deleted(acl_api: Api) -> None:
    rules = await policy(acl_api, 'key "x" { policy = "read" }')
    link = {"ID": rules["ID"], "Name": rules["Name"]}
    made = await acl_api.done("acl/token", {"Description": "d", "Policies": [{"Name": rules["Name"]}]})
    accessor = made["AccessorID"]
    assert made == {
        "AccessorID": accessor,
        "SecretID": made["SecretID"],
        "Description": "d",
        "Policies": [link],
        "Local": False,
        "CreateTime": made["CreateTime"],
        "Hash": made["Hash"],
        "CreateIndex": made["CreateIndex"],
        "ModifyIndex": made["CreateIndex"],
    }
    assert (await acl_api.get(f"acl/token/{accessor}")).json == made
    assert (await acl_api.bearing(made["SecretID"]).get("acl/token/self")).json == made
    listed = (await acl_api.get("acl/tokens", policy=rules["ID"])).json
    assert listed == [{key: value for key, value in made.items() if key != "SecretID"}]

    changed = await acl_api.done(f"acl/token/{accessor}", {"Description": "e", "Policies": []})
    assert (changed["SecretID"], changed["Description"]) == (made["SecretID"], "e")
    assert "Policies" not in changed
    for _ in range(2):
        assert (await acl_api.delete(f"acl/token/{accessor}")).json is True
    assert (await acl_api.bearing(made["SecretID"]).get("kv/x")).text == "ACL not found"
    assert (await acl_api.get(f"acl/token/{accessor}")).text == "ACL not found"


async def test_a_clone_has_the_same_policies_and_a_secret_of_its_own(acl_api: Api) -> None:
    rules = await policy(acl_api, 'key "x" { policy = "read" }')
    made = await acl_api.done("acl/token", {"Policies": [{"ID": rules["ID"]}]})
    clone = await acl_api.done(f"acl/token/{made['AccessorID']}/clone", {"Description": "clone"})
    assert (clone["Policies"], clone["Description"]) == (made["Policies"], "clone")
    assert clone["SecretID"] != made["SecretID"]


async def test_ids_of_a_token_may_be_given(acl_api: Api) -> None:
    accessor, secret = str(uuid.uuid4()), str(uuid.uuid4())
    made = await acl_api.done("acl/token", {"AccessorID": accessor, "SecretID": secret})
    assert (made["AccessorID"], made["SecretID"]) == (accessor, secret)
    again = await acl_api.put("acl/token", {"AccessorID": accessor})
    assert (again.status, again.text) == (500, "Invalid Token: AccessorID is already in use")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"Policies": [{"Name": "nope"}]}, 'No such ACL policy with name "nope"'),
        ({"Policies": [{"ID": MANAGEMENT}]}, f'No such ACL policy with ID "{MANAGEMENT}"'),
        ({"SecretID": "x"}, "Invalid Token: SecretID is not a valid UUID"),
        ({"ExpirationTTL": "1s"}, "ExpirationTime cannot be less than 1m0s in the future (was 1s)"),
        ({"ExpirationTTL": "25h"}, "ExpirationTime cannot be more than 24h0m0s in the future (was 25h0m0s)"),
    ],
)
async def test_a_token_that_cannot_be_is_refused(acl_api: Api, body: Any, text: str) -> None:
    reply = await acl_api.put("acl/token", body)
    assert (reply.status, reply.text) == (500, text)


async def test_a_token_may_have_an_end(acl_api: Api) -> None:
    made = await acl_api.done("acl/token", {"ExpirationTTL": "2m"})
    assert made["ExpirationTime"] > made["CreateTime"]
    assert (await acl_api.bearing(made["SecretID"]).get("acl/token/self")).status == 200


async def test_the_anonymous_token_may_be_given_policies_and_not_deleted(acl_api: Api) -> None:
    path, key = "acl/token/00000000-0000-0000-0000-000000000002", acl_api.name("public")
    rules = await policy(acl_api, f'key "{key}" {{ policy = "write" }}')
    await acl_api.done(path, {"Description": "Anonymous Token", "Policies": [{"ID": rules["ID"]}]})
    assert await acl_api.bearing(None).done(f"kv/{key}", b"1") is True
    await acl_api.done(path, {"Description": "Anonymous Token", "Policies": []})
    assert (await acl_api.bearing(None).put(f"kv/{key}", b"1")).status == 403
    assert (await acl_api.delete(path)).text == "Delete operation not permitted on the anonymous token"


async def test_bootstrap_is_over_once_there_is_a_management_token(acl_api: Api) -> None:
    reply = await acl_api.bearing(None).put("acl/bootstrap")
    assert reply.status == 403
    assert reply.text.startswith("Permission denied: ACL bootstrap no longer allowed (reset index: ")


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "acl/bootstrap"), ("GET", "acl/tokens"), ("GET", "acl/token/self")]
)
async def test_where_tokens_are_not_in_use_there_are_none(api: Api, method: str, path: str) -> None:
    reply = await api.call(method, path)
    assert (reply.status, reply.text) == (401, "ACL support disabled")


async def test_where_tokens_are_not_in_use_any_token_will_do(api: Api) -> None:
    assert (await api.bearing("whatever").put(api.name("kv/key"), b"1")).status == 200
