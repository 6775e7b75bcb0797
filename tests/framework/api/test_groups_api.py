"""`/v2/groups` and `/v2/pods` over HTTP, on a real engine."""

from typing import Any

import pytest

from tests.support.memory_cluster import Framework

TREE = {
    "id": "/prod",
    "apps": [{"id": "db", "cmd": "x", "instances": 2}],
    "groups": [{"id": "front", "apps": [{"id": "web", "cmd": "x", "dependencies": ["../db"]}]}],
}
POD = {"id": "/pod", "containers": [{"name": "main", "exec": {"command": {"shell": "sleep 1"}}, "resources": {"cpus": 0.1, "mem": 32}}]}  # fmt: skip  # noqa: E501


async def test_a_group_is_created_with_all_in_it_and_shown_as_a_tree(framework: Framework) -> None:
    created = await framework.call("POST", "/v2/groups", TREE)
    assert created.status == 201 and created.headers["Location"] == "/prod"
    assert created.headers["Marathon-Deployment-Id"] == created.json["deploymentId"]
    await framework.settled()
    root = await framework.get("/v2/groups")
    assert root["id"] == "/" and [g["id"] for g in root["groups"]] == ["/prod"]
    prod = await framework.get("/v2/groups/prod/")
    assert [a["id"] for a in prod["apps"]] == ["/prod/db"] and "enforceRole" not in prod
    assert prod["groups"][0]["apps"][0]["dependencies"] == ["/prod/db"]
    assert "tasksRunning" not in prod["apps"][0]


async def test_embed_chooses_what_a_group_shows(framework: Framework) -> None:
    await framework.call("POST", "/v2/groups", TREE)
    await framework.settled()
    bare = await framework.get("/v2/groups/prod?embed=group.groups")
    assert "apps" not in bare and bare["groups"][0]["id"] == "/prod/front"
    counted = await framework.get("/v2/groups/prod?embed=group.apps&embed=group.apps.counts&embed=group.apps.tasks")
    assert counted["apps"][0]["tasksRunning"] == 2 and len(counted["apps"][0]["tasks"]) == 2
    assert "groups" not in counted
    flat = await framework.get("/v2/groups/prod/apps")
    assert [a["id"] for a in flat] == ["/prod/db", "/prod/front/web"] and "tasksRunning" not in flat[0]
    embedded = await framework.get("/v2/groups/apps?embed=group.apps.tasks")
    assert len(embedded[0]["tasks"]) == 2 and embedded[0]["deployments"] == []


async def test_a_group_is_not_created_twice_and_unknown_ones_are_404(framework: Framework) -> None:
    await framework.call("POST", "/v2/groups", TREE)
    again = await framework.call("POST", "/v2/groups?force=true", TREE)
    assert (again.status, again.json["message"]) == (
        409,
        "Group /prod is already created. Use PUT to change this group.",
    )
    for method, path in (
        ("GET", "/v2/groups/nope"),
        ("DELETE", "/v2/groups/nope"),
        ("GET", "/v2/groups/nope/versions"),
    ):
        answer = await framework.call(method, path)
        assert (answer.status, answer.json["message"]) == (404, "Group '/nope' does not exist"), (method, path)
    assert (await framework.call("POST", "/v2/groups", {"apps": []})).status == 422


@pytest.mark.on_mesos
async def test_a_group_is_scaled_planned_and_deleted(framework: Framework) -> None:
    await framework.call("POST", "/v2/groups", TREE)
    await framework.settled()
    planned = await framework.call("PUT", "/v2/groups/prod?dryRun=true", {"scaleBy": 2})
    assert planned.status == 200
    actions = [action for step in planned.json["steps"] for action in step["actions"]]
    assert {"action": "ScaleApplication", "app": "/prod/db"} in actions
    assert (await framework.get("/v2/apps/prod/db"))["app"]["instances"] == 2
    scaled = await framework.call("PUT", "/v2/groups/prod", {"scaleBy": 1.5})
    assert set(scaled.json) == {"version", "deploymentId"}
    await framework.settled()
    assert (await framework.get("/v2/apps/prod/db"))["app"]["tasksRunning"] == 3
    assert (await framework.get("/v2/apps/prod/front/web"))["app"]["instances"] == 2
    deleted = await framework.call("DELETE", "/v2/groups/prod")
    assert set(deleted.json) == {"version", "deploymentId"}
    await framework.settled()
    assert (await framework.get("/v2/groups"))["groups"] == []
    assert framework.cluster.running == {}


async def test_a_group_goes_back_to_a_version(framework: Framework) -> None:
    await framework.call("POST", "/v2/groups", TREE)
    await framework.settled()
    first = (await framework.get("/v2/groups/prod"))["version"]
    await framework.call("PUT", "/v2/groups/prod", {"apps": [{"id": "other", "cmd": "y"}]})
    await framework.settled()
    assert [a["id"] for a in (await framework.get("/v2/groups/prod"))["apps"]] == ["/prod/other"]
    versions = await framework.get("/v2/groups/prod/versions")
    assert isinstance(versions, list) and first in versions
    assert [a["id"] for a in (await framework.get(f"/v2/groups/prod/versions/{first}"))["apps"]] == ["/prod/db"]
    assert (await framework.call("PUT", "/v2/groups/prod", {"version": first})).status == 200
    await framework.settled()
    assert [a["id"] for a in (await framework.get("/v2/groups/prod"))["apps"]] == ["/prod/db"]
    unknown = await framework.call("PUT", "/v2/groups/prod", {"version": "2020-01-01T00:00:00Z"})
    assert (unknown.status, unknown.json["message"]) == (
        404,
        "Group '/prod' does not exist in version 2020-01-01T00:00:00.000Z",
    )


async def test_a_top_level_group_is_patched_without_a_deployment(framework: Framework) -> None:
    await framework.call("POST", "/v2/groups", TREE)
    await framework.settled()
    patched = await framework.call("PATCH", "/v2/groups/prod", {"enforceRole": True})
    assert patched.status == 200 and patched.body == b""
    assert (await framework.get("/v2/groups/prod"))["enforceRole"] is True
    for nothing in ({}, {"enforceRole": None}):
        await framework.call("PATCH", "/v2/groups/prod", {"enforceRole": True})
        assert (await framework.call("PATCH", "/v2/groups/prod", nothing)).status == 200
        assert "enforceRole" not in await framework.get("/v2/groups/prod")
    assert await framework.get("/v2/deployments") == []
    assert (await framework.call("PATCH", "/v2/groups/prod", {"apps": []})).status == 422
    assert (await framework.call("PATCH", "/v2/groups/prod/front", {"enforceRole": True})).status == 422


# --- pods


async def pod(framework: Framework, **fields: Any) -> Any:
    created = await framework.call("POST", "/v2/pods", {**POD, **fields})
    assert created.status == 201, created
    await framework.settled()
    return created


@pytest.mark.on_mesos
async def test_a_pod_is_created_runs_and_is_deleted(framework: Framework) -> None:
    assert (await framework.call("HEAD", "/v2/pods")).status == 200
    created = await pod(framework, scaling={"kind": "fixed", "instances": 2})
    assert created.headers["Location"] == "/pod" and "Marathon-Deployment-Id" in created.headers
    assert created.json["scaling"] == {"kind": "fixed", "instances": 2}
    assert [p["id"] for p in await framework.get("/v2/pods")] == ["/pod"]
    status = await framework.get("/v2/pods/pod::status")
    assert status["status"] == "STABLE" and len(status["instances"]) == 2
    instance = status["instances"][0]
    assert instance["status"] == "STABLE" and instance["agentHostname"].endswith(".example")
    assert instance["containers"][0]["name"] == "main" and instance["containers"][0]["status"] == "TASK_RUNNING"
    assert instance["specReference"] == f"/v2/pods/pod::versions/{created.json['version']}"
    assert [s["id"] for s in await framework.get("/v2/pods/::status")] == ["/pod"]
    assert [s["id"] for s in await framework.get("/v2/pods::status")] == ["/pod"]
    deleted = await framework.call("DELETE", "/v2/pods/pod")
    assert deleted.status == 202 and deleted.body == b""
    assert deleted.headers["Location"] == deleted.headers["Marathon-Deployment-Id"]
    await framework.settled()
    gone = await framework.call("GET", "/v2/pods/pod")
    assert (gone.status, gone.json["message"]) == (404, "Pod '/pod' does not exist")


async def test_a_pod_is_replaced_and_keeps_its_versions(framework: Framework) -> None:
    first = (await pod(framework)).json["version"]
    put = await framework.call("PUT", "/v2/pods/pod", {**POD, "labels": {"a": "b"}})
    assert put.status == 200 and put.json["labels"] == {"a": "b"}
    await framework.settled()
    assert await framework.get("/v2/pods/pod::versions") == [put.json["version"], first]
    assert (await framework.get(f"/v2/pods/pod::versions/{first}"))["labels"] == {}
    assert (await framework.call("PUT", "/v2/pods/nope", {**POD, "id": "nope"})).status == 404
    other = await framework.call("PUT", "/v2/pods/pod", {**POD, "id": "/other"})
    assert (other.status, other.json["message"]) == (400, "'/pod' does not match definition's id ('/other')")
    assert (await framework.call("POST", "/v2/pods", POD)).json == {"message": "A pod with id [/pod] already exists."}


@pytest.mark.on_mesos
async def test_instances_of_a_pod_are_killed_one_by_one_or_by_list(framework: Framework) -> None:
    await pod(framework, scaling={"kind": "fixed", "instances": 2})
    one, two = [i["id"] for i in (await framework.get("/v2/pods/pod::status"))["instances"]]
    killed = await framework.call("DELETE", f"/v2/pods/pod::instances/{one}")
    assert killed.status == 200 and killed.json["id"] == one
    listed = await framework.call("DELETE", "/v2/pods/pod::instances", [two, "unknown"])
    assert [instance["id"] for instance in listed.json] == [two]
    unknown = await framework.call("DELETE", "/v2/pods/pod::instances/nope")
    assert (unknown.status, unknown.json["message"]) == (404, "Task 'nope' does not exist")


@pytest.mark.parametrize(
    ("body", "path", "code"),
    [({"ids": []}, "/", "error.expected.jsarray"), (["a", 1], "(1)", "error.expected.jsstring")],
)
async def test_what_is_no_list_of_instances_kills_none(framework: Framework, body: Any, path: str, code: str) -> None:
    await pod(framework)
    refused = await framework.call("DELETE", "/v2/pods/pod::instances", body)
    assert (refused.status, refused.json) == (
        422,
        {"message": "Invalid JSON", "details": [{"path": path, "errors": [code]}]},
    )
    assert len((await framework.get("/v2/pods/pod::status"))["instances"]) == 1


async def test_an_app_may_not_take_a_pods_id(framework: Framework) -> None:
    await pod(framework)
    answer = await framework.call("POST", "/v2/apps", {"id": "/pod", "cmd": "x"})
    assert answer.status == 422
    assert answer.json["details"][0]["errors"] == ["Applications and Pods may not share the same id: /pod"]


async def test_a_put_to_the_root_with_an_id_is_for_that_group_alone(framework: Framework) -> None:
    await framework.app("/bystander")
    answer = await framework.call("PUT", "/v2/groups", {"id": "/named", "apps": [{"id": "a", "cmd": "x"}]})
    assert answer.status == 200
    await framework.settled()
    assert sorted(framework.engine.view.declared.apps) == ["/bystander", "/named/a"]
    await framework.call("PUT", "/v2/groups/named", {"id": "inner", "apps": [{"id": "b", "cmd": "x"}]})
    await framework.settled()
    assert sorted(framework.engine.view.declared.apps) == ["/bystander", "/named/a", "/named/inner/b"]
