"""Reconciliation: what the master answers when it is asked for the state of tasks."""

import pytest

from tests.support.mesos import Mesos
from tests.support.scheduler import Json, scheduling, task

PARTITION_AWARE = [{"type": "MULTI_ROLE"}, {"type": "PARTITION_AWARE"}]


async def test_all_tasks_are_told_where_none_is_named(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        first, _ = await scheduler.running()
        await scheduler.call("REVIVE")
        second, _ = await scheduler.running()
        await scheduler.reconcile()

        for info in (first, second):
            status = await scheduler.update(info["task_id"]["value"])
            assert (status["state"], status["reason"]) == ("TASK_RUNNING", "REASON_RECONCILIATION")
            assert status["message"] == "Reconciliation: Latest task state"
            assert status["source"] == "SOURCE_MASTER"
            assert status["agent_id"] == info["agent_id"]
            assert status["container_status"]["container_id"]["value"]
            assert "uuid" not in status


@pytest.mark.parametrize("agent", ["none", "its own", "another"])
async def test_a_known_task_is_told_whatever_agent_is_named(mesos: Mesos, agent: str):
    async with scheduling(mesos.url) as scheduler:
        info, _ = await scheduler.running()
        asked: Json = {"task_id": info["task_id"]}
        if agent != "none":
            asked["agent_id"] = info["agent_id"] if agent == "its own" else {"value": "another"}
        await scheduler.reconcile(asked)

        status = await scheduler.update(info["task_id"]["value"])
        assert (status["state"], status["agent_id"]) == ("TASK_RUNNING", info["agent_id"])


async def test_an_unknown_task_is_lost(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        await scheduler.reconcile({"task_id": {"value": "unknown"}})
        status = await scheduler.update("unknown")

        assert (status["state"], status["message"]) == ("TASK_LOST", "Reconciliation: Task is unknown")
        assert "agent_id" not in status


async def test_to_a_partition_aware_framework_an_unknown_task_is_unknown(mesos: Mesos):
    async with scheduling(mesos.url, capabilities=PARTITION_AWARE) as scheduler:
        await scheduler.reconcile({"task_id": {"value": "unknown"}, "agent_id": {"value": "unknown"}})
        status = await scheduler.update("unknown")

        assert (status["state"], status["message"]) == ("TASK_UNKNOWN", "Reconciliation: Task is unknown")
        assert status["agent_id"] == {"value": "unknown"}


async def test_a_task_that_a_known_agent_does_not_have_is_gone(mesos: Mesos):
    async with scheduling(mesos.url, capabilities=PARTITION_AWARE) as scheduler:
        agent_id = (await scheduler.offer())["agent_id"]
        await scheduler.reconcile({"task_id": {"value": "unknown"}, "agent_id": agent_id})
        status = await scheduler.update("unknown")

        assert (status["state"], status["message"]) == ("TASK_GONE", "Reconciliation: Task is unknown to the agent")


async def test_a_finished_task_is_as_unknown_as_one_that_never_was(mesos: Mesos):
    async with scheduling(mesos.url, capabilities=PARTITION_AWARE) as scheduler:
        info, _ = await scheduler.running(command="exit 0")
        await scheduler.update(info["task_id"]["value"], "TASK_FINISHED")
        await scheduler.reconcile({"task_id": info["task_id"], "agent_id": info["agent_id"]})
        await scheduler.reconcile({"task_id": info["task_id"]})

        states = [(await scheduler.update(info["task_id"]["value"]))["state"] for _ in range(2)]
        assert states == ["TASK_GONE", "TASK_UNKNOWN"]


async def test_tasks_of_another_framework_are_unknown(mesos: Mesos):
    async with scheduling(mesos.url) as owner, scheduling(mesos.url) as stranger:
        await stranger.call("SUPPRESS")
        offer = (await owner.offers(1))[0]
        info = task(offer)
        await owner.launch(offer, info)
        await owner.update(info["task_id"]["value"], "TASK_RUNNING")
        await stranger.reconcile({"task_id": info["task_id"]})

        assert (await stranger.update(info["task_id"]["value"]))["state"] == "TASK_LOST"
