"""What operators and tools read and do: /state and its kin, /api/v1, and the stream of what happens."""

import asyncio
import contextlib
import gzip
import re
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest

from tests.support.mesos import Mesos
from tests.support.scheduler import Json, Scheduler, port_range, ranges, scheduling, task
from tests.support.waiting import eventually_async

KILLING = [{"type": "MULTI_ROLE"}, {"type": "PARTITION_AWARE"}, {"type": "TASK_KILLING_STATE"}]


async def operator(mesos: Mesos, kind: str, **content: Any) -> tuple[int, Any]:
    """An /api/v1 call: the status, and the content of its answer (text where it is none)."""
    call = {"type": kind} | ({kind.lower(): content} if content else {})
    async with aiohttp.ClientSession() as session, session.post(f"{mesos.url}/api/v1", json=call) as response:
        text = await response.text()
        if response.status != 200 or not text:
            return response.status, text
        answer = orjson.loads(text)
        assert answer["type"] == kind
        return response.status, answer.get(kind.lower())


async def described(scheduler: Scheduler) -> Json:
    """A running task with everything that tools look at."""
    offer = await scheduler.offer()
    info = task(
        offer,
        f"described-{uuid.uuid4().hex[:8]}",
        name="web",
        labels={"labels": [{"key": "team", "value": "blue"}]},
        discovery={
            "visibility": "EXTERNAL",
            "name": "/web",
            "ports": {"ports": [{"number": 31001, "name": "http", "protocol": "tcp"}]},
        },
        container={"type": "MESOS", "mesos": {}},
    )
    port, _ = port_range(offer)
    info["resources"].append(ranges("ports", (port, port + 1), allocation_info=offer["allocation_info"]))
    await scheduler.launch(offer, info, refuse_seconds=3600)
    await scheduler.update(info["task_id"]["value"], "TASK_RUNNING")
    return info


def used_ports(info: Json) -> str:
    """As /state shows them."""
    first, last = port_range(info)
    return f"[{first}-{last}]"


async def test_state_tells_of_the_master(mesos: Mesos):
    state = mesos.get("/state")

    assert state["version"] == "1.11.0"
    assert state["pid"] == state["leader"] == f"master@{mesos.address}"
    assert state["leader_info"] == {
        "id": state["id"],
        "pid": state["pid"],
        "port": mesos.port,
        "hostname": "127.0.0.1",
    }
    assert (state["activated_slaves"], state["unreachable_slaves"]) == (3.0, 0.0)
    assert state["recovered_slaves"] == []
    assert state["flags"]["allocation_interval"] == "200ms"
    assert time.time() - state["start_time"] < 3600


async def test_state_tells_of_agents(mesos: Mesos):
    agent = mesos.get("/state")["slaves"][0]

    assert agent["pid"] in {f"slave({n})@{mesos.address}" for n in (1, 2, 3)}
    assert (agent["hostname"], agent["port"]) == ("127.0.0.1", mesos.port)
    assert agent["attributes"] == {"rack": "a1", "disks": 4.0, "zones": "[1-2]"}
    scalars = {"cpus": 4.0, "mem": 4096.0, "disk": 4096.0, "gpus": 0.0}
    ports = agent["resources"]["ports"]
    assert agent["resources"] == agent["unreserved_resources"] == scalars | {"ports": ports}
    assert re.fullmatch(r"\[31\d\d\d-31\d\d\d\]", ports)
    assert agent["reserved_resources"] == {}
    assert (agent["active"], agent["deactivated"], agent["version"]) == (True, False, "1.11.0")


async def test_state_tells_of_frameworks_and_their_tasks(mesos: Mesos):
    labels = {"labels": [{"key": "owner", "value": "me"}]}
    async with scheduling(mesos.url, labels=labels, webui_url="http://ui/", hostname="box") as scheduler:
        info = await described(scheduler)
        offers = await scheduler.offers(0)
        assert offers == []
        framework = next(f for f in mesos.get("/state")["frameworks"] if f["id"] == scheduler.framework_id)

        assert (framework["name"], framework["user"], framework["hostname"]) == ("contract", "root", "box")
        assert framework["webui_url"] == "http://ui/"
        assert framework["labels"] == [{"key": "owner", "value": "me"}]
        assert framework["roles"] == scheduler.info["roles"]
        assert framework["capabilities"] == ["MULTI_ROLE"]
        assert (framework["active"], framework["connected"], framework["recovered"]) == (True, True, False)
        used = {"cpus": 0.1, "mem": 32.0, "disk": 0.0, "gpus": 0.0, "ports": used_ports(info)}
        assert framework["used_resources"] == used
        assert (framework["completed_tasks"], framework["unreachable_tasks"]) == ([], [])
        (shown,) = framework["tasks"]
        assert shown["id"] == info["task_id"]["value"]
        assert (shown["name"], shown["state"], shown["executor_id"]) == ("web", "TASK_RUNNING", "")
        assert shown["framework_id"] == scheduler.framework_id
        assert shown["slave_id"] == info["agent_id"]["value"]
        assert shown["role"] == scheduler.info["roles"][0]
        assert shown["resources"] == used
        assert shown["labels"] == [{"key": "team", "value": "blue"}]
        assert shown["discovery"] == info["discovery"]
        assert shown["container"] == {"type": "MESOS", "mesos": {}}
        assert [status["state"] for status in shown["statuses"]] == ["TASK_STARTING", "TASK_RUNNING"]
        assert "ip_addresses" in shown["statuses"][-1]["container_status"]["network_infos"][0]


async def test_a_task_that_has_ended_is_among_the_completed(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        info, _ = await scheduler.running(command="exit 3")
        await scheduler.update(info["task_id"]["value"], "TASK_FAILED")
        framework = mesos.get(f"/frameworks?framework_id={scheduler.framework_id}")["frameworks"][0]

        assert framework["tasks"] == []
        assert [(t["id"], t["state"]) for t in framework["completed_tasks"]] == [
            (info["task_id"]["value"], "TASK_FAILED")
        ]


async def test_the_summary_counts_tasks_by_state(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        info = await described(scheduler)
        summary = mesos.get("/state-summary")

        framework = next(f for f in summary["frameworks"] if f["id"] == scheduler.framework_id)
        agent = next(a for a in summary["slaves"] if a["id"] == info["agent_id"]["value"])
        assert framework["TASK_RUNNING"] == agent["TASK_RUNNING"] == 1
        assert framework["TASK_FAILED"] == framework["TASK_STAGING"] == framework["TASK_UNREACHABLE"] == 0
        assert framework["slave_ids"] == [agent["id"]]
        assert scheduler.framework_id in agent["framework_ids"]


async def test_slaves_has_whole_resources_besides_the_short_ones(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        info = await described(scheduler)
        (agent,) = mesos.get(f"/slaves?slave_id={info['agent_id']['value']}")["slaves"]

        assert agent["used_resources"]["ports"] == used_ports(info)
        used = {resource["name"]: resource for resource in agent["used_resources_full"]}
        assert used["cpus"]["scalar"] == {"value": 0.1}
        assert used["cpus"]["allocation_info"] == {"role": scheduler.info["roles"][0]}
        assert {r["name"] for r in agent["unreserved_resources_full"]} == {"cpus", "mem", "disk", "ports"}
        assert mesos.get("/slaves?slave_id=none")["slaves"] == []


async def test_tasks_are_listed_newest_first_and_in_pages(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        ids = []
        for _ in range(3):
            await scheduler.call("REVIVE")
            info, _ = await scheduler.running()
            ids.append(info["task_id"]["value"])
        of_mine = f"/tasks?framework_id={scheduler.framework_id}"

        assert [t["id"] for t in mesos.get(of_mine)["tasks"]] == ids[::-1]
        assert [t["id"] for t in mesos.get(of_mine + "&order=asc&limit=2")["tasks"]] == ids[:2]
        assert [t["id"] for t in mesos.get(of_mine + "&limit=1&offset=1")["tasks"]] == [ids[1]]
        assert [t["id"] for t in mesos.get(of_mine + f"&task_id={ids[0]}")["tasks"]] == [ids[0]]


async def test_roles_tell_what_they_hold(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        await described(scheduler)
        role = next(r for r in mesos.get("/roles")["roles"] if r["name"] == scheduler.info["roles"][0])

        assert role["frameworks"] == [scheduler.framework_id]
        assert role["allocated"] == {"cpus": 0.1, "mem": 32.0, "ports": 2.0}
        assert role["weight"] == 1.0


@pytest.mark.parametrize("path", ["/state", "/slaves", "/frameworks", "/tasks", "/roles", "/flags", "/state-summary"])
async def test_every_endpoint_is_also_below_master(mesos: Mesos, path: str):
    assert mesos.get("/master" + path).keys() == mesos.get(path).keys()


async def test_health_is_an_empty_200(mesos: Mesos):
    async with aiohttp.ClientSession() as session:
        for path in ("/health", "/master/health"):
            async with session.get(mesos.url + path) as response:
                assert (response.status, await response.read()) == (200, b"")


async def test_redirect_leads_to_the_leader_without_a_scheme(mesos: Mesos):
    async with aiohttp.ClientSession() as session:
        async with session.get(mesos.url + "/redirect", allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (307, f"//{mesos.address}")


async def test_larger_answers_are_gzipped_on_request(mesos: Mesos):
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        async with session.get(mesos.url + "/state", headers={"Accept-Encoding": "gzip"}) as response:
            assert response.headers["Content-Encoding"] == "gzip"
            assert orjson.loads(gzip.decompress(await response.read()))["version"] == "1.11.0"
        async with session.get(mesos.url + "/state", headers={"Accept-Encoding": "identity"}) as response:
            assert "Content-Encoding" not in response.headers
            assert orjson.loads(await response.read())["version"] == "1.11.0"


async def test_metrics_count_agents_tasks_and_resources(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        await described(scheduler)
        metrics = mesos.get("/metrics/snapshot")

        assert metrics["master/elected"] == 1.0
        assert metrics["master/slaves_active"] == 3.0
        assert metrics["master/cpus_total"] == 12.0
        assert metrics["master/cpus_used"] == pytest.approx(0.1)
        assert metrics["master/mem_percent"] == pytest.approx(32 / (3 * 4096))
        assert metrics["master/tasks_running"] == 1.0
        assert metrics["master/frameworks_connected"] == 1.0
        assert metrics["master/uptime_secs"] > 0
        assert metrics[f"allocator/mesos/roles/{scheduler.info['roles'][0]}/shares/dominant"] > 0
        for name in ("master/tasks_finished", "master/tasks_lost", "master/outstanding_offers", "system/cpus_total"):
            assert isinstance(metrics[name], float)


async def test_the_operator_api_reads_the_small_things(mesos: Mesos):
    assert await operator(mesos, "GET_HEALTH") == (200, {"healthy": True})
    assert (await operator(mesos, "GET_VERSION"))[1]["version_info"]["version"] == "1.11.0"
    flags = (await operator(mesos, "GET_FLAGS"))[1]["flags"]
    assert {"name": "allocation_interval", "value": "200ms"} in flags
    master = (await operator(mesos, "GET_MASTER"))[1]
    assert master["master_info"]["pid"] == f"master@{mesos.address}"
    metrics = (await operator(mesos, "GET_METRICS", timeout={"nanoseconds": 10**9}))[1]["metrics"]
    assert {"name": "master/elected", "value": 1.0} in metrics


async def test_the_operator_api_reads_tasks_agents_frameworks_and_roles(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        info = await described(scheduler)
        state = (await operator(mesos, "GET_STATE"))[1]

        shown = next(t for t in state["get_tasks"]["tasks"] if t["task_id"] == info["task_id"])
        assert shown["framework_id"] == {"value": scheduler.framework_id}
        assert shown["agent_id"] == info["agent_id"]
        assert (shown["state"], shown["status_update_state"]) == ("TASK_RUNNING", "TASK_RUNNING")
        assert shown["labels"] == info["labels"]
        assert shown["discovery"] == info["discovery"]
        assert [status["state"] for status in shown["statuses"]] == ["TASK_STARTING", "TASK_RUNNING"]
        assert "role" not in shown["resources"][0]
        agent = next(
            a for a in state["get_agents"]["agents"] if a["agent_info"]["id"]["value"] == info["agent_id"]["value"]
        )
        assert agent["pid"].endswith(f"@{mesos.address}")
        assert agent["agent_info"]["hostname"] == "127.0.0.1"
        assert {r["name"] for r in agent["total_resources"]} == {"cpus", "mem", "disk", "ports"}
        framework = next(
            f
            for f in state["get_frameworks"]["frameworks"]
            if f["framework_info"]["id"]["value"] == scheduler.framework_id
        )
        assert (framework["active"], framework["connected"]) == (True, True)
        assert framework["framework_info"]["roles"] == scheduler.info["roles"]
        assert framework["registered_time"]["nanoseconds"] > 10**18
        assert state["get_executors"] == {"executors": []}
        for part, kind in (
            ("get_tasks", "GET_TASKS"),
            ("get_agents", "GET_AGENTS"),
            ("get_frameworks", "GET_FRAMEWORKS"),
        ):
            assert (await operator(mesos, kind))[1].keys() == state[part].keys()
        roles = (await operator(mesos, "GET_ROLES"))[1]["roles"]
        mine = next(role for role in roles if role["name"] == scheduler.info["roles"][0])
        assert mine["frameworks"] == [{"value": scheduler.framework_id}]


@pytest.mark.parametrize(
    ("kind", "content", "status", "text"),
    [
        ("NO_SUCH", {}, 400, "Failed to validate master::Call: Expecting 'type' to be present"),
        ("GET_METRICS", {}, 400, "Failed to validate master::Call: Expecting 'get_metrics' to be present"),
        ("READ_FILE", {}, 400, "Failed to validate master::Call: Expecting 'read_file' to be present"),
        ("TEARDOWN", {"framework_id": {"value": "none"}}, 400, "No framework found with specified ID"),
        ("DRAIN_AGENT", {"agent_id": {"value": "none"}}, 400, "Unknown agent"),
        ("DEACTIVATE_AGENT", {"agent_id": {"value": "none"}}, 400, "Unknown agent"),
        ("REACTIVATE_AGENT", {"agent_id": {"value": "none"}}, 400, "Agent is not deactivated"),
        ("MARK_AGENT_GONE", {"agent_id": {"value": "none"}}, 404, "Agent 'none' not found"),
    ],
)
async def test_the_operator_api_refuses_in_the_words_of_mesos(
    mesos: Mesos, kind: str, content: Json, status: int, text: str
):
    assert await operator(mesos, kind, **content) == (status, text)


async def test_an_operator_may_tear_a_framework_down(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        await scheduler.running()
        assert await operator(mesos, "TEARDOWN", framework_id={"value": scheduler.framework_id}) == (200, "")
        await scheduler.until_closed()

        assert scheduler.framework_id in [f["id"] for f in mesos.get("/frameworks")["completed_frameworks"]]


async def test_an_operator_may_tear_a_framework_down_by_a_form(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler, aiohttp.ClientSession() as session:
        for body, status in (("x=1", 400), ("frameworkId=none", 400), (f"frameworkId={scheduler.framework_id}", 200)):
            async with session.post(f"{mesos.url}/teardown", data=body) as response:
                assert response.status == status
        await scheduler.until_closed()


@contextlib.asynccontextmanager
async def watching(mesos: Mesos) -> AsyncIterator["asyncio.Queue[Json]"]:
    """The events of an operator's subscription."""
    events: asyncio.Queue[Json] = asyncio.Queue()

    async def read(response: aiohttp.ClientResponse) -> None:
        while True:
            length = await response.content.readuntil(b"\n")
            events.put_nowait(orjson.loads(await response.content.readexactly(int(length))))

    async with aiohttp.ClientSession(read_bufsize=1 << 20) as session:
        async with session.post(f"{mesos.url}/api/v1", json={"type": "SUBSCRIBE"}) as response:
            assert response.status == 200
            reader = asyncio.create_task(read(response))
            try:
                yield events
            finally:
                reader.cancel()
                await asyncio.wait([reader])


async def test_the_operators_stream_tells_what_happens(mesos: Mesos):
    async with watching(mesos) as events:
        first, second = [await asyncio.wait_for(events.get(), 60) for _ in "12"]
        assert first["type"] == "SUBSCRIBED"
        assert len(first["subscribed"]["get_state"]["get_agents"]["agents"]) == 3
        assert second["type"] == "HEARTBEAT"

        async with scheduling(mesos.url) as scheduler:
            info, _ = await scheduler.running()
        told: list[Json] = []
        while not told or told[-1]["type"] != "FRAMEWORK_REMOVED":
            told.append(await asyncio.wait_for(events.get(), 60))
        told = [event for event in told if event["type"] != "HEARTBEAT"]

        assert [event["type"] for event in told] == [
            "FRAMEWORK_ADDED",
            "TASK_ADDED",
            "TASK_UPDATED",
            "TASK_UPDATED",
            "TASK_UPDATED",
            "FRAMEWORK_REMOVED",
        ]
        framework, added, starting, running, killed, removed = told
        assert framework["framework_added"]["framework"]["framework_info"]["id"]["value"] == scheduler.framework_id
        assert added["task_added"]["task"]["task_id"] == info["task_id"]
        assert added["task_added"]["task"]["state"] == "TASK_STAGING"
        for event, state in ((starting, "TASK_STARTING"), (running, "TASK_RUNNING"), (killed, "TASK_KILLED")):
            assert event["task_updated"]["state"] == state
            assert event["task_updated"]["status"]["task_id"] == info["task_id"]
            assert event["task_updated"]["framework_id"] == {"value": scheduler.framework_id}
        assert killed["task_updated"]["status"]["reason"] == "REASON_FRAMEWORK_REMOVED"
        assert removed["framework_removed"]["framework_info"]["id"] == {"value": scheduler.framework_id}


async def test_a_drained_agent_loses_its_tasks_and_is_offered_again_when_reactivated(own_mesos: Mesos):
    mesos = own_mesos
    async with scheduling(mesos.url, capabilities=KILLING) as scheduler:
        info, _ = await scheduler.running()
        agent_id = info["agent_id"]
        assert await operator(mesos, "DRAIN_AGENT", agent_id=agent_id) == (200, "")
        status = await scheduler.update(info["task_id"]["value"], "TASK_KILLED")
        assert status["reason"] == "REASON_AGENT_DRAINING"

        def drained() -> bool:
            (agent,) = mesos.get(f"/slaves?slave_id={agent_id['value']}")["slaves"]
            assert (agent["active"], agent["deactivated"]) == (False, True)
            return bool(agent["drain_info"]["state"] == "DRAINED")

        await eventually_async(drained)
        await scheduler.call("REVIVE")
        assert agent_id not in [offer["agent_id"] for offer in await scheduler.offers(2)]
        assert await operator(mesos, "REACTIVATE_AGENT", agent_id=agent_id) == (200, "")
        assert [offer["agent_id"] for offer in await scheduler.offers(1)] == [agent_id]


async def test_a_deactivated_agent_keeps_its_tasks_and_its_offers_are_rescinded(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        offer, *_ = await scheduler.offers(3)
        info = task(offer)
        await scheduler.launch(offer, info, refuse_seconds=0)
        await scheduler.update(info["task_id"]["value"], "TASK_RUNNING")
        rest = await scheduler.offer()
        assert rest["agent_id"] == offer["agent_id"]
        assert await operator(mesos, "DEACTIVATE_AGENT", agent_id=offer["agent_id"]) == (200, "")
        try:
            rescind = await scheduler.next("RESCIND")
            assert rescind["rescind"]["offer_id"] == rest["id"]
            await scheduler.reconcile({"task_id": info["task_id"]})
            assert (await scheduler.update(info["task_id"]["value"]))["state"] == "TASK_RUNNING"
        finally:
            assert await operator(mesos, "REACTIVATE_AGENT", agent_id=offer["agent_id"]) == (200, "")


async def test_maintenance_is_announced_in_inverse_offers_and_in_offers(mesos: Mesos):
    machine = {"hostname": "127.0.0.1", "ip": "127.0.0.1"}
    unavailability = {"start": {"nanoseconds": time.time_ns() + 10**12}, "duration": {"nanoseconds": 10**12}}
    schedule = {"windows": [{"machine_ids": [machine], "unavailability": unavailability}]}
    async with scheduling(mesos.url) as scheduler:
        info, _ = await scheduler.running()
        assert await operator(mesos, "UPDATE_MAINTENANCE_SCHEDULE", schedule=schedule) == (200, "")
        try:
            event = await scheduler.next("INVERSE_OFFERS")
            (inverse,) = event["inverse_offers"]["inverse_offers"]
            assert inverse["agent_id"] == info["agent_id"]
            assert inverse["framework_id"] == {"value": scheduler.framework_id}
            assert inverse["unavailability"] == unavailability

            accept = {"inverse_offer_ids": [inverse["id"]]}
            await scheduler.call("ACCEPT_INVERSE_OFFERS", accept_inverse_offers=accept)
            assert mesos.get("/maintenance/schedule") == schedule

            def answered() -> bool:
                (draining,) = mesos.get("/maintenance/status")["draining_machines"]
                assert draining["id"] == machine
                (status,) = draining["statuses"]
                return (status["status"], status["framework_id"]["value"]) == ("ACCEPT", scheduler.framework_id)

            await eventually_async(answered)
            await scheduler.call("REVIVE")
            assert (await scheduler.offer())["unavailability"] == unavailability
        finally:
            assert await operator(mesos, "UPDATE_MAINTENANCE_SCHEDULE", schedule={"windows": []}) == (200, "")
        assert mesos.get("/maintenance/schedule") == {}


@pytest.mark.parametrize(
    ("windows", "text"),
    [
        ([{"machine_ids": []}], "List of machines in the maintenance window is empty"),
        ([{"machine_ids": [{}]}], "Both 'hostname' and 'ip' for a machine are empty"),
        (
            [{"machine_ids": [{"hostname": "a"}, {"hostname": "a"}]}],
            'Machine \'{"hostname":"a"}\' appears more than once in the schedule',
        ),
    ],
)
async def test_a_schedule_that_contradicts_itself_is_refused(mesos: Mesos, windows: list[Json], text: str):
    unavailability = {"unavailability": {"start": {"nanoseconds": 1}}}
    schedule = {"windows": [window | unavailability for window in windows]}

    assert await operator(mesos, "UPDATE_MAINTENANCE_SCHEDULE", schedule=schedule) == (400, text)
