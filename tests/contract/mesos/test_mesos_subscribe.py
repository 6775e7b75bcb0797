"""Subscribing: the stream of events, who is let in, and who takes over from whom."""

import uuid
from typing import Any

import pytest

from tests.support.mesos import Mesos
from tests.support.scheduler import CallError, Scheduler, amount, scheduling, task
from tests.support.waiting import eventually_async

# The business of the master alone, which is the same whatever its agents are.
pytestmark = pytest.mark.parametrize("mesos", ["simulated", "real"], indirect=True, scope="package")

MULTI_ROLE = [{"type": "MULTI_ROLE"}]


async def test_the_stream_begins_with_subscribed_and_a_heartbeat_comes_at_once(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        await scheduler.next("HEARTBEAT")

        assert scheduler.seen[0]["type"] == "SUBSCRIBED"
        subscribed = scheduler.subscribed
        assert subscribed["heartbeat_interval_seconds"] == 15.0
        assert subscribed["master_info"]["address"]["port"] == mesos.port
        assert subscribed["master_info"]["pid"] == f"master@{mesos.address}"
        assert subscribed["master_info"]["version"] == "1.11.0"
        assert subscribed["framework_id"]["value"].startswith(subscribed["master_info"]["id"] + "-")


async def test_a_framework_without_multi_role_subscribes_for_one_role(mesos: Mesos):
    role = f"one-{uuid.uuid4().hex[:8]}"
    async with scheduling(mesos.url, role=role, roles=[], capabilities=[]) as scheduler:
        offer = await scheduler.offer()

        assert "allocation_info" not in offer
        assert all("allocation_info" not in resource for resource in offer["resources"])
        assert [entry["name"] for entry in mesos.get("/roles")["roles"]] == [role]

        info = task(offer | {"allocation_info": {"role": role}})
        for resource in info["resources"]:
            del resource["allocation_info"]
        await scheduler.launch(offer, info)
        await scheduler.update(info["task_id"]["value"], "TASK_RUNNING")


async def test_a_framework_without_roles_or_user_is_accepted_and_gets_no_offers(mesos: Mesos):
    async with scheduling(mesos.url, user="", roles=[]) as scheduler:
        await scheduler.none_of("OFFERS", seconds=0.6)

        assert scheduler.framework_id


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"role": "a", "roles": [], "capabilities": MULTI_ROLE},
            "'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable",
        ),
        (
            {"roles": ["a"], "capabilities": []},
            "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable",
        ),
        ({"roles": ["a", "a"]}, "'FrameworkInfo.roles' contains duplicate items: { a }"),
        ({"roles": ["a b"]}, "Role component 'a b' is invalid because it contains backspace or whitespace"),
        ({"roles": ["../a"]}, "Role '../a' cannot include '..' as a component"),
        ({"roles": ["-a"]}, "Role component '-a' is invalid because it starts with a dash"),
        ({"roles": ["/a"]}, "Role '/a' cannot start with a slash"),
        ({"roles": ["a/"]}, "Role 'a/' cannot end with a slash"),
        ({"roles": ["a//b"]}, "Role 'a//b' cannot contain two adjacent slashes"),
        ({"roles": ["a/*"]}, "Role 'a/*' cannot include '*' as a component"),
        ({"roles": [""]}, "Role names cannot be the empty string"),
        ({"failover_timeout": 1e30}, "The framework failover_timeout (1e+30) is invalid"),
    ],
)
async def test_an_invalid_framework_gets_an_error_event_and_a_closed_stream(
    mesos: Mesos, fields: dict[str, Any], message: str
):
    async with scheduling(mesos.url, subscribe=False, **fields) as scheduler:
        await scheduler.open()
        error = await scheduler.next("ERROR")
        await scheduler.until_closed()

        assert message in error["error"]["message"]
        assert [event["type"] for event in scheduler.seen] == ["ERROR"]


async def test_suppressed_roles_are_to_be_among_the_roles(mesos: Mesos):
    async with scheduling(mesos.url, subscribe=False) as scheduler:
        await scheduler.open(suppressed_roles=["strange"])
        error = await scheduler.next("ERROR")

        assert error["error"]["message"] == "Suppressed role 'strange' is not contained in the list of roles"


async def test_an_id_with_a_slash_is_an_error(mesos: Mesos):
    async with scheduling(mesos.url, subscribe=False) as scheduler:
        await scheduler.open("a/b")
        error = await scheduler.next("ERROR")

        assert error["error"]["message"] == "'a/b' contains invalid characters"


async def test_an_id_that_was_never_seen_is_accepted_as_it_is(mesos: Mesos):
    framework_id = f"my-own-{uuid.uuid4()}"
    async with scheduling(mesos.url, subscribe=False) as scheduler:
        subscribed = await scheduler.subscribe(framework_id)

        assert subscribed["framework_id"] == {"value": framework_id}


async def test_a_second_scheduler_takes_over_and_the_first_is_told(mesos: Mesos):
    async with scheduling(mesos.url, failover_timeout=60.0) as first:
        task, _ = await first.running()
        async with scheduling(mesos.url, subscribe=False) as second:
            second.info = first.info
            subscribed = await second.subscribe(first.framework_id)
            error = await first.next("ERROR")
            await first.until_closed()
            await second.reconcile()
            status = await second.update(task["task_id"]["value"])

            assert error["error"]["message"] == "Framework failed over"
            assert subscribed["framework_id"]["value"] == first.framework_id
            assert status["state"] == "TASK_RUNNING"


async def test_the_stream_of_a_scheduler_that_was_replaced_is_no_longer_accepted(mesos: Mesos):
    async with scheduling(mesos.url, failover_timeout=60.0) as first, scheduling(mesos.url, subscribe=False) as second:
        second.info = first.info
        await second.subscribe(first.framework_id)

        with pytest.raises(CallError, match="didn't match the stream ID") as refused:
            await first.call("REVIVE")
        assert refused.value.status == 400


async def test_the_id_of_a_framework_that_was_torn_down_is_not_accepted_again(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        framework_id = scheduler.framework_id
        await scheduler.teardown()
        await scheduler.until_closed()
    async with scheduling(mesos.url, subscribe=False) as late:
        late.info = scheduler.info
        await late.open(framework_id)
        error = await late.next("ERROR")
        await late.until_closed()

        assert error["error"]["message"] == "Framework has been removed"


async def test_a_framework_may_come_back_within_its_failover_timeout(mesos: Mesos):
    async with scheduling(mesos.url, failover_timeout=60.0) as scheduler:
        task, _ = await scheduler.running()
        await scheduler.disconnect()

        await scheduler.subscribe(scheduler.framework_id)
        await scheduler.reconcile({"task_id": task["task_id"]})
        status = await scheduler.update(task["task_id"]["value"])

        assert status["state"] == "TASK_RUNNING"
        assert status["reason"] == "REASON_RECONCILIATION"


async def test_a_framework_with_no_failover_timeout_is_removed_as_it_disconnects(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        await scheduler.running()
        await scheduler.disconnect()
        framework_id = scheduler.framework_id

        def ids(which: str) -> list[str]:
            return [framework["id"] for framework in mesos.get("/frameworks")[which]]

        await eventually_async(lambda: framework_id in ids("completed_frameworks"))
        assert framework_id not in ids("frameworks")
    async with scheduling(mesos.url) as watcher:
        assert [amount(offer, "cpus") for offer in await watcher.offers(3)] == [4.0] * 3, "the task is gone too"


async def test_a_call_of_a_framework_that_is_not_connected_is_forbidden(mesos: Mesos):
    async with scheduling(mesos.url, failover_timeout=60.0) as scheduler:
        await scheduler.disconnect()
        await eventually_async(lambda: not _framework(mesos, scheduler)["connected"])
        with pytest.raises(CallError) as refused:
            await scheduler.call("REVIVE")

        assert (refused.value.status, refused.value.text) == (403, "Framework is not subscribed")
        await scheduler.subscribe(scheduler.framework_id)


async def test_what_was_refused_is_offered_again_after_a_disconnection(mesos: Mesos):
    async with scheduling(mesos.url, failover_timeout=60.0) as scheduler:
        await scheduler.decline(await scheduler.offers(3), refuse_seconds=3600)
        await scheduler.disconnect()
        await eventually_async(lambda: not _framework(mesos, scheduler)["connected"])
        await scheduler.subscribe(scheduler.framework_id)

        assert await scheduler.offers(3)


async def test_a_framework_that_subscribes_again_may_not_change_its_principal(mesos: Mesos):
    async with scheduling(mesos.url, failover_timeout=60.0, principal="p") as first:
        async with scheduling(mesos.url, subscribe=False) as second:
            second.info = first.info | {"principal": "q"}
            await second.open(first.framework_id)
            error = await second.next("ERROR")

            assert error["error"]["message"] == "Changing framework's principal is not allowed."
            assert not first.closed


async def test_a_framework_that_subscribes_again_keeps_its_user(mesos: Mesos):
    async with scheduling(mesos.url, failover_timeout=60.0) as first:
        async with scheduling(mesos.url, subscribe=False) as second:
            second.info = first.info | {"user": "nobody", "name": "renamed"}
            await second.subscribe(first.framework_id)

            assert (_framework(mesos, second)["user"], _framework(mesos, second)["name"]) == ("root", "renamed")


def _framework(mesos: Mesos, scheduler: Scheduler) -> dict[str, Any]:
    found = mesos.get(f"/frameworks?framework_id={scheduler.framework_id}")["frameworks"]
    return found[0]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"user": "nobody"},
            "FrameworkInfo update is not valid: Updating 'FrameworkInfo.user' is unsupported; attempted to update from"
            " 'root' to 'nobody'",
        ),
        (
            {"checkpoint": True},
            "FrameworkInfo update is not valid: Updating 'FrameworkInfo.checkpoint' is unsupported; attempted to update"
            " from 'false' to 'true'",
        ),
        ({"principal": "q"}, "FrameworkInfo update is not valid: Changing framework's principal is not allowed."),
        (
            {"roles": ["a b"]},
            "Supplied FrameworkInfo is not valid: 'FrameworkInfo.roles' contains invalid role: Role component 'a b' is"
            " invalid because it contains backspace or whitespace",
        ),
        (
            {"id": {"value": "other"}},
            "Failed to validate scheduler::Call: 'framework_id' differs from 'update_framework.framework_info.id'",
        ),
    ],
)
async def test_update_framework_refuses_what_cannot_change(mesos: Mesos, change: dict[str, Any], text: str):
    async with scheduling(mesos.url) as scheduler:
        info = scheduler.info | {"id": {"value": scheduler.framework_id}} | change
        call = {
            "type": "UPDATE_FRAMEWORK",
            "framework_id": {"value": scheduler.framework_id},
            "update_framework": {"framework_info": info},
        }

        assert await scheduler.post(call) == (400, text)


async def test_update_framework_changes_the_roles_that_offers_come_for(mesos: Mesos):
    other = f"other-{uuid.uuid4().hex[:8]}"
    async with scheduling(mesos.url) as scheduler:
        offers = await scheduler.offers(3)
        info = scheduler.info | {"id": {"value": scheduler.framework_id}, "roles": [other]}
        call = {"type": "UPDATE_FRAMEWORK", "framework_id": info["id"], "update_framework": {"framework_info": info}}
        assert await scheduler.post(call) == (200, "")

        rescinded = {(await scheduler.next("RESCIND"))["rescind"]["offer_id"]["value"] for _ in offers}
        assert rescinded == {offer["id"]["value"] for offer in offers}
        assert {offer["allocation_info"]["role"] for offer in await scheduler.offers(3)} == {other}
