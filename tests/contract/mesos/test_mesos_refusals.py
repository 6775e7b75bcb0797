"""Requests that are refused: the status and the words of Mesos."""

import uuid
from typing import Any

import aiohttp
import pytest

from tests.support.mesos import Mesos
from tests.support.scheduler import scheduling

# The business of the master alone, which is the same whatever its agents are.
pytestmark = pytest.mark.parametrize("mesos", ["simulated", "real"], indirect=True, scope="package")

JSON = {"Content-Type": "application/json"}
INFO = {"user": "root", "name": "refused"}
CONVERT = "Failed to convert JSON into Call protobuf: "
VALIDATE = "Failed to validate scheduler::Call: "


def subscribe(**info: Any) -> dict[str, Any]:
    return {"type": "SUBSCRIBE", "subscribe": {"framework_info": INFO | info}}


async def request(
    mesos: Mesos,
    body: Any = None,
    *,
    method: str = "POST",
    path: str = "/api/v1/scheduler",
    headers: dict[str, str] = JSON,
    raw: bytes | None = None,
) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session:
        payload: dict[str, Any] = {"data": raw} if raw is not None else {"json": body}
        async with session.request(method, mesos.url + path, headers=headers, **payload) as response:
            return response.status, await response.text()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ({}, VALIDATE + "Expecting 'type' to be present"),
        ({"type": "NO_SUCH"}, VALIDATE + "Expecting 'type' to be present"),
        ({"type": 1}, CONVERT + "Not expecting a JSON number for field 'type'"),
        ([], CONVERT + "Expecting a JSON object"),
        ({"type": "SUBSCRIBE"}, VALIDATE + "Expecting 'subscribe' to be present"),
        ({"type": "SUBSCRIBE", "subscribe": 1}, CONVERT + "Not expecting a JSON number for field 'subscribe'"),
        ({"type": "SUBSCRIBE", "subscribe": {}}, CONVERT + "Missing required fields: subscribe.framework_info"),
        (
            {"type": "SUBSCRIBE", "subscribe": {"framework_info": {"labels": {"labels": [{}]}}}},
            CONVERT
            + "Missing required fields: subscribe.framework_info.user, subscribe.framework_info.name,"
            + " subscribe.framework_info.labels.labels[0].key",
        ),
        (subscribe(user=None), CONVERT + "Missing required fields: subscribe.framework_info.user"),
        (subscribe(name=5), CONVERT + "Not expecting a JSON number for field 'name'"),
        (subscribe(name={}), CONVERT + "Not expecting a JSON object for field 'name'"),
        (subscribe(name=["x"]), CONVERT + "Not expecting a JSON array for field 'name'"),
        (subscribe(name=True), CONVERT + "Not expecting a JSON boolean for field 'name'"),
        (subscribe(roles=["a", 1]), CONVERT + "Not expecting a JSON number for field 'roles'"),
        (subscribe(labels=[]), CONVERT + "Not expecting a JSON array for field 'labels'"),
        (subscribe(capabilities=["x"]), CONVERT + "Not expecting a JSON string for field 'capabilities'"),
        (subscribe(checkpoint=1), CONVERT + "Not expecting a JSON number for field 'checkpoint'"),
        (subscribe(failover_timeout=True), CONVERT + "Not expecting a JSON boolean for field 'failover_timeout'"),
        (
            subscribe(failover_timeout="x"),
            CONVERT
            + "Failed to parse 'x' as a JSON number for field 'failover_timeout': syntax error at line 1 near: x",
        ),
        (
            subscribe(id={"value": "inside-only"}),
            VALIDATE + "'framework_id' differs from 'subscribe.framework_info.id'",
        ),
        (
            subscribe(id={"value": "a"}) | {"framework_id": {"value": "b"}},
            VALIDATE + "'framework_id' differs from 'subscribe.framework_info.id'",
        ),
        (subscribe() | {"framework_id": {"value": "b"}}, VALIDATE + "'framework_id' differs from"),
        ({"type": "REVIVE"}, VALIDATE + "Expecting 'framework_id' to be present"),
        ({"type": "REVIVE", "framework_id": "x"}, CONVERT + "Not expecting a JSON string for field 'framework_id'"),
        ({"type": "REVIVE", "framework_id": {"value": "unknown"}}, "Framework cannot be found"),
    ],
)
async def test_a_call_that_cannot_be_read_is_a_bad_request(mesos: Mesos, call: Any, text: str):
    status, answer = await request(mesos, call)

    assert status == 400
    assert answer.startswith(text)


@pytest.mark.parametrize("body", [b"", b"{", b"nul", b'{"type": "SUBSCRIBE",}', b'{"type": "SUBSCRIBE"} x'])
async def test_what_is_not_json_is_a_bad_request(mesos: Mesos, body: bytes):
    status, answer = await request(mesos, raw=body)

    assert status == 400
    assert answer.startswith("Failed to parse body into JSON: ")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": ""}, 415),
        ({"Content-Type": "application/json; charset=utf-8"}, 415),
        (JSON | {"Accept": "text/html"}, 406),
        (JSON | {"Mesos-Stream-Id": str(uuid.uuid4())}, 400),
    ],
)
async def test_the_headers_of_a_subscription_are_checked(mesos: Mesos, headers: dict[str, str], status: int):
    answered, _ = await request(mesos, subscribe(), headers=headers)

    assert answered == status


@pytest.mark.parametrize("path", ["/api/v1/scheduler", "/api/v1", "/master/api/v1/scheduler", "/master/api/v1"])
async def test_calls_are_posts(mesos: Mesos, path: str):
    status, text = await request(mesos, raw=b"", method="GET", path=path, headers={})

    assert (status, text) == (
        405,
        "405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'.",
    )


async def test_a_path_that_is_not_there_is_not_found(mesos: Mesos):
    assert (await request(mesos, raw=b"", method="GET", path="/no/such/path", headers={}))[0] == 404


CALLS_WITH_CONTENT = [
    *("ACCEPT", "DECLINE", "KILL", "SHUTDOWN", "ACKNOWLEDGE", "RECONCILE", "MESSAGE", "REQUEST", "UPDATE_FRAMEWORK"),
    *("ACCEPT_INVERSE_OFFERS", "DECLINE_INVERSE_OFFERS", "RECONCILE_OPERATIONS", "ACKNOWLEDGE_OPERATION_STATUS"),
]


async def test_most_calls_need_content(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        for kind in CALLS_WITH_CONTENT:
            call = {"type": kind, "framework_id": {"value": scheduler.framework_id}}

            assert await scheduler.post(call) == (400, VALIDATE + f"Expecting '{kind.lower()}' to be present")


@pytest.mark.parametrize(
    ("kind", "missing"),
    [
        ("KILL", "kill.task_id"),
        ("SHUTDOWN", "shutdown.executor_id, shutdown.agent_id"),
        ("ACKNOWLEDGE", "acknowledge.agent_id, acknowledge.task_id, acknowledge.uuid"),
        ("MESSAGE", "message.agent_id, message.executor_id, message.data"),
    ],
)
async def test_missing_fields_are_all_named(mesos: Mesos, kind: str, missing: str):
    async with scheduling(mesos.url) as scheduler:
        call = {"type": kind, "framework_id": {"value": scheduler.framework_id}, kind.lower(): {}}

        assert await scheduler.post(call) == (400, CONVERT + f"Missing required fields: {missing}")


@pytest.mark.parametrize(
    ("uuid", "text"),
    [
        ("!!!", CONVERT + "Failed to base64 decode bytes field 'uuid': Invalid character '!'"),
        ("aaaa", VALIDATE + "Not a valid UUID"),
    ],
)
async def test_the_uuid_of_an_acknowledgement_is_checked(mesos: Mesos, uuid: str, text: str):
    async with scheduling(mesos.url) as scheduler:
        acknowledge = {"task_id": {"value": "a"}, "agent_id": {"value": "b"}, "uuid": uuid}
        call = {"type": "ACKNOWLEDGE", "framework_id": {"value": scheduler.framework_id}, "acknowledge": acknowledge}

        assert await scheduler.post(call) == (400, text)


async def test_a_call_names_the_stream_of_its_subscription(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        call = {"type": "REVIVE", "framework_id": {"value": scheduler.framework_id}}

        assert await request(mesos, call) == (
            400,
            "All non-subscribe calls should include the 'Mesos-Stream-Id' header",
        )
        assert await scheduler.post(call, stream_id="another") == (
            400,
            "The stream ID 'another' included in this request didn't match the stream ID currently associated with"
            f" framework ID {scheduler.framework_id}",
        )
        assert await scheduler.post(call) == (202, "")


async def test_fields_and_operations_that_are_unknown_are_passed_over(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        accept = {"offer_ids": [], "operations": [{"type": "NO_SUCH"}], "what": 1}
        call = {"type": "ACCEPT", "framework_id": {"value": scheduler.framework_id}, "accept": accept}

        assert await scheduler.post(call) == (202, "")
