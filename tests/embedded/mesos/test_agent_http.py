"""What tools read of an agent over HTTP."""

import base64
import json

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from daemonkit.http import bind, serving
from embedded.mesos.agent_http import agent_routes, jail_of
from embedded.mesos.files import files_routes
from tests.support.mesos_agent import task
from tests.support.mesos_agent import world as world
from tests.support.waiting import eventually_async


@pytest.fixture
async def reachable(world):
    """A world whose agent answers HTTP: (world, get, post)."""
    w = await world()
    app = Starlette(routes=[Mount("/slave(1)", routes=agent_routes(w.agent)), *files_routes(jail_of([w.agent]))])
    sock = bind("127.0.0.1", 0, what="agent", mend="")
    base = f"http://127.0.0.1:{sock.getsockname()[1]}"
    async with serving(app, sock), aiohttp.ClientSession() as session:

        async def get(where, /, **query):
            async with session.get(base + where, params=query) as response:
                body = await response.read()
                return response.status, json.loads(body) if "json" in response.content_type else body

        async def post(**call):
            async with session.post(f"{base}/slave(1)/api/v1", json=call) as response:
                body = await response.read()
                return response.status, json.loads(body) if "json" in response.content_type else body.decode()

        yield w, get, post


async def test_state_shows_running_and_ended_tasks_with_their_sandboxes(reachable):
    w, get, _ = reachable
    w.launch(task("running", "echo here; sleep 1000", cpus=0.25, mem=32), task("ended", "exit 3"))
    await w.master.until("running", "TASK_RUNNING")
    await w.master.until_ended("ended")
    await eventually_async(lambda: [c.run.task_id for c in w.agent.completed] == ["ended"])
    status, state = await get("/slave(1)/state")
    assert status == 200
    assert (state["id"], state["pid"], state["hostname"]) == (w.agent.id, "slave(1)@127.0.0.1:5050", "127.0.0.1")
    assert state["resources"]["ports"] == "[31000-31099]"
    [framework] = state["frameworks"]
    [executor], [completed] = framework["executors"], framework["completed_executors"]
    assert executor["directory"] == str(w.sandbox("running"))
    assert executor["resources"]["cpus"] == 0.25
    assert [(t["id"], t["state"], t["framework_id"], t["slave_id"]) for t in executor["tasks"]] == [
        ("running", "TASK_RUNNING", "fw", w.agent.id)
    ]
    assert [t["state"] for t in completed["completed_tasks"]] == ["TASK_FAILED"]


async def test_a_log_is_read_from_the_directory_that_the_state_tells(reachable):
    """The way of Mesos' command line and of every web UI."""
    w, get, _ = reachable
    w.launch(task("t", "echo one; echo two; sleep 1000"))
    await eventually_async(lambda: w.output("t") == "one\ntwo\n")
    _, state = await get("/slave(1)/state")
    path = state["frameworks"][0]["executors"][0]["directory"] + "/stdout"
    assert await get("/files/read", path=path) == (200, {"offset": 8, "data": ""})
    assert await get("/files/read", path=path, offset=4, length=100) == (200, {"offset": 4, "data": "two\n"})
    assert await get("/slave(1)/files/read.json", path=path, offset=0, length=3) == (200, {"offset": 0, "data": "one"})
    assert await get("/files/download", path=path) == (200, b"one\ntwo\n")
    status, entries = await get("/files/browse", path=str(w.sandbox("t")))
    assert [entry["path"].rpartition("/")[2] for entry in entries] == ["stderr", "stdout"]
    assert entries[1]["size"] == 8
    assert entries[1]["mode"] == "-rw-r--r--"


async def test_what_cannot_be_read_is_answered_as_mesos_does(reachable):
    w, get, _ = reachable
    w.launch(task("t", "sleep 1000"))
    await w.master.until("t", "TASK_RUNNING")
    sandbox = str(w.sandbox("t"))
    assert await get("/files/read") == (400, b"Expecting 'path=value' in query.\n")
    assert await get("/files/read", path=sandbox) == (400, b"Cannot read a directory.\n")
    assert (await get("/files/read", path=sandbox + "/none"))[0] == 404
    assert await get("/files/read", path=sandbox + "/stdout", offset="-5") == (400, b"Negative offset provided: -5.\n")
    assert (await get("/files/read", path=sandbox + "/stdout", offset="x"))[0] == 400
    assert (await get("/files/browse", path=sandbox + "/stdout"))[0] == 404


async def test_containers_and_statistics_show_what_runs(reachable):
    w, get, post = reachable
    w.launch(task("t", "while true; do :; done", mem=40))
    await w.master.until("t", "TASK_RUNNING")

    async def busy():
        _, [usage] = await get("/slave(1)/monitor/statistics")
        return usage if usage["statistics"].get("cpus_user_time_secs", 0) > 0.05 else None

    usage = await eventually_async(busy)
    assert (usage["executor_id"], usage["framework_id"], usage["source"]) == ("t", "fw", "t")
    assert usage["statistics"]["mem_limit_bytes"] == 72 * 1024 * 1024
    _, [container] = await get("/slave(1)/containers")
    assert container["container_id"] == w.agent.runs["fw", "t"].launch.container_id
    _, answer = await post(type="GET_CONTAINERS")
    assert answer["get_containers"]["containers"][0]["container_id"] == {"value": container["container_id"]}


async def test_the_operator_api_answers_what_the_field_asks(reachable):
    w, get, post = reachable
    w.launch(task("t", "echo hello; sleep 1000"))
    await w.master.until("t", "TASK_RUNNING")
    await eventually_async(lambda: w.output("t"))
    assert await post(type="GET_HEALTH") == (200, {"type": "GET_HEALTH", "get_health": {"healthy": True}})
    _, answer = await post(type="GET_STATE")
    assert [t["task_id"]["value"] for t in answer["get_state"]["get_tasks"]["launched_tasks"]] == ["t"]
    _, answer = await post(type="READ_FILE", read_file={"path": f"{w.sandbox('t')}/stdout", "offset": 1, "length": 3})
    assert answer["read_file"] == {"size": 6, "data": base64.b64encode(b"ell").decode()}
    _, answer = await post(type="LIST_FILES", list_files={"path": str(w.sandbox("t"))})
    assert [info["mode"] for info in answer["list_files"]["file_infos"]] == [0o100644, 0o100644]
    _, answer = await post(type="GET_METRICS")
    metrics = {item["name"]: item["value"] for item in answer["get_metrics"]["metrics"]}
    assert metrics["slave/tasks_running"] == 1.0
    assert metrics["slave/cpus_used"] == pytest.approx(0.1)
    assert (await get("/slave(1)/metrics/snapshot"))[1]["slave/cpus_total"] == 4.0


@pytest.mark.parametrize(
    ("call", "status"), [({"type": "NONSENSE"}, 501), ({}, 400), ({"type": "READ_FILE"}, 400), ({"type": 5}, 400)]
)
async def test_calls_that_make_no_sense_are_refused(reachable, call, status):
    _, _, post = reachable
    assert (await post(**call))[0] == status
