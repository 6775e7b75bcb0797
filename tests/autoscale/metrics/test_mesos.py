"""What tasks use, as the embedded Mesos' agents and those of Apache Mesos tell it."""

import asyncio
import json

import pytest

from autoscale.errors import MetricsError
from autoscale.metrics.mesos import Mesos, agents, usages
from autoscale.sample import Quality
from tests.support.answering import answering
from tests.support.mesos import MesosFactory
from tests.support.scheduler import scheduling, task
from tests.support.waiting import eventually_async

BUSY = "while :; do n=0; while [ $n -lt 20000 ]; do n=$((n+1)); done; sleep 0.2; done"  # a tenth of a CPU, about


@pytest.fixture(params=["embedded_mesos", "real_mesos"])
def mesos_factory(request: pytest.FixtureRequest) -> MesosFactory:
    found: MesosFactory = request.getfixturevalue(request.param)
    return found


async def test_cpu_and_memory_are_told_in_instances(mesos_factory: MesosFactory) -> None:
    server = await asyncio.to_thread(mesos_factory)
    mesos = Mesos(server.url, timeout=30)
    async with scheduling(server.url) as scheduler:
        offer = await scheduler.offer()
        busy = task(offer, command=BUSY, cpus=0.1, mem=64.0)
        calm = task(offer, command="sleep 1000", cpus=0.1, mem=64.0)
        await scheduler.launch(offer, busy, calm)
        ids = [one["task_id"]["value"] for one in (busy, calm)]

        async def used(of: list[str]) -> float:
            await asyncio.to_thread(mesos.look)
            sample = mesos.cpu(of, 0)
            return sample.rate if sample.quality in (Quality.FRESH, Quality.TRUE_ZERO) else -1.0

        async def busy_is_busy() -> bool:
            return await used(ids[:1]) > 0.05

        async def memory_is_known() -> bool:
            await asyncio.to_thread(mesos.look)
            return mesos.memory(ids, 0).quality is Quality.FRESH

        await eventually_async(busy_is_busy)
        await eventually_async(memory_is_known)
        assert 0 < mesos.memory(ids, 0).rate < 2
        assert mesos.memory([*ids, "unknown"], 0).quality is Quality.PARTIAL
        assert mesos.cpu(["unknown"], 0).quality is Quality.STALE
        assert mesos.errors == []
    mesos.close()


def test_user_and_system_time_are_added_up() -> None:
    statistics = {"timestamp": 10, "cpus_user_time_secs": 4, "cpus_system_time_secs": 1, "cpus_limit": 0.5}
    found = usages([{"executor_id": "x", "source": "web.1", "statistics": statistics}])
    assert found["web.1"] == found["x"] and found["web.1"].cpu_seconds == 5


def test_agents_are_found_by_their_pids() -> None:
    document = {
        "slaves": [
            {"pid": "slave(1)@10.0.0.1:5051", "active": True},
            {"pid": "slave(2)@10.0.0.2:5051", "active": False},
            {"pid": "broken"},
        ]
    }
    assert agents(document) == ["http://10.0.0.1:5051/slave(1)"]
    with pytest.raises(MetricsError):
        agents({"nodes": []})
    with pytest.raises(MetricsError):
        usages([{"statistics": {}}])


def test_an_agent_that_is_away_is_told_and_leaves_its_tasks_unknown() -> None:
    with answering() as master:
        master.body = '{"slaves": [{"pid": "slave(1)@127.0.0.1:1", "active": true}]}'
        mesos = Mesos(master.url, timeout=30)
        mesos.look()
        assert "127.0.0.1:1" in mesos.errors[0]
        assert mesos.cpu(["a"], 0).quality is Quality.STALE
        mesos.close()


@pytest.mark.parametrize(
    "ats", [(100.0, 110.0, 90.0, 95.0), (100.0, 110.0, 100.0, 105.0), (100.0, 110.0, 110.0, 115.0)]
)
def test_an_agents_clock_may_be_set_back_or_stand_still(ats: tuple[float, ...]) -> None:
    """Usage is over time that passed: never negative, and of no time nothing is known, or what was known before."""
    with answering() as agent:
        mesos = Mesos(agent.url, timeout=30)
        agent.body = json.dumps({"slaves": [{"pid": f"x@{agent.url.removeprefix('http://')}"}]})
        shares = []
        for number, at in enumerate(ats):
            statistics = {"timestamp": at, "cpus_user_time_secs": 5.0 * number, "cpus_limit": 1}
            agent.at["/x/monitor/statistics"] = json.dumps([{"executor_id": "t", "statistics": statistics}])
            mesos.look()
            sample = mesos.cpu(["t"], at)
            shares.append(sample.rate if sample.quality is Quality.FRESH else None)
        assert shares[1] == 0.5
        assert all(share is None or 0 <= share <= 1 for share in shares), shares
        assert shares[3] == 1.0, "it goes on from the new time"
        mesos.close()
