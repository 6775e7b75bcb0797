"""A restart of the embedded Mesos: who is known again, what is answered meanwhile, and what ends."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.support.mesos import MesosFactory, operator, running_embedded_mesos
from tests.support.processes import free_port
from tests.support.scheduler import CallError, Scheduler, framework_info, scheduling
from tests.support.waiting import eventually, eventually_async

PARTITION_AWARE = [{"type": "MULTI_ROLE"}, {"type": "PARTITION_AWARE"}]


@pytest.mark.parametrize("simulate", [True, False])
async def test_agents_keep_their_ids(tmp_path: Path, simulate: bool):
    def ids() -> list[str]:
        with running_embedded_mesos(tmp_path, agents=2, simulate=simulate) as mesos:
            return sorted(agent["id"] for agent in mesos.get("/slaves")["slaves"])

    assert ids() == ids()


async def test_tasks_live_through_a_crash_and_their_framework_finds_them(tmp_path: Path):
    port = free_port()
    with running_embedded_mesos(tmp_path, port=port, allocation_interval=0.1) as mesos:
        async with scheduling(mesos.url, failover_timeout=60.0, capabilities=PARTITION_AWARE) as scheduler:
            info, _ = await scheduler.running(command=f"touch {tmp_path}/started; sleep 600")
            mesos.process.kill()
            await scheduler.until_closed()
            with running_embedded_mesos(tmp_path, port=port, allocation_interval=0.1) as again:
                known = again.get("/frameworks")["frameworks"][0]
                assert (known["id"], known["active"], known["connected"], known["recovered"]) == (
                    scheduler.framework_id,
                    False,
                    False,
                    True,
                )
                await scheduler.subscribe(scheduler.framework_id)
                await scheduler.reconcile({"task_id": info["task_id"], "agent_id": info["agent_id"]})
                status = await scheduler.update(info["task_id"]["value"])
                assert status["state"] == "TASK_RUNNING"
                assert status["agent_id"] == info["agent_id"]

                await scheduler.kill(info["task_id"]["value"])
                await scheduler.update(info["task_id"]["value"], "TASK_KILLED")


async def test_the_resources_of_recovered_tasks_are_not_offered(tmp_path: Path):
    port = free_port()
    with running_embedded_mesos(tmp_path, port=port, allocation_interval=0.1) as mesos:
        async with scheduling(mesos.url, failover_timeout=60.0) as scheduler:
            await scheduler.running(cpus=3.0, command="sleep 600")
            mesos.process.kill()
            await scheduler.until_closed()
            with running_embedded_mesos(tmp_path, port=port, allocation_interval=0.1):
                await scheduler.subscribe(scheduler.framework_id)
                offer = await scheduler.offer()

                assert [r["scalar"]["value"] for r in offer["resources"] if r["name"] == "cpus"] == [1.0]
                await scheduler.teardown()


async def test_while_agents_are_missing_calls_are_answered_503_and_then_reconciliation_is_silent(tmp_path: Path):
    """One of two agents does not come back, as the second run has only one."""
    port = free_port()
    with running_embedded_mesos(tmp_path, port=port, agents=2, simulate=True) as mesos:
        async with scheduling(mesos.url, failover_timeout=60.0) as scheduler:
            agents = [agent["id"] for agent in mesos.get("/slaves")["slaves"]]
            mesos.process.kill()
            await scheduler.until_closed()
            one = {"port": port, "agents": 1, "simulate": True}
            with running_embedded_mesos(tmp_path, **one, recovery_timeout=600, agent_reregister_timeout=600) as again:
                with pytest.raises(CallError) as refused:
                    await scheduler.subscribe(scheduler.framework_id)
                assert (refused.value.status, refused.value.text) == (503, "Master has not finished recovery")
                (back,) = [agent["id"] for agent in again.get("/slaves")["slaves"]]
                (missing,) = set(agents) - {back}
                assert again.get("/slaves")["recovered_slaves"] == [{"id": missing}]

            with running_embedded_mesos(tmp_path, **one, recovery_timeout=0.1, agent_reregister_timeout=600) as again:
                await eventually_async(lambda: _subscribes(scheduler))
                for agent_id in (missing, back):
                    await scheduler.reconcile({"task_id": {"value": agent_id}, "agent_id": {"value": agent_id}})
                assert (await scheduler.update(back))["state"] == "TASK_LOST"
                await scheduler.none_of("UPDATE", seconds=0.5)
            await scheduler.until_closed()

            with running_embedded_mesos(tmp_path, **one, recovery_timeout=0.1, agent_reregister_timeout=0.2) as again:

                def given_up() -> bool:
                    return bool(again.get("/state")["unreachable_slaves"] == 1.0)

                await eventually_async(given_up)
                await eventually_async(lambda: _subscribes(scheduler))
                await scheduler.reconcile({"task_id": {"value": "t"}, "agent_id": {"value": missing}})
                assert (await scheduler.update("t"))["message"] == "Reconciliation: Task is unreachable"


async def _subscribes(scheduler: Scheduler) -> bool:
    try:
        await scheduler.subscribe(scheduler.framework_id)
    except CallError:
        return False
    return True


async def test_a_framework_that_does_not_come_back_after_a_restart_is_removed(tmp_path: Path):
    port = free_port()
    with running_embedded_mesos(tmp_path, port=port, simulate=True) as mesos:
        async with scheduling(mesos.url, failover_timeout=0.5) as scheduler:
            mesos.process.kill()
            await scheduler.until_closed()
            with running_embedded_mesos(tmp_path, port=port, simulate=True) as again:
                await eventually_async(lambda: not again.get("/frameworks")["frameworks"])
                late = Scheduler(scheduler.session, again.url, scheduler.info)
                await late.open(scheduler.framework_id)
                error = await late.next("ERROR")
                assert error["error"]["message"] == "Framework has been removed"


async def test_the_failover_timeout_passes_and_the_tasks_are_killed(embedded_mesos: MesosFactory):
    """Those of a framework whose timeout is longer run on."""
    mesos = embedded_mesos(simulate=True, allocation_interval=0.1)
    async with scheduling(mesos.url, failover_timeout=600.0) as patient:
        await patient.running(cpus=0.5)
        await patient.disconnect()
        async with scheduling(mesos.url, failover_timeout=0.4) as hasty:
            await hasty.running(cpus=0.25)
            await hasty.disconnect()

            def frameworks() -> list[dict[str, Any]]:
                return mesos.get("/frameworks")["frameworks"]

            await eventually_async(lambda: [one["id"] for one in frameworks()] == [patient.framework_id])
            await eventually_async(lambda: not frameworks()[0]["connected"])
            assert len(frameworks()[0]["tasks"]) == 1
            assert mesos.get("/metrics/snapshot")["master/tasks_killed"] == 1.0
            assert mesos.get("/slaves")["slaves"][0]["used_resources"]["cpus"] == 0.5


async def test_reservations_a_drain_and_a_schedule_live_on(tmp_path: Path):
    port = free_port()
    schedule = {
        "windows": [{"machine_ids": [{"hostname": "elsewhere"}], "unavailability": {"start": {"nanoseconds": 1}}}]
    }
    with running_embedded_mesos(tmp_path, port=port, simulate=True, allocation_interval=0.1) as mesos:
        async with scheduling(mesos.url, principal="p", failover_timeout=60.0) as scheduler:
            offer = await scheduler.offer()
            role = offer["allocation_info"]["role"]
            reserved = {
                "name": "cpus",
                "type": "SCALAR",
                "scalar": {"value": 1},
                "role": role,
                "reservation": {"principal": "p"},
            }
            await scheduler.accept(
                [offer], [{"type": "RESERVE", "id": {"value": "r"}, "reserve": {"resources": [reserved]}}]
            )
            await scheduler.next("UPDATE_OPERATION_STATUS")
            await operator(mesos, "DRAIN_AGENT", agent_id=offer["agent_id"])
            await operator(mesos, "UPDATE_MAINTENANCE_SCHEDULE", schedule=schedule)
            mesos.process.kill()
            await scheduler.until_closed()
        with running_embedded_mesos(tmp_path, port=port, simulate=True, ready=False) as again:
            agent = eventually(lambda: again.get("/slaves")["slaves"][0])
            assert agent["reserved_resources"][role]["cpus"] == 1.0
            assert agent["unreserved_resources"]["cpus"] == 3.0
            assert (agent["deactivated"], agent["drain_info"]["state"]) == (True, "DRAINED")
            assert again.get("/maintenance/schedule") == schedule


async def test_a_registry_that_is_damaged_is_named_and_not_overwritten(tmp_path: Path):
    (tmp_path / "registry.json").write_text("{ half")
    with pytest.raises(AssertionError) as failed, running_embedded_mesos(tmp_path, simulate=True):
        pass

    assert f"error: {tmp_path}/registry.json is damaged" in str(failed.value)
    assert "Traceback" not in str(failed.value)
    assert (tmp_path / "registry.json").read_text() == "{ half"


async def test_the_registry_is_whole_at_every_moment(tmp_path: Path):
    """Killed in the midst of many changes, it is still read."""
    with running_embedded_mesos(tmp_path, agents=50, simulate=True) as mesos:
        async with scheduling(mesos.url, subscribe=False) as scheduler:
            others = [Scheduler(scheduler.session, mesos.url, framework_info(failover_timeout=60.0)) for _ in range(40)]
            subscribing = asyncio.gather(*(other.subscribe() for other in others), return_exceptions=True)
            await asyncio.sleep(0.02)
            mesos.process.kill()
            await subscribing
    stored = orjson.loads((tmp_path / "registry.json").read_bytes())

    assert len(stored["agents"]) == 50
