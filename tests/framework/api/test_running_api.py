"""Tasks, deployments, queue and events over HTTP, on a real engine."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from framework.api.answers.queue import offer_json
from framework.api.settings import ApiSettings
from framework.engine.events import ReadinessProbed
from tests.support.memory_cluster import Framework, running_framework
from tests.support.waiting import eventually_async


@pytest.mark.on_mesos
async def test_all_tasks_are_listed_by_status(framework: Framework) -> None:
    framework.cluster.stuck.add("/slow")
    await framework.app("/web", instances=2)
    await framework.call("POST", "/v2/apps", {"id": "/slow", "cmd": "x"})
    await eventually_async(lambda: len(framework.cluster.running) == 3)

    async def apps(query: str) -> list[str]:
        return sorted(task["appId"] for task in (await framework.get("/v2/tasks" + query))["tasks"])

    await eventually_async(lambda: apps("?status=staging"))
    assert await apps("") == ["/slow", "/web", "/web"]
    assert await apps("?status=running") == ["/web", "/web"]
    assert await apps("?status=staging") == ["/slow"]
    assert await apps("?status[]=staging&status[]=running") == ["/slow", "/web", "/web"]
    assert await apps("?status=RUNNING") == await apps("?status=running&status=x") == ["/web", "/web"]
    assert await apps("?status=x") == ["/slow", "/web", "/web"]


async def test_tasks_as_text_are_lines_for_load_balancers(framework: Framework) -> None:
    await framework.app("/g/web", instances=2, ports=[0])
    answer = await framework.call("GET", "/v2/tasks", headers={"Accept": "text/plain"})
    assert answer.headers["Content-Type"].startswith("text/plain")
    name, port, *where = answer.body.decode().rstrip("\n\t").split("\t")
    assert (name, port) == ("g_web", "10000") and len(where) == 2
    assert all(host.split(":")[0].endswith(".example") and host.split(":")[1].isdigit() for host in where)


async def test_tasks_are_killed_by_id(framework: Framework) -> None:
    await framework.app("/web", instances=3)
    ids = [task["id"] for task in (await framework.get("/v2/tasks"))["tasks"]]
    killed = await framework.call("POST", "/v2/tasks/delete", {"ids": [ids[0], "web.instance-unknown._app.1"]})
    assert killed.status == 200 and [task["id"] for task in killed.json["tasks"]] == [ids[0]]
    for those in ([ids[1]], ["web.instance-unknown._app.1"]):
        shrunk = await framework.call("POST", "/v2/tasks/delete?scale=true&force=true", {"ids": those})
        assert set(shrunk.json) == {"version", "deploymentId"}
    assert (await framework.call("POST", "/v2/tasks/delete", {"ids": ["nonsense"]})).status == 400
    assert (await framework.call("POST", "/v2/tasks/delete", {"ids": "x"})).status == 422
    both = await framework.call("POST", "/v2/tasks/delete?scale=true&wipe=true", {"ids": [ids[2]]})
    assert both.status == 400


@pytest.mark.on_mesos
async def test_a_running_deployment_is_shown_and_rolled_back_or_stopped(framework: Framework) -> None:
    await framework.app("/web")
    framework.cluster.stuck.add("/web")
    changed = (await framework.call("PUT", "/v2/apps/web", {"cmd": "new", "instances": 2})).json
    [deployment] = await framework.get("/v2/deployments")
    assert deployment["id"] == changed["deploymentId"] and deployment["version"] == changed["version"]
    assert deployment["affectedApps"] == ["/web"] and deployment["affectedPods"] == []
    assert deployment["currentStep"] == 1 and deployment["totalSteps"] == len(deployment["steps"]) == 1
    assert deployment["steps"] == [{"actions": [{"action": "RestartApplication", "app": "/web"}]}]
    assert deployment["currentActions"] == [
        {"action": "RestartApplication", "app": "/web", "readinessCheckResults": []}
    ]
    assert (await framework.get("/v2/apps/web"))["app"]["deployments"] == [{"id": deployment["id"]}]
    framework.cluster.stuck.clear()
    back = await framework.call("DELETE", f"/v2/deployments/{deployment['id']}")
    assert back.status == 200 and back.json["deploymentId"] != deployment["id"]
    assert back.headers["Marathon-Deployment-Id"] == back.json["deploymentId"]
    await framework.settled()
    assert (await framework.get("/v2/apps/web"))["app"]["cmd"] == "sleep 1"
    framework.cluster.stuck.add("/web")
    changed = (await framework.call("PUT", "/v2/apps/web", {"cmd": "newer"})).json
    stopped = await framework.call("DELETE", f"/v2/deployments/{changed['deploymentId']}?force=true")
    assert (stopped.status, stopped.body) == (202, b"")
    await framework.settled()
    assert (await framework.get("/v2/apps/web"))["app"]["cmd"] == "newer"
    unknown = await framework.call("DELETE", "/v2/deployments/nope")
    assert (unknown.status, unknown.json["message"]) == (404, "DeploymentPlan nope does not exist")


async def test_too_many_deployments_are_403(framework: Framework) -> None:
    framework.cluster.offering = False
    for index in range(100):
        assert (await framework.call("POST", "/v2/apps", {"id": f"/a{index}", "cmd": "x"})).status == 201
    refused = await framework.call("POST", "/v2/apps", {"id": "/one-more", "cmd": "x"})
    assert refused.status == 403 and "100" in refused.json["message"]
    assert (await framework.call("GET", "/v2/apps/one-more")).status == 404


@pytest.mark.on_mesos
async def test_the_queue_tells_what_waits_and_why(framework: Framework) -> None:
    await framework.call("POST", "/v2/apps", {"id": "/big", "cmd": "x", "cpus": 5000, "instances": 2})
    # Of both agents, whose offers may come one after the other.
    await eventually_async(lambda: framework.engine.view.queue()[0].processed_offers >= 2)
    [item] = (await framework.get("/v2/queue"))["queue"]
    assert item["app"]["id"] == "/big" and item["count"] == 2 and item["role"] == "*"
    assert item["delay"]["overdue"] is True and item["delay"]["timeLeftSeconds"] == 0
    summary = item["processedOffersSummary"]
    assert summary["processedOffersCount"] >= 2 and summary["unusedOffersCount"] >= 2
    reasons = [row["reason"] for row in summary["rejectSummaryLastOffers"]]
    assert reasons[:5] == ["UnfulfilledRole", "UnfulfilledConstraint", "NoCorrespondingReservationFound", "AgentMaintenance", "InsufficientCpus"]  # fmt: skip  # noqa: E501
    cpus = summary["rejectSummaryLastOffers"][4]
    assert cpus["declined"] == cpus["processed"] > 0
    assert summary["rejectSummaryLastOffers"][5]["processed"] == 0
    assert "lastUnusedOffers" not in item
    [item] = (await framework.get("/v2/queue?embed=lastUnusedOffers"))["queue"]
    unused, last = item["lastUnusedOffers"][0], item["processedOffersSummary"]["lastUnusedOfferAt"]
    assert unused["reason"] == ["InsufficientCpus"] and unused["timestamp"] <= last
    assert set(unused["offer"]) == {"id", "hostname", "agentId", "resources", "attributes"}


def test_an_offer_is_told_of_as_marathon_does() -> None:
    reserved = [{"type": "STATIC", "role": "prod"}, {"type": "DYNAMIC", "role": "prod/web"}]
    ports = {"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 31000, "end": 31005}]}}
    resources = [
        {"name": "cpus", "type": "SCALAR", "scalar": {"value": 1.5}},
        {"name": "mem", "type": "SCALAR", "scalar": {"value": 64}, "role": "old"},
        {**ports, "reservations": reserved},
    ]
    attributes = [
        {"name": "rack", "type": "TEXT", "text": {"value": "a"}},
        {"name": "size", "type": "SCALAR", "scalar": {"value": 3}},
        {"name": "kinds", "type": "SET", "set": {"item": ["x", "y"]}},
    ]
    offer = {"id": {"value": "o1"}, "hostname": "h", "agent_id": {"value": "s1"}, "resources": resources}
    assert offer_json({**offer, "attributes": attributes}) == {
        "id": "o1",
        "hostname": "h",
        "agentId": "s1",
        "resources": [
            {"name": "cpus", "scalar": 1.5, "role": "*"},
            {"name": "mem", "scalar": 64, "role": "old"},
            {"name": "ports", "ranges": [{"begin": 31000, "end": 31005}], "role": "prod/web"},
        ],
        "attributes": [
            {"name": "rack", "text": "a"},
            {"name": "size", "scalar": 3},
            {"name": "kinds", "set": ["x", "y"]},
        ],
    }


async def test_a_delay_is_reset(framework: Framework) -> None:
    framework.cluster.failing.add("/bad")
    await framework.call("POST", "/v2/apps", {"id": "/bad", "cmd": "x", "backoffSeconds": 300})
    await eventually_async(lambda: framework.engine.view.last_failure("/bad"))
    [item] = (await framework.get("/v2/queue"))["queue"]
    assert item["delay"]["overdue"] is False and 200 < item["delay"]["timeLeftSeconds"] <= 300
    framework.cluster.failing.clear()
    reset = await framework.call("DELETE", "/v2/queue//bad/delay")
    assert (reset.status, reset.body) == (204, b"")
    await framework.settled()
    unknown = await framework.call("DELETE", "/v2/queue/nope/delay")
    assert (unknown.status, unknown.json["message"]) == (404, "Application /nope not found in tasks queue.")


# --- events


class Events:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def next(self, timeout: float = 60.0) -> tuple[int, str, dict[str, Any]]:
        """(id, type, data); comments are passed over."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(timeout):
            async for line in self._response.content:
                text = line.decode().rstrip("\n")
                if not text and fields:
                    return int(fields["id"]), fields["event"], json.loads(fields["data"])
                if text and not text.startswith(":"):
                    key, _, value = text.partition(": ")
                    fields[key] = value
        raise AssertionError("the stream has ended")

    async def until(self, kind: str) -> dict[str, Any]:
        while True:
            _, found, data = await self.next()
            if found == kind:
                return data


@contextlib.asynccontextmanager
async def listening(framework: Framework, query: str = "", **headers: str) -> AsyncIterator[Events]:
    url = f"{framework.url}/v2/events{query}"
    async with framework.http.get(url, headers={"Accept": "text/event-stream", **headers}) as response:
        assert response.status == 200 and response.headers["Content-Type"].startswith("text/event-stream")
        await eventually_async(lambda: framework.engine.bus.listeners)
        yield Events(response)


@pytest.mark.on_mesos
async def test_a_deployment_is_told_from_the_request_to_its_success(framework: Framework) -> None:
    async with listening(framework) as events:
        _, kind, data = await events.next()
        assert kind == "event_stream_attached" and data["remoteAddress"] == "127.0.0.1"
        created = await framework.call("POST", "/v2/apps", {"id": "/web", "cmd": "x"})
        seen: dict[str, dict[str, Any]] = {}
        while "deployment_success" not in seen or "api_post_event" not in seen:
            number, kind, data = await events.next()
            assert data["eventType"] == kind and data["timestamp"].endswith("Z") and number > 0
            seen.setdefault(kind, data)
    posted = seen["api_post_event"]
    assert posted["clientIp"] == "127.0.0.1" and posted["uri"] == "/v2/apps" and posted["appDefinition"]["id"] == "/web"
    success = seen["deployment_success"]
    assert success["id"] == created.json["deployments"][0]["id"]
    plan = success["plan"]
    assert plan["id"] == success["id"] and plan["version"] == created.json["version"]
    assert [app["id"] for app in plan["target"]["apps"]] == ["/web"] and plan["original"]["apps"] == []
    assert seen["deployment_info"]["currentStep"]["actions"][0]["app"] == "/web"
    status = seen["status_update_event"]
    assert status["appId"] == "/web" and status["taskStatus"] in ("TASK_STAGING", "TASK_STARTING", "TASK_RUNNING")
    for field in ("slaveId", "taskId", "host", "ports", "ipAddresses", "version", "message"):
        assert field in status, field
    assert {"instanceId", "condition", "runSpecId", "agentId", "host", "runSpecVersion"} <= set(
        seen["instance_changed_event"]
    )
    assert seen["group_change_success"]["groupId"]


async def test_events_are_filtered_by_type(framework: Framework) -> None:
    async with listening(framework, "?event_type=deployment_success&event_type=api_post_event") as events:
        await framework.app("/web")
        assert {(await events.next())[1], (await events.next())[1]} == {"deployment_success", "api_post_event"}


async def test_a_light_plan_has_no_groups(framework: Framework) -> None:
    async with listening(framework, "?event_type=deployment_success&plan-format=light") as events:
        await framework.app("/web")
        assert set((await events.next())[2]["plan"]) == {"id", "version", "steps"}


async def test_many_apps_in_one_request_are_one_deployment_in_every_answer_and_event(framework: Framework) -> None:
    ids = [f"/many/app-{number:03}" for number in range(120)]
    apps = [{"id": app_id.removeprefix("/many/"), "cmd": "x" * 600} for app_id in ids]
    framework.cluster.stuck = set(ids)
    async with listening(framework, "?event_type=deployment_info") as events:
        created = await framework.call("POST", "/v2/groups", {"id": "/many", "apps": apps})
        assert created.status == 201
        for step in ("StartApplication", "ScaleApplication"):
            _, _, data = await events.next()
            assert [app["id"] for app in data["plan"]["target"]["groups"][0]["apps"]] == ids
            assert {action["action"] for action in data["currentStep"]["actions"]} == {step}
    [deployment] = await framework.get("/v2/deployments")
    assert deployment["id"] == created.json["deploymentId"] and deployment["affectedApps"] == ids
    assert await framework.get(f"/v2/deployments/{deployment['id']}") == deployment
    removed = await framework.call("DELETE", "/v2/groups/many?force=true")
    assert removed.status == 200
    await framework.settled()
    assert not framework.engine.view.declared.apps


async def test_a_listener_that_comes_back_gets_what_it_missed(framework: Framework) -> None:
    async with listening(framework, "?event_type=deployment_success") as events:
        await framework.app("/one")
        last, _, _ = await events.next()
    await framework.app("/two")
    async with listening(framework, "?event_type=deployment_success", **{"Last-Event-ID": str(last)}) as events:
        number, _, data = await events.next()
        assert number > last and [a["id"] for a in data["plan"]["target"]["apps"]] == ["/two"]


async def test_a_listener_that_takes_nothing_is_disconnected() -> None:
    async with running_framework(ApiSettings(event_send_timeout=0.3)) as framework:
        host, port = framework.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        try:
            writer.write(b"GET /v2/events HTTP/1.1\r\nHost: x\r\n\r\n")
            await eventually_async(lambda: framework.engine.bus.listeners == 1)
            big = "x" * 200_000

            async def talk() -> bool:
                framework.engine.bus.publish("noise", 0.0, {"text": big})
                return framework.engine.bus.listeners == 0

            await eventually_async(talk, timeout=60)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def test_a_stream_comes_to_its_proper_end_where_leadership_ends(framework: Framework) -> None:
    async with running_framework(leads=False, leader=framework.url.removeprefix("http://")) as standby:
        for node in (framework, standby):
            async with node.http.get(f"{node.url}/v2/events") as stream:
                await eventually_async(lambda: framework.engine.bus.listeners)
                framework.engine.bus.close()
                assert b"event_stream_attached" in await stream.read(), "and no error: it was not cut off"


async def test_too_many_streams_are_refused() -> None:
    async with running_framework(ApiSettings(max_event_streams=1)) as framework, listening(framework):
        refused = await framework.call("GET", "/v2/events")
        assert refused.status == 503 and "Retry-After" in refused.headers


async def test_a_listener_that_leaves_is_forgotten(framework: Framework) -> None:
    async with listening(framework):
        pass
    await eventually_async(lambda: framework.engine.bus.listeners == 0)


@pytest.mark.parametrize("value", ["", "x", "-1", "9" * 30])
async def test_a_last_event_id_of_any_form_is_served(framework: Framework, value: str) -> None:
    async with listening(framework, "?event_type=deployment_success", **{"Last-Event-ID": value}) as events:
        await framework.app("/web")
        assert (await events.next())[1] == "deployment_success"


async def test_a_canary_waits_for_its_go_and_shows_why(framework: Framework) -> None:
    labels = {"DROMOS_DEPLOY_STRATEGY": "canary", "DROMOS_DEPLOY_SHARE": "25%"}
    await framework.app("/web", instances=4, labels=labels)
    changed = (await framework.call("PUT", "/v2/apps/web", {"cmd": "new"})).json
    go = f"/v2/deployments/{changed['deploymentId']}/go"

    async def rollout() -> Any:
        return (await framework.get("/v2/deployments"))[0]["currentActions"][0]["rollout"]

    async def waits() -> bool:
        return (await rollout())["state"] == "waiting for go"

    await eventually_async(waits)
    shown = await rollout()
    assert shown.pop("wellSince")
    assert shown == {
        "strategy": "canary", "shares": [25], "phase": 1, "state": "waiting for go", "failures": 0, "maxFailures": 0,
    }  # fmt: skip

    async def one_beside_three() -> bool:
        versions = [task["version"] for task in (await framework.get("/v2/apps/web/tasks"))["tasks"]]
        return sorted(versions.count(version) for version in set(versions)) == [1, 3]

    await eventually_async(one_beside_three, what="the old one that is too many has ended")
    gone_on = await framework.call("POST", go)
    assert (gone_on.status, gone_on.json["deploymentId"]) == (200, changed["deploymentId"])
    await framework.settled()
    assert {task["version"] for task in (await framework.get("/v2/apps/web/tasks"))["tasks"]} == {changed["version"]}
    assert (await framework.call("POST", go)).status == 404


async def test_who_asks_is_told_which_tasks_get_no_traffic(framework: Framework) -> None:
    await framework.app("/web", instances=2, labels={"DROMOS_DEPLOY_STRATEGY": "blue-green"})
    path = "/v2/apps?embed=apps.tasks&embed=apps.rotation"

    async def listed(state: str) -> Any:
        [app] = (await framework.get(path))["apps"]
        tasks = {task["id"] for task in app["tasks"] if task["version"] == app["version"]}
        return tasks, app["rotation"][state], app["rotation"]

    tasks, none, _ = await listed("held")
    assert len(tasks) == 2 and none == []
    changed = (await framework.call("PUT", "/v2/apps/web", {"cmd": "new"})).json

    async def waits() -> bool:
        return len((await listed("held"))[1]) == 2

    await eventually_async(waits)
    new, held, rotation = await listed("held")
    assert (set(held), rotation["draining"]) == (new, [])
    endpoints = (await framework.call("GET", "/v2/tasks", headers={"Accept": "text/plain"})).body.decode()
    assert endpoints.count(":") == 2 and not any(f":{port}\t" in endpoints for port in await ports_of(framework, held))
    [app] = (await framework.get("/v2/apps?embed=apps.tasks"))["apps"]
    assert "rotation" not in app and all("held" not in task for task in app["tasks"])
    assert (await framework.call("POST", f"/v2/deployments/{changed['deploymentId']}/go?force=true")).status == 200
    await framework.settled()
    assert (await listed("held"))[1:] == ([], {"held": [], "draining": []})


async def ports_of(framework: Framework, task_ids: list[str]) -> list[int]:
    tasks = (await framework.get("/v2/apps/web/tasks"))["tasks"]
    return [port for task in tasks if task["id"] in task_ids for port in task["ports"]]


async def test_a_running_deployment_is_shown_where_the_message_of_a_lock_points_to(framework: Framework) -> None:
    framework.cluster.stuck.add("/web")
    await framework.call("POST", "/v2/apps", {"id": "/web", "cmd": "x"})
    locked = (await framework.call("PUT", "/v2/apps/web", {"cmd": "y"})).json
    deployment = locked["deployments"][0]["id"]
    assert "/v2/deployments/<DEPLOYMENT_ID>" in locked["message"]
    [listed] = await framework.get("/v2/deployments")
    assert await framework.get(f"/v2/deployments/{deployment}") == listed
    assert (await framework.call("GET", "/v2/deployments/nope")).status == 404


async def test_a_go_for_what_does_not_wait_is_refused(framework: Framework) -> None:
    framework.cluster.stuck.add("/web")
    created = (await framework.call("POST", "/v2/apps", {"id": "/web", "cmd": "x"})).json
    go = await framework.call("POST", f"/v2/deployments/{created['deployments'][0]['id']}/go")
    assert (go.status, "waits for a go" in go.json["message"]) == (409, True)


async def test_a_request_names_a_strategy_of_its_own(framework: Framework) -> None:
    await framework.app("/web", instances=2)
    framework.cluster.offering = False
    blue = await framework.call("PUT", "/v2/apps/web?strategy=blue-green&healthySeconds=0.1", {"cmd": "new"})
    assert blue.status == 200
    assert framework.engine.view.deployments()[0].rollouts["/web"].blue_green
    framework.cluster.offering = True
    framework.cluster.revive(("*",))
    await framework.settled()
    for query in ("strategy=green", "share=200%25&strategy=canary", "healthySeconds=soon", "maxFailures=-1"):
        refused = await framework.call("PUT", f"/v2/apps/web?{query}", {"cmd": "newer"})
        assert refused.status == 400 and query.split("=")[0] in refused.json["message"]
    await framework.app("/tight", upgradeStrategy={"minimumHealthCapacity": 0, "maximumOverCapacity": 0})
    refused = await framework.call("PUT", "/v2/apps/tight?strategy=blue-green", {"cmd": "new"})
    assert refused.status == 422 and "maximumOverCapacity" in refused.json["message"]


async def test_labels_of_a_strategy_that_cannot_be_are_refused(framework: Framework) -> None:
    wrong = {
        "DROMOS_DEPLOY_STRATEGY": "blue-green", "DROMOS_DEPLOY_SHARE": "lots", "DROMOS_DEPLOY_MAX_FAILURES": "x",
    }  # fmt: skip
    upgrade = {"maximumOverCapacity": 0.5}
    refused = await framework.call(
        "POST", "/v2/apps", {"id": "/a", "cmd": "x", "labels": wrong, "upgradeStrategy": upgrade}
    )
    assert refused.status == 422
    assert {detail["path"] for detail in refused.json["details"]} == {f"/labels/{name}" for name in wrong}


async def test_the_queue_says_which_secret_an_app_waits_for(framework: Framework) -> None:
    framework.cluster.secret_problems["vault:db"] = "Vault's secret secret/db: there is no such secret"
    app = {"id": "/a", "cmd": "x", "secrets": {"db": {"source": "vault:db"}}, "env": {"DB": {"secret": "db"}}}
    assert (await framework.call("POST", "/v2/apps", app)).status == 201
    await eventually_async(lambda: framework.engine.view.queue("/a")[0].problem)
    [item] = (await framework.get("/v2/queue"))["queue"]
    assert item["waitsFor"] == "secret 'db': Vault's secret secret/db: there is no such secret"
    shown = (await framework.get("/v2/apps/a"))["app"]
    assert (shown["secrets"], shown["env"]) == (app["secrets"], app["env"]), "as it was declared, without the value"


async def test_sources_of_secrets_are_checked_and_may_be_bound_to_folders() -> None:
    async with running_framework(ApiSettings(secrets_scoped=True, secrets_default="file")) as framework:
        for source, status in (("prod/db", 201), ("dev/db", 422), ("vault:prod/web/db#x", 201), ("../db", 422)):
            app = {"id": "/prod/web", "cmd": "x", "secrets": {"db": {"source": source}}}
            answer = await framework.call("POST", "/v2/apps", app)
            assert answer.status == status, source
            if status == 422:
                assert answer.json["details"][0]["path"] == "/secrets/db/source"
            await framework.call("DELETE", "/v2/apps/prod/web")
            await framework.settled()


# --- readiness


async def test_a_deployment_waits_until_the_app_is_ready_and_shows_its_answers(framework: Framework) -> None:
    port = {"port": 0, "name": "http-api"}
    check = {"path": "/ready", "preserveLastResponse": True}
    app = {"id": "/web", "cmd": "x", "portDefinitions": [port], "readinessChecks": [check]}
    created = await framework.call("POST", "/v2/apps", app)
    [shown] = created.json["readinessChecks"]
    assert shown == {
        "name": "readinessCheck",
        "protocol": "HTTP",
        "path": "/ready",
        "portName": "http-api",
        "intervalSeconds": 30,
        "timeoutSeconds": 10,
        "httpStatusCodesForReady": [200],
        "preserveLastResponse": True,
    }
    await eventually_async(lambda: len(framework.cluster.running) == 1)
    await eventually_async(lambda: framework.engine.view.counts("/web").running == 1)
    [instance] = framework.engine.view.instances("/web")
    framework.engine.post(ReadinessProbed(instance.id, "readinessCheck", False, 503, "text/plain", "not yet"))
    await eventually_async(lambda: framework.engine.view.readiness("/web"))
    answer = {
        "name": "readinessCheck",
        "taskId": instance.tasks[0].id,
        "ready": False,
        "lastResponse": {"status": 503, "contentType": "text/plain", "body": "not yet"},
    }
    [deployment] = await framework.get("/v2/deployments")
    [action] = deployment["currentActions"]
    assert action == {"action": "ScaleApplication", "app": "/web", "readinessCheckResults": [answer]}
    assert (deployment["currentStep"], deployment["totalSteps"]) == (2, 2)
    assert (await framework.get("/v2/apps/web?embed=app.readiness"))["app"]["readinessCheckResults"] == [answer]
    framework.engine.post(ReadinessProbed(instance.id, "readinessCheck", True))
    await framework.settled()
