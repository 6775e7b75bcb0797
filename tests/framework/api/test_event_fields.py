"""Every event that Marathon tells of, with exactly its fields, as a listener gets it."""

import asyncio
import json
from typing import Any

import aiohttp

from framework.decide.instance_state import TaskStatus
from framework.engine.events import Disconnected, MessageReceived, Probed, StatusReceived, Subscribed
from tests.support.memory_cluster import Framework
from tests.support.waiting import eventually_async

FIELDS = {
    "api_post_event": {"clientIp", "uri", "appDefinition"},
    "pod_created_event": {"clientIp", "uri"},
    "pod_updated_event": {"clientIp", "uri"},
    "pod_deleted_event": {"clientIp", "uri"},
    "status_update_event": {
        "slaveId", "taskId", "taskStatus", "message", "appId", "host", "ipAddresses", "ports", "version",
    },
    "instance_changed_event": {"instanceId", "condition", "runSpecId", "agentId", "host", "runSpecVersion"},
    "instance_health_changed_event": {"instanceId", "runSpecId", "healthy", "runSpecVersion"},
    "unknown_instance_terminated_event": {"instanceId", "runSpecId", "condition"},
    "add_health_check_event": {"appId", "version", "healthCheck"},
    "remove_health_check_event": {"appId"},
    "failed_health_check_event": {"appId", "taskId", "instanceId", "healthCheck"},
    "health_status_changed_event": {"appId", "instanceId", "version", "alive"},
    "unhealthy_instance_kill_event": {"appId", "taskId", "instanceId", "version", "reason", "host", "slaveId"},
    "group_change_success": {"groupId", "version"},
    "group_change_failed": {"groupId", "version", "reason"},
    "deployment_success": {"id", "plan"},
    "deployment_failed": {"id", "plan", "reason"},
    "deployment_info": {"plan", "currentStep"},
    "deployment_step_success": {"plan", "currentStep"},
    "deployment_step_failure": {"plan", "currentStep"},
    "app_terminated_event": {"appId"},
    "event_stream_attached": {"remoteAddress"},
    "event_stream_detached": {"remoteAddress"},
    "framework_message_event": {"executorId", "slaveId", "message"},
    "scheduler_registered_event": {"frameworkId", "master"},
    "scheduler_reregistered_event": {"master"},
    "scheduler_disconnected_event": set(),
}  # fmt: skip
CHECKED = {"id": "/web", "cmd": "x", "healthChecks": [{"maxConsecutiveFailures": 1, "gracePeriodSeconds": 0}]}
POD = {"id": "/pod", "containers": [{"name": "main", "exec": {"command": {"shell": "x"}}, "resources": {"mem": 32}}]}


async def test_every_event_has_the_fields_that_marathon_gives_it(framework: Framework) -> None:
    await _an_app_is_ill_and_goes(framework)
    await _a_pod_comes_changes_and_goes(framework)
    await _changes_are_refused_and_cut_short(framework)
    _the_master_tells_of_what_is_nobodys(framework)
    async with framework.http.get(f"{framework.url}/v2/events"):
        await eventually_async(lambda: framework.engine.bus.listeners)
    await eventually_async(lambda: not framework.engine.bus.listeners)
    seen = await _told(framework)
    assert set(seen) - set(FIELDS) <= {"instance_draining_event"}
    assert {kind: set(seen[kind]) - {"eventType", "timestamp"} for kind in FIELDS if kind in seen} == FIELDS
    assert {kind: data["eventType"] for kind, data in seen.items()} == {kind: kind for kind in seen}
    assert all(data["timestamp"].endswith("Z") for data in seen.values())
    failed, killed = seen["failed_health_check_event"], seen["unhealthy_instance_kill_event"]
    assert failed["taskId"] == failed["instanceId"] == killed["instanceId"], "Marathon's taskId is the instance's here"
    assert killed["taskId"].startswith(killed["instanceId"] + ".") and killed["reason"] == "refused"
    assert failed["healthCheck"]["protocol"] == "HTTP"
    assert seen["event_stream_detached"]["remoteAddress"] == "127.0.0.1"
    assert seen["scheduler_registered_event"]["master"] == "127.0.0.1"
    assert seen["framework_message_event"]["message"] == "aGVsbG8="
    assert seen["unknown_instance_terminated_event"]["condition"] == "Failed"


async def _an_app_is_ill_and_goes(framework: Framework) -> None:
    await framework.call("POST", "/v2/apps", CHECKED)
    await framework.settled()
    [instance] = framework.engine.view.instances("/web")
    framework.engine.post(Probed(instance.id, 0, False, "refused"))
    await eventually_async(lambda: instance not in framework.engine.view.instances("/web"))
    await framework.call("DELETE", "/v2/apps/web")
    await framework.settled()


async def _a_pod_comes_changes_and_goes(framework: Framework) -> None:
    await framework.call("POST", "/v2/pods", POD)
    await framework.call("PUT", "/v2/pods/pod?force=true", {**POD, "labels": {"a": "b"}})
    await framework.call("DELETE", "/v2/pods/pod?force=true")
    await framework.settled()


async def _changes_are_refused_and_cut_short(framework: Framework) -> None:
    framework.cluster.stuck.add("/stuck")
    created = await framework.call("POST", "/v2/apps", {"id": "/stuck", "cmd": "x"})
    assert (await framework.call("PUT", "/v2/apps/stuck", {"cmd": "y"})).status == 409
    deployment = created.json["deployments"][0]["id"]
    assert (await framework.call("DELETE", f"/v2/deployments/{deployment}?force=true")).status == 202


def _the_master_tells_of_what_is_nobodys(framework: Framework) -> None:
    strange = TaskStatus("gone.instance-1._app.1", "TASK_FAILED", "agent-1")
    framework.engine.post(StatusReceived(strange))
    framework.engine.post(MessageReceived("agent-1", "executor", b"hello"))
    framework.engine.post(Disconnected("the test says so"))
    framework.engine.post(Subscribed("framework-1", "127.0.0.1:5050", again=True))


async def _told(framework: Framework) -> dict[str, dict[str, Any]]:
    """The first event of each kind, of all that was told so far."""
    seen: dict[str, dict[str, Any]] = {}
    async with framework.http.get(f"{framework.url}/v2/events", headers={"Last-Event-ID": "0"}) as stream:
        async with asyncio.timeout(60):
            while not set(FIELDS) <= set(seen):
                data = await _data(stream)
                seen.setdefault(data["eventType"], data)
    return seen


async def _data(stream: aiohttp.ClientResponse) -> dict[str, Any]:
    async for line in stream.content:
        if line.startswith(b"data: "):
            return dict(json.loads(line.removeprefix(b"data: ")))
    raise AssertionError("the stream has ended")
