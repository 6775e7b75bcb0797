"""`/v2/apps` over HTTP, on a real engine."""

import re
from typing import Any

import pytest

from tests.support.memory_cluster import Framework
from tests.support.waiting import eventually_async

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
LOCKED = (
    "App is locked by one or more deployments. Override with the option '?force=true'. "
    "View details at '/v2/deployments/<DEPLOYMENT_ID>'."
)


@pytest.mark.on_mesos
async def test_a_created_app_is_answered_whole_and_runs(framework: Framework) -> None:
    answer = await framework.call("POST", "/v2/apps", {"id": "web", "cmd": "sleep 1", "instances": 2})
    created = answer.json
    assert answer.status == 201
    assert answer.headers["Location"] == "/web"
    assert created["id"] == "/web" and created["instances"] == 2 and created["tasks"] == []
    assert (
        created["tasksStaged"] == created["tasksRunning"] == created["tasksHealthy"] == created["tasksUnhealthy"] == 0
    )
    assert created["deployments"] == [{"id": answer.headers["Marathon-Deployment-Id"]}]
    assert TIMESTAMP.fullmatch(created["version"])
    await framework.settled()
    app = (await framework.get("/v2/apps/web"))["app"]
    assert app["tasksRunning"] == 2 and len(app["tasks"]) == 2 and app["deployments"] == []
    assert app["version"] == created["version"]


@pytest.mark.on_mesos
async def test_a_task_is_shown_as_marathon_shows_it(framework: Framework) -> None:
    await framework.app("/g/web", ports=[0, 12000], healthChecks=[{"portIndex": 0}])
    task = await eventually_async(lambda: _first_healthy(framework))
    assert task["appId"] == "/g/web"
    assert re.fullmatch(r"g_web\.instance-[0-9a-f-]+\._app\.\d+", task["id"])
    assert task["state"] == "TASK_RUNNING" and task["host"].endswith(".example")
    assert task["slaveId"] in framework.cluster.agents
    assert len(task["ports"]) == 2 and task["servicePorts"] == [10000, 12000]
    assert TIMESTAMP.fullmatch(task["stagedAt"]) and TIMESTAMP.fullmatch(task["startedAt"])
    assert TIMESTAMP.fullmatch(task["version"])
    [result] = task["healthCheckResults"]
    assert result["alive"] is True and result["consecutiveFailures"] == 0 and TIMESTAMP.fullmatch(result["lastSuccess"])
    assert result["instanceId"].startswith("g_web.instance-")


async def _first_healthy(framework: Framework) -> Any:
    tasks = (await framework.get("/v2/apps/g/web/tasks"))["tasks"]
    return tasks[0] if tasks and tasks[0]["healthCheckResults"] else None


async def test_an_id_may_be_written_with_any_slashes(framework: Framework) -> None:
    await framework.app("/g/web")
    for path in ("/v2/apps/g/web", "/v2/apps//g/web", "/v2/apps/g/web/", "//v2/apps//g//web", "/v2/apps/%2Fg%2Fweb"):
        assert (await framework.get(path))["app"]["id"] == "/g/web", path


async def test_the_list_is_filtered_and_embeds_what_is_asked_for(framework: Framework) -> None:
    await framework.app("/a/one", labels={"env": "prod"}, cmd="run ONE")
    await framework.app("/a/two", labels={"env": "dev"}, cmd="run two")

    async def ids(query: str) -> list[str]:
        return [app["id"] for app in (await framework.get("/v2/apps" + query))["apps"]]

    assert await ids("") == ["/a/one", "/a/two"]
    assert await ids("?id=ONE") == ["/a/one"]
    assert await ids("?cmd=one") == ["/a/one"]
    assert await ids("?label=env==dev") == ["/a/two"]
    assert await ids("?label=env,env!%3Ddev") == ["/a/one"]
    assert await ids("?id=nope") == []
    plain = (await framework.get("/v2/apps"))["apps"][0]
    assert plain["tasksRunning"] == 1 and plain["deployments"] == [] and "tasks" not in plain
    for query in (
        "?embed=apps.tasks",
        "/?embed=apps.tasks",
        "?embed=apps.failures",
        "?embed=x&embed=apps.tasks",
        "?embed=app.tasks",
        "?embed=tasks",
        "?embed=group.apps.tasks",
    ):
        assert len((await framework.get("/v2/apps" + query))["apps"][0]["tasks"]) == 1
    stats = (await framework.get("/v2/apps?embed=apps.taskStats"))["apps"][0]["tasksStats"]
    assert stats["totalSummary"]["stats"]["counts"] == {"staged": 0, "running": 1, "healthy": 0, "unhealthy": 0}
    assert set(stats) == {"startedAfterLastScaling", "withLatestConfig", "totalSummary"}


@pytest.mark.parametrize("query", ["", "?embed=app.taskStats", "?embed=apps.readiness", "?embed=x"])
async def test_an_app_by_its_id_has_its_whole_state_whatever_it_embeds_besides(
    framework: Framework, query: str
) -> None:
    framework.cluster.failing.add("/web")
    never_ready = {"portDefinitions": [{"port": 0, "name": "http-api"}], "readinessChecks": [{}]}
    await framework.call("POST", "/v2/apps", {"id": "/web", "cmd": "x", "backoffSeconds": 300, **never_ready})
    await eventually_async(lambda: framework.engine.view.last_failure("/web"))
    app = (await framework.get("/v2/apps/web" + query))["app"]
    assert app["tasks"] == [] and app["tasksRunning"] == 0 and len(app["deployments"]) == 1
    assert app["lastTaskFailure"]["state"] == "TASK_FAILED"
    assert ("tasksStats" in app, "readinessCheckResults" in app) == ("taskStats" in query, "readiness" in query)


async def test_a_group_wildcard_lists_all_apps_in_the_group(framework: Framework) -> None:
    for app_id in ("/a/one", "/a/b/two", "/ab"):
        await framework.app(app_id)
    assert [app["id"] for app in (await framework.get("/v2/apps/a/*"))["*"]] == ["/a/b/two", "/a/one"]
    assert len((await framework.get("/v2/apps/*"))["*"]) == 3
    assert len((await framework.get("/v2/apps/a/*/tasks"))["tasks"]) == 2
    for path in ("/v2/apps/nope/*", "/v2/apps/nope/*/tasks"):
        unknown = await framework.call("GET", path)
        assert (unknown.status, unknown.json["message"]) == (404, "Group '/nope' does not exist")


async def test_an_app_is_not_created_twice(framework: Framework) -> None:
    await framework.app("/web")
    answer = await framework.call("POST", "/v2/apps", {"id": "web", "cmd": "x"})
    assert (answer.status, answer.json) == (409, {"message": "An app with id [/web] already exists."})


async def test_what_does_not_exist_is_404_with_marathons_text(framework: Framework) -> None:
    await framework.app("/web")
    for method, path, message in (
        ("GET", "/v2/apps/nope", "App '/nope' does not exist"),
        ("DELETE", "/v2/apps/nope", "App '/nope' does not exist"),
        ("PATCH", "/v2/apps/nope", "App '/nope' does not exist"),
        ("POST", "/v2/apps/nope/restart", "App '/nope' does not exist"),
        ("GET", "/v2/apps/nope/tasks", "App '/nope' does not exist"),
        ("DELETE", "/v2/apps/nope/tasks", "App '/nope' does not exist"),
        ("DELETE", "/v2/apps/web/tasks/web.nope", "Task 'web.nope' does not exist"),
        ("GET", "/v2/apps/nope/versions", "App '/nope' does not exist"),
        ("GET", "/v2/apps/web/versions/2020-01-01T00:00:00.000Z", "App '/web' does not exist in version 2020-01-01T00:00:00.000Z"),
        ("GET", "/v2/nope", "URI not found: /v2/nope"),
    ):  # fmt: skip
        answer = await framework.call(method, path, {} if method == "PATCH" else None)
        assert (answer.status, answer.json) == (404, {"message": message}), (method, path)


@pytest.mark.parametrize(
    ("data", "status", "body"),
    [
        (b"", 400, {"message": "Please specify data in JSON format"}),
        (b"  ", 400, {"message": "Please specify data in JSON format"}),
        (b'{"id": 1}', 422, {"message": "Invalid JSON", "details": [{"path": "/id", "errors": ["error.expected.jsstring"]}]}),
        (b'{"id": "/A", "cmd": "x"}', 422, None),
    ],
)  # fmt: skip
async def test_a_body_that_cannot_be_used_is_refused(
    framework: Framework, data: bytes, status: int, body: object
) -> None:
    for method, path in (("POST", "/v2/apps"), ("PUT", "/v2/apps/A")):
        answer = await framework.call(method, path, data=data)
        if path == "/v2/apps" or status == 400 or body:
            assert answer.status == status
            assert body is None or answer.json == body
    broken = await framework.call("POST", "/v2/apps", data=b'{"id": ')
    assert broken.status == 400 and broken.json["message"] == "Invalid JSON" and "line 1" in broken.json["details"]
    assert await framework.get("/v2/apps") == {"apps": []}


async def test_a_put_changes_creates_and_replaces(framework: Framework) -> None:
    created = await framework.call("PUT", "/v2/apps/web", {"cmd": "x", "env": {"A": "1"}, "labels": {"a": "b"}})
    assert created.status == 201 and set(created.json) == {"version", "deploymentId"}
    assert created.headers["Location"] == "/web"
    await framework.settled()
    partial = await framework.call("PUT", "/v2/apps/web", {"env": {"B": "2"}})
    assert partial.status == 200 and partial.headers["Marathon-Deployment-Id"] == partial.json["deploymentId"]
    await framework.settled()
    app = (await framework.get("/v2/apps/web"))["app"]
    assert (app["env"], app["labels"], app["version"]) == ({"B": "2"}, {"a": "b"}, partial.json["version"])
    whole = await framework.call("PUT", "/v2/apps/web?partialUpdate=false", {"cmd": "y"})
    assert whole.status == 200
    await framework.settled()
    app = (await framework.get("/v2/apps/web"))["app"]
    assert (app["cmd"], app["env"], app["labels"]) == ("y", {}, {})
    assert (await framework.call("PUT", "/v2/apps/web?partialUpdate=false", {"cpus": 1})).status == 422


@pytest.mark.on_mesos
async def test_a_scale_restarts_nothing_and_a_restart_replaces_all(framework: Framework) -> None:
    await framework.app("/web")

    async def tasks() -> set[str]:
        return {task["id"] for task in (await framework.get("/v2/apps/web/tasks"))["tasks"]}

    before = await tasks()
    await framework.call("PUT", "/v2/apps/web", {"instances": 3})
    await framework.settled()
    scaled = await tasks()
    assert before < scaled and len(scaled) == 3
    info = (await framework.get("/v2/apps/web"))["app"]["versionInfo"]
    assert info["lastScalingAt"] > info["lastConfigChangeAt"]
    restarted = await framework.call("POST", "/v2/apps/web/restart")
    assert restarted.status == 200 and set(restarted.json) == {"version", "deploymentId"}
    await framework.settled()
    await eventually_async(lambda: _all_new(tasks, scaled))


async def _all_new(tasks: Any, former: set[str]) -> bool:
    now = await tasks()
    return len(now) == 3 and not now & former


async def test_several_apps_change_in_one_deployment(framework: Framework) -> None:
    await framework.app("/a")
    answer = await framework.call("PUT", "/v2/apps", [{"id": "/a", "instances": 2}, {"id": "/b", "cmd": "x"}])
    assert answer.status == 200
    await framework.settled()
    assert [(a["id"], a["instances"]) for a in (await framework.get("/v2/apps"))["apps"]] == [("/a", 2), ("/b", 1)]
    refused = await framework.call("PATCH", "/v2/apps", [{"id": "/a", "instances": 3}, {"id": "/c", "cmd": "x"}])
    assert (refused.status, refused.json["message"]) == (404, "App '/c' does not exist")
    assert (await framework.get("/v2/apps/a"))["app"]["instances"] == 2
    assert (await framework.call("PUT", "/v2/apps", {"id": "/a"})).status == 422
    assert (await framework.call("PUT", "/v2/apps", [{"cmd": "x"}])).json["details"] == [
        {"path": "(0)/id", "errors": ["error.path.missing"]}
    ]


async def test_an_app_goes_back_to_a_version(framework: Framework) -> None:
    first = (await framework.app("/web", cmd="one"))["version"]
    await framework.call("PUT", "/v2/apps/web", {"cmd": "two"})
    await framework.settled()
    versions = (await framework.get("/v2/apps/web/versions"))["versions"]
    assert len(versions) == 2 and versions[1] == first
    assert (await framework.get(f"/v2/apps/web/versions/{first}"))["cmd"] == "one"
    assert (await framework.call("PUT", "/v2/apps/web", {"version": first})).status == 200
    await framework.settled()
    assert (await framework.get("/v2/apps/web"))["app"]["cmd"] == "one"
    unknown = await framework.call("PUT", "/v2/apps/web", {"id": "/web", "version": "2020-01-01T00:00:00Z"})
    assert (unknown.status, unknown.json["message"]) == (
        404,
        "App '/web' does not exist in version 2020-01-01T00:00:00.000Z",
    )
    assert (await framework.call("PUT", "/v2/apps/web", {"version": "yesterday"})).status == 422


async def test_a_locked_app_names_its_deployments_and_force_overrides(framework: Framework) -> None:
    framework.cluster.stuck.add("/web")
    created = await framework.call("POST", "/v2/apps", {"id": "/web", "cmd": "x"})
    holding = created.headers["Marathon-Deployment-Id"]
    for query in ("", "?force=False", "?force=no"):
        locked = await framework.call("PUT", "/v2/apps/web" + query, {"instances": 2})
        assert (locked.status, locked.json) == (409, {"message": LOCKED, "deployments": [{"id": holding}]})
    forced = await framework.call("PUT", "/v2/apps/web?force=True", {"instances": 2})
    assert forced.status == 200
    assert [d["id"] for d in await framework.get("/v2/deployments")] == [forced.json["deploymentId"]]
    # Deletion forces by default, as Marathon's source has it.
    assert (await framework.call("DELETE", "/v2/apps/web")).status == 200
    await framework.settled()
    assert (await framework.get("/v2/apps")) == {"apps": []}


@pytest.mark.on_mesos
async def test_killed_tasks_are_replaced_or_the_app_shrinks(framework: Framework) -> None:
    await framework.app("/web", instances=3)
    tasks = (await framework.get("/v2/apps/web/tasks"))["tasks"]
    assert await framework.get(f"/v2/apps/web/tasks/{tasks[0]['id']}") == {"task": tasks[0]}
    killed = await framework.call("DELETE", f"/v2/apps/web/tasks/{tasks[0]['id']}")
    assert killed.status == 200 and killed.json["task"]["id"] == tasks[0]["id"]
    await eventually_async(lambda: _replaced(framework, tasks[0]["id"]))
    assert (await framework.get("/v2/apps/web"))["app"]["instances"] == 3
    shrunk = await framework.call("DELETE", f"/v2/apps/web/tasks/{tasks[1]['id']}?scale=true")
    assert set(shrunk.json) == {"version", "deploymentId"}
    await framework.settled()
    assert (await framework.get("/v2/apps/web"))["app"]["instances"] == 2
    both = await framework.call("DELETE", "/v2/apps/web/tasks?scale=true&wipe=true")
    assert (both.status, both.json["message"]) == (400, "You cannot use scale and wipe at the same time.")


async def _replaced(framework: Framework, task_id: str) -> bool:
    now = {task["id"] for task in (await framework.get("/v2/apps/web/tasks"))["tasks"]}
    return len(now) == 3 and task_id not in now


async def test_tasks_of_one_host_are_killed(framework: Framework) -> None:
    await framework.app("/web", instances=4)
    tasks = (await framework.get("/v2/apps/web/tasks"))["tasks"]
    nobody = await framework.call("DELETE", "/v2/apps/web/tasks?host=elsewhere")
    assert (nobody.status, nobody.json) == (200, {"tasks": []})
    fewer = await framework.call("DELETE", "/v2/apps/web/tasks?host=elsewhere&scale=true")
    assert fewer.status == 200 and set(fewer.json) == {"version", "deploymentId"}
    for method in ("GET", "DELETE"):
        unknown = await framework.call(method, "/v2/apps/web/tasks/nope")
        assert (unknown.status, unknown.json["message"]) == (404, "Task 'nope' does not exist")
    host = tasks[0]["host"]
    killed = await framework.call("DELETE", f"/v2/apps/web/tasks?host={host}")
    assert {task["id"] for task in killed.json["tasks"]} == {task["id"] for task in tasks if task["host"] == host}


@pytest.mark.on_mesos
async def test_the_last_failure_is_shown(framework: Framework) -> None:
    framework.cluster.failing.add("/bad")
    await framework.call("POST", "/v2/apps", {"id": "/bad", "cmd": "false"})
    failure = (await eventually_async(lambda: _failed(framework)))["lastTaskFailure"]
    assert failure["appId"] == "/bad" and failure["state"] == "TASK_FAILED"
    assert failure["message"] == "Command exited with status 1" and failure["host"].endswith(".example")
    assert TIMESTAMP.fullmatch(failure["timestamp"]) and TIMESTAMP.fullmatch(failure["version"])


async def _failed(framework: Framework) -> Any:
    app = (await framework.get("/v2/apps/bad"))["app"]
    return app if "lastTaskFailure" in app else None


async def test_a_deadline_and_a_policy_are_taken_from_the_query(framework: Framework) -> None:
    for query in ("deadline=0", "deadline=x", "deadline=-1", "deadline=inf", "onFailure=explode"):
        refused = await framework.call("POST", f"/v2/apps?{query}", {"id": "/a", "cmd": "x"})
        assert refused.status == 400, query
    framework.cluster.stuck.add("/a")
    created = await framework.call("POST", "/v2/apps?deadline=60&onFailure=rollback", {"id": "/a", "cmd": "x"})
    assert created.status == 201
    [deployment] = framework.engine.view.deployments()
    assert deployment.deadline is not None and deployment.on_failure == "rollback"


async def test_a_deadline_and_a_policy_are_taken_from_labels(framework: Framework) -> None:
    framework.cluster.stuck.add("/a")
    labels = {"DROMOS_DEPLOYMENT_DEADLINE": "0.2", "DROMOS_DEPLOYMENT_ON_FAILURE": "rollback"}
    assert (await framework.call("POST", "/v2/apps", {"id": "/a", "cmd": "x", "labels": labels})).status == 201
    await framework.settled()
    assert await framework.get("/v2/apps") == {"apps": []}
