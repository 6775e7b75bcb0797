"""Agents that go out of reach, come back, are gone for good, or are taken down: what the frameworks hear of it.

What a real Mesos was seen to do here cannot be brought about in the one that tests can run, whose agents cannot be lost alone.
"""

import time
from typing import Any

import aiohttp
import pytest

from tests.support.mesos import Mesos, MesosFactory, operator
from tests.support.scheduler import Json, Scheduler, amount, scalar, scheduling, task
from tests.support.waiting import eventually_async

PARTITION_AWARE = [{"type": "MULTI_ROLE"}, {"type": "PARTITION_AWARE"}]


async def post(mesos: Mesos, path: str, call: Json | None = None) -> str:
    async with aiohttp.ClientSession() as session, session.post(mesos.url + path, json=call) as response:
        assert response.status in (200, 202), await response.text()
        return await response.text()


def process_of(mesos: Mesos, agent_id: Json) -> str:
    """`slave(1)`"""
    agents = {agent["id"]: agent["pid"].partition("@")[0] for agent in mesos.get("/slaves")["slaves"]}
    process: str = agents[agent_id["value"]]
    return process


def unreliable(factory: MesosFactory, **settings: Any) -> Mesos:
    """Agents are given up after 0.4 s."""
    return factory(
        simulate=True, agents=2, allocation_interval=0.1, agent_ping_timeout=0.2, max_agent_ping_timeouts=2, **settings
    )


async def test_of_a_lost_agent_offers_are_rescinded_then_its_tasks_are_unreachable_then_the_failure_is_told(
    embedded_mesos: MesosFactory,
):
    mesos = unreliable(embedded_mesos)
    async with scheduling(mesos.url, capabilities=PARTITION_AWARE) as scheduler:
        offer = await scheduler.offer()
        info = task(offer)
        await scheduler.launch(offer, info, refuse_seconds=0)
        await scheduler.update(info["task_id"]["value"], "TASK_RUNNING")
        rest = await scheduler.offer()
        scheduler.seen.clear()

        await post(mesos, f"/{process_of(mesos, offer['agent_id'])}/simulate/partition")
        rescind = await scheduler.next("RESCIND")
        status = await scheduler.update(info["task_id"]["value"])
        failure = await scheduler.next("FAILURE")

        assert rescind["rescind"]["offer_id"] == rest["id"]
        assert (status["state"], status["reason"]) == ("TASK_UNREACHABLE", "REASON_AGENT_REMOVED")
        assert status["agent_id"] == offer["agent_id"]
        assert abs(status["unreachable_time"]["nanoseconds"] / 1e9 - time.time()) < 60
        assert "uuid" not in status
        assert failure["failure"] == {"agent_id": offer["agent_id"]}
        told = [event["type"] for event in scheduler.seen if event["type"] in ("RESCIND", "UPDATE", "FAILURE")]
        assert told == ["RESCIND", "UPDATE", "FAILURE"]

        framework = mesos.get("/frameworks")["frameworks"][0]
        assert [t["state"] for t in framework["unreachable_tasks"]] == ["TASK_UNREACHABLE"]
        assert framework["tasks"] == []
        assert mesos.get("/state")["unreachable_slaves"] == 1.0
        assert mesos.get("/state-summary")["frameworks"][0]["TASK_UNREACHABLE"] == 1


async def test_a_framework_that_is_not_partition_aware_hears_task_lost(embedded_mesos: MesosFactory):
    mesos = unreliable(embedded_mesos)
    async with scheduling(mesos.url) as scheduler:
        info, _ = await scheduler.running()
        await post(mesos, f"/{process_of(mesos, info['agent_id'])}/simulate/partition")

        status = await scheduler.update(info["task_id"]["value"])
        assert (status["state"], status["reason"]) == ("TASK_LOST", "REASON_AGENT_REMOVED")


async def test_an_agent_that_comes_back_brings_its_tasks_and_its_resources(embedded_mesos: MesosFactory):
    mesos = unreliable(embedded_mesos)
    async with scheduling(mesos.url, capabilities=PARTITION_AWARE) as scheduler:
        info, _ = await scheduler.running(cpus=1.0)
        task_id, process = info["task_id"]["value"], process_of(mesos, info["agent_id"])
        await post(mesos, f"/{process}/simulate/partition")
        await scheduler.update(task_id, "TASK_UNREACHABLE")
        await post(mesos, f"/{process}/simulate/return")

        status = await scheduler.update(task_id)
        assert (status["state"], status["reason"]) == ("TASK_RUNNING", "REASON_AGENT_REREGISTERED")
        assert "uuid" not in status
        offer = await scheduler.offer()
        assert (offer["agent_id"], amount(offer, "cpus")) == (info["agent_id"], 3.0)
        framework = mesos.get("/frameworks")["frameworks"][0]
        assert (len(framework["tasks"]), framework["unreachable_tasks"]) == (1, [])


async def test_an_agent_that_comes_back_in_time_was_never_lost(embedded_mesos: MesosFactory):
    mesos = embedded_mesos(simulate=True, allocation_interval=0.1, agent_ping_timeout=60)
    async with scheduling(mesos.url) as scheduler:
        offer = await scheduler.offer()
        info = task(offer)
        await post(mesos, "/slave(1)/simulate/partition")
        await post(mesos, "/slave(1)/simulate/return")
        await scheduler.launch((await scheduler.offers())[0], info)

        assert (await scheduler.update(info["task_id"]["value"], "TASK_RUNNING"))["agent_id"] == offer["agent_id"]


async def test_an_update_that_was_made_while_the_agent_was_away_is_told_when_it_is_back(embedded_mesos: MesosFactory):
    mesos = unreliable(embedded_mesos)
    async with scheduling(mesos.url, capabilities=PARTITION_AWARE) as scheduler:
        info, _ = await scheduler.running()
        task_id, process = info["task_id"]["value"], process_of(mesos, info["agent_id"])
        await post(mesos, f"/{process}/simulate/partition")
        await scheduler.update(task_id, "TASK_UNREACHABLE")
        await post(mesos, f"/{process}/simulate/tasks/{task_id}?state=TASK_FAILED&message=gone+wrong")
        await post(mesos, f"/{process}/simulate/return")

        told = await scheduler.update(task_id, "TASK_FAILED")
        assert (told["reason"], "uuid" in told) == ("REASON_AGENT_REREGISTERED", False)
        update = await scheduler.update(task_id, "TASK_FAILED")
        assert (update["message"], "uuid" in update) == ("gone wrong", True)


async def test_a_task_of_a_framework_that_was_removed_meanwhile_is_killed(embedded_mesos: MesosFactory):
    mesos = unreliable(embedded_mesos)
    async with scheduling(mesos.url) as scheduler:
        info, _ = await scheduler.running()
        process = process_of(mesos, info["agent_id"])
        await post(mesos, f"/{process}/simulate/partition")
        await scheduler.next("FAILURE")
    await post(mesos, f"/{process}/simulate/return")

    async def idle() -> bool:
        return await running_on(mesos, process) == []

    await eventually_async(idle)


async def test_a_task_whose_id_was_used_again_meanwhile_is_killed_and_not_told_of(embedded_mesos: MesosFactory):
    mesos = unreliable(embedded_mesos)
    async with scheduling(mesos.url, capabilities=PARTITION_AWARE) as scheduler:
        old, _ = await scheduler.running()
        task_id, process = old["task_id"]["value"], process_of(mesos, old["agent_id"])
        await post(mesos, f"/{process}/simulate/partition")
        await scheduler.update(task_id, "TASK_UNREACHABLE")
        await scheduler.call("REVIVE")
        new, _ = await scheduler.running(task_id=task_id)
        await post(mesos, f"/{process}/simulate/return")

        await scheduler.none_of("UPDATE", seconds=0.5)
        assert mesos.get("/metrics/snapshot")["master/slaves_active"] == 2.0
        await scheduler.reconcile({"task_id": new["task_id"]})
        status = await scheduler.update(task_id)
        assert (status["state"], status["agent_id"]) == ("TASK_RUNNING", new["agent_id"])

        async def idle() -> bool:
            return await running_on(mesos, process) == []

        await eventually_async(idle)


async def running_on(mesos: Mesos, process: str) -> list[Json]:
    """What the agent itself says that it runs."""
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{mesos.url}/{process}/monitor/statistics") as response:
            found: list[Json] = await response.json()
            return found


async def test_unreachable_tasks_reconcile_by_their_agent(embedded_mesos: MesosFactory):
    mesos = unreliable(embedded_mesos)
    async with scheduling(mesos.url, capabilities=PARTITION_AWARE) as scheduler:
        info, _ = await scheduler.running()
        task_id = info["task_id"]["value"]
        await post(mesos, f"/{process_of(mesos, info['agent_id'])}/simulate/partition")
        await scheduler.update(task_id, "TASK_UNREACHABLE")
        await scheduler.reconcile({"task_id": info["task_id"], "agent_id": info["agent_id"]})
        await scheduler.reconcile({"task_id": info["task_id"]})

        by_agent, without = await scheduler.update(task_id), await scheduler.update(task_id)
        assert (by_agent["state"], by_agent["reason"]) == ("TASK_UNREACHABLE", "REASON_RECONCILIATION")
        assert by_agent["unreachable_time"]["nanoseconds"] > 10**18
        assert without["state"] == "TASK_UNKNOWN"


async def test_an_agent_that_an_operator_marks_gone_never_comes_back_by_its_id(embedded_mesos: MesosFactory):
    mesos = unreliable(embedded_mesos)
    async with scheduling(mesos.url, capabilities=PARTITION_AWARE) as scheduler:
        info, _ = await scheduler.running()
        task_id, process = info["task_id"]["value"], process_of(mesos, info["agent_id"])
        await operator(mesos, "MARK_AGENT_GONE", agent_id=info["agent_id"])

        status = await scheduler.update(task_id)
        assert status["state"] == "TASK_GONE_BY_OPERATOR"
        assert status["reason"] == "REASON_AGENT_REMOVED_BY_OPERATOR"
        await scheduler.reconcile({"task_id": info["task_id"], "agent_id": info["agent_id"]})
        assert (await scheduler.update(task_id))["state"] == "TASK_GONE_BY_OPERATOR"

        await post(mesos, f"/{process}/simulate/partition")
        await post(mesos, f"/{process}/simulate/return")
        agents = {agent["pid"].partition("@")[0]: agent["id"] for agent in mesos.get("/slaves")["slaves"]}
        assert agents[process] != info["agent_id"]["value"]


async def test_a_drained_agent_may_be_marked_gone_when_it_is_empty(embedded_mesos: MesosFactory):
    mesos = unreliable(embedded_mesos)
    async with scheduling(mesos.url, capabilities=PARTITION_AWARE) as scheduler:
        info, _ = await scheduler.running()
        await operator(mesos, "DRAIN_AGENT", agent_id=info["agent_id"], mark_gone=True)
        await scheduler.update(info["task_id"]["value"], "TASK_KILLED")
        await scheduler.next("FAILURE")

        assert info["agent_id"]["value"] not in [agent["id"] for agent in mesos.get("/slaves")["slaves"]]


async def test_draining_shortens_the_grace_period_and_tells_of_killing(embedded_mesos: MesosFactory):
    mesos = unreliable(embedded_mesos)
    killing = [*PARTITION_AWARE, {"type": "TASK_KILLING_STATE"}]
    async with scheduling(mesos.url, capabilities=killing) as scheduler:
        patient = {"grace_period": {"nanoseconds": 60 * 10**9}}
        info, _ = await scheduler.running(command="trap '' TERM; exec sleep 60", kill_policy=patient)
        await operator(mesos, "DRAIN_AGENT", agent_id=info["agent_id"], max_grace_period={"nanoseconds": 200_000_000})
        statuses = [await scheduler.update(info["task_id"]["value"]) for _ in range(2)]

        assert [status["state"] for status in statuses] == ["TASK_KILLING", "TASK_KILLED"]
        assert {status["reason"] for status in statuses} == {"REASON_AGENT_DRAINING"}


async def test_a_machine_that_is_taken_down_loses_its_agents_until_it_is_up_again(embedded_mesos: MesosFactory):
    mesos = embedded_mesos(simulate=True, agents=2, hostname="box-{n}", allocation_interval=0.1)
    machine = {"hostname": "box-1"}
    window = {"machine_ids": [machine], "unavailability": {"start": {"nanoseconds": time.time_ns()}}}
    async with scheduling(mesos.url, capabilities=PARTITION_AWARE) as scheduler:
        offers = {offer["hostname"]: offer for offer in await scheduler.offers(2)}
        info = task(offers["box-1"])
        await scheduler.launch(offers["box-1"], info, refuse_seconds=0)
        await scheduler.update(info["task_id"]["value"], "TASK_RUNNING")
        await operator(mesos, "UPDATE_MAINTENANCE_SCHEDULE", schedule={"windows": [window]})
        await operator(mesos, "START_MAINTENANCE", machines=[machine])

        assert (await scheduler.update(info["task_id"]["value"]))["state"] == "TASK_GONE"
        assert [agent["hostname"] for agent in mesos.get("/slaves")["slaves"]] == ["box-2"]
        assert mesos.get("/maintenance/status") == {"down_machines": [machine]}

        await operator(mesos, "STOP_MAINTENANCE", machines=[machine])
        assert {agent["hostname"] for agent in mesos.get("/slaves")["slaves"]} == {"box-1", "box-2"}
        assert mesos.get("/maintenance/schedule") == {}


@pytest.mark.parametrize("simulate", [True, False])
async def test_a_task_group_runs_holds_its_executors_resources_and_ends_with_it(
    embedded_mesos: MesosFactory, simulate: bool
):
    mesos = embedded_mesos(simulate=simulate, allocation_interval=0.1)
    async with scheduling(mesos.url) as scheduler:
        offer = await scheduler.offer()
        tasks, allocated = [task(offer), task(offer)], {"allocation_info": offer["allocation_info"]}
        executor = {
            "type": "DEFAULT",
            "executor_id": {"value": "pod"},
            "framework_id": {"value": scheduler.framework_id},
            "resources": [
                scalar("cpus", 0.5, **allocated),
                scalar("mem", 64, **allocated),
                scalar("disk", 10, **allocated),
            ],
        }
        group = {"executor": executor, "task_group": {"tasks": tasks}}
        await scheduler.accept([offer], [{"type": "LAUNCH_GROUP", "launch_group": group}], refuse_seconds=0)
        for info in tasks:
            running = await scheduler.update(info["task_id"]["value"], "TASK_RUNNING")
            assert running["executor_id"] == {"value": "pod"}
        rest = await scheduler.offer()
        assert (amount(rest, "cpus"), amount(rest, "mem"), amount(rest, "disk")) == (3.3, 4096 - 128, 4086)
        assert rest["executor_ids"] == [{"value": "pod"}]
        executors = await operator(mesos, "GET_EXECUTORS")
        assert [e["executor_info"]["executor_id"] for e in executors["executors"]] == [{"value": "pod"}]

        await scheduler.decline([rest], refuse_seconds=0)
        for info in tasks:
            await scheduler.kill(info["task_id"]["value"])
            await scheduler.update(info["task_id"]["value"], "TASK_KILLED")
        failure = await scheduler.next("FAILURE")
        assert failure["failure"]["executor_id"] == {"value": "pod"}
        await eventually_async(lambda: mesos.get("/slaves")["slaves"][0]["used_resources"]["cpus"] == 0.0)


async def test_messages_pass_between_framework_and_executor(embedded_mesos: MesosFactory):
    mesos = embedded_mesos(simulate=True, allocation_interval=0.1)
    async with scheduling(mesos.url) as scheduler:
        info, _ = await scheduler.running()
        message = {"agent_id": info["agent_id"], "executor_id": info["task_id"], "data": "aGVsbG8="}
        await scheduler.call("MESSAGE", message=message)

        assert (await scheduler.next("MESSAGE"))["message"] == message


async def test_an_agent_with_gpus_is_offered_to_frameworks_that_take_them(embedded_mesos: MesosFactory):
    mesos = embedded_mesos(simulate=True, resources="cpus:4;mem:1024;gpus:2", allocation_interval=0.1)
    async with scheduling(mesos.url) as plain:
        await plain.none_of("OFFERS", seconds=0.4)
        async with scheduling(mesos.url, capabilities=[{"type": "MULTI_ROLE"}, {"type": "GPU_RESOURCES"}]) as gpu:
            assert amount(await gpu.offer(), "gpus") == 2.0


async def all_running(scheduler: Scheduler, count: int) -> None:
    """Until so many tasks run. An update may come more than once before its acknowledgement does."""
    running: set[str] = set()
    while len(running) < count:
        status = (await scheduler.next("UPDATE"))["update"]["status"]
        assert status["source"] == "SOURCE_EXECUTOR"
        if status["state"] == "TASK_RUNNING":
            running.add(status["task_id"]["value"])
        else:
            await scheduler.acknowledge(status)


async def test_a_thousand_agents_are_offered_in_one_event_and_take_tasks(embedded_mesos: MesosFactory):
    mesos = embedded_mesos(simulate=True, agents=1000, start_lag=0.05)
    async with scheduling(mesos.url) as scheduler:
        offers = await scheduler.offers(1000)
        assert len({offer["agent_id"]["value"] for offer in offers}) == 1000
        assert sum(event["type"] == "OFFERS" for event in scheduler.seen) == 1
        for offer in offers[:50]:
            await scheduler.launch(offer, *[task(offer) for _ in range(10)])
        await all_running(scheduler, 500)

        assert mesos.get("/metrics/snapshot")["master/tasks_running"] == 500.0
