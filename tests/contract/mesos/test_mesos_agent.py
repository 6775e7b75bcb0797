"""What tools ask of an agent: its state, what its tasks use, the files of their sandboxes, and commands beside them."""

import base64
import time
import uuid
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from tests.support.mesos import Mesos
from tests.support.scheduler import Json, Scheduler, scalar, scheduling, task
from tests.support.waiting import eventually_async

WITH_SANDBOXES = pytest.mark.parametrize("mesos", ["processes", "real"], indirect=True)
RECORDIO = {"Content-Type": "application/recordio", "Message-Content-Type": "application/json"}


def agent_of(mesos: Mesos, info: Json) -> str:
    """`/slave(1)`, of the agent that a task is on."""
    [pid] = [a["pid"] for a in mesos.get("/slaves")["slaves"] if a["id"] == info["agent_id"]["value"]]
    return f"/{pid.partition('@')[0]}"


def executor_of(mesos: Mesos, info: Json) -> Json:
    """What the agent's state says of the executor that has the task."""
    state = mesos.get(f"{agent_of(mesos, info)}/state")
    executors = [executor for framework in state["frameworks"] for executor in framework["executors"]]
    [found] = [e for e in executors if info["task_id"]["value"] in [t["id"] for t in e["tasks"]]]
    assert isinstance(found, dict)
    return found


async def get(mesos: Mesos, endpoint: str, **query: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as http, http.get(mesos.url + endpoint, params=query) as response:
        body = await response.read()
        return response.status, orjson.loads(body) if "json" in response.content_type else body.decode()


async def call(mesos: Mesos, agent: str, kind: str, **content: Any) -> tuple[int, Any]:
    """A call of the agent's API: the status, and the content of its answer (text where it is none)."""
    body = {"type": kind, kind.lower(): content} if content else {"type": kind}
    async with aiohttp.ClientSession() as http, http.post(f"{mesos.url}{agent}/api/v1", json=body) as response:
        data = await response.read()
        if response.content_type != "application/json":
            return response.status, data.decode()
        return response.status, orjson.loads(data)[kind.lower()]


# --- state


@WITH_SANDBOXES
async def test_an_agents_state_tells_of_its_tasks(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        info, running = await scheduler.running(labels={"labels": [{"key": "team", "value": "blue"}]})
        executor = executor_of(mesos, info)
        [found] = executor["tasks"]

        assert found["framework_id"] == scheduler.framework_id
        assert (found["slave_id"], found["state"]) == (info["agent_id"]["value"], "TASK_RUNNING")
        assert found["labels"] == [{"key": "team", "value": "blue"}]
        assert found["resources"]["mem"] == 32
        assert found["statuses"][-1]["container_status"]["container_id"] == {"value": executor["container"]}
        assert running["container_status"]["container_id"] == {"value": executor["container"]}
        assert executor["directory"].endswith(f"/{executor['id']}/runs/{executor['container']}")


@WITH_SANDBOXES
async def test_what_has_ended_is_among_the_completed_of_its_agent(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        info, _ = await scheduler.running()
        await scheduler.kill(info["task_id"]["value"])
        await scheduler.update(info["task_id"]["value"], "TASK_KILLED")

        def states() -> list[str]:
            state = mesos.get(f"{agent_of(mesos, info)}/state")
            frameworks = [*state["frameworks"], *state["completed_frameworks"]]
            executors = [e for framework in frameworks for e in framework["completed_executors"]]
            tasks = [t for e in executors for t in e["completed_tasks"]]
            return [t["state"] for t in tasks if t["id"] == info["task_id"]["value"]]

        assert await eventually_async(states) == ["TASK_KILLED"]


async def test_statistics_tell_what_a_task_uses_and_may_use(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        info, _ = await scheduler.running(cpus=0.5, mem=64)
        names = {"timestamp", "cpus_soft_limit", "cpus_user_time_secs", "cpus_system_time_secs"}
        names |= {"mem_limit_bytes", "mem_rss_bytes"}

        async def usage() -> Json | None:
            _, found = await get(mesos, f"{agent_of(mesos, info)}/monitor/statistics")
            mine = [one for one in found if one["executor_id"] == info["task_id"]["value"]]
            return mine[0] if mine and names <= set(mine[0]["statistics"]) else None

        found = await eventually_async(usage)
        assert (found["framework_id"], found["source"]) == (scheduler.framework_id, info["task_id"]["value"])
        statistics = found["statistics"]
        assert 0.5 <= statistics["cpus_soft_limit"] <= 0.6 + 1e-9, "Mesos' own executor has a tenth of a CPU"
        assert 64 * 2**20 <= statistics["mem_limit_bytes"] <= 96 * 2**20, "and 32 MB"


# --- files


@WITH_SANDBOXES
async def test_a_sandbox_is_browsed_read_and_downloaded(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        info, _ = await scheduler.running(
            command="mkdir sub; printf 0123456789 > sub/f; echo out; echo err >&2; sleep 3600"
        )
        directory = executor_of(mesos, info)["directory"]

        async def names() -> set[str] | None:
            _, entries = await get(mesos, "/files/browse", path=directory)
            found = {entry["path"].removeprefix(f"{directory}/"): entry for entry in entries}
            written = found.get("sub") and found["stdout"]["size"] and found["stderr"]["size"]
            return set(found) if written else None

        assert await eventually_async(names) >= {"stdout", "stderr", "sub"}
        path = f"{directory}/sub/f"
        [entry] = (await get(mesos, "/files/browse", path=f"{directory}/sub"))[1]
        assert {"path", "size", "mode", "nlink", "uid", "gid", "mtime"} <= set(entry)
        assert (entry["path"], entry["size"], entry["mode"], entry["nlink"]) == (path, 10, "-rw-r--r--", 1)
        assert await get(mesos, "/files/read", path=path, offset="2", length="3") == (200, {"data": "234", "offset": 2})
        assert await get(mesos, "/files/read", path=path, offset="-1") == (200, {"data": "", "offset": 10})
        assert await get(mesos, "/files/read", path=path, offset="99") == (200, {"data": "", "offset": 99})
        assert await get(mesos, "/files/download", path=path) == (200, "0123456789")
        for where in ("browse", "read", "download"):
            assert (await get(mesos, f"/files/{where}", path=f"{directory}/none"))[0] == 404
            assert (await get(mesos, f"/files/{where}"))[0] == 400
        assert (await get(mesos, "/files/read", path=f"{directory}/sub"))[0] == 400, "a directory"
        for hidden in ("/etc/passwd", f"{directory}/../../../../../../../../../../../../etc/passwd"):
            assert (await get(mesos, "/files/read", path=hidden))[0] == 404


@WITH_SANDBOXES
async def test_files_are_read_by_calls_too(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        info, _ = await scheduler.running(command="printf 0123456789 > f; sleep 3600")
        agent, directory = agent_of(mesos, info), executor_of(mesos, info)["directory"]

        async def read(**content: Any) -> tuple[int, Any]:
            return await call(mesos, agent, "READ_FILE", path=f"{directory}/f", **content)

        await eventually_async(lambda: _is_whole(read))
        data = base64.b64encode(b"345").decode()
        assert await read(offset=3, length=3) == (200, {"size": 10, "data": data})
        status, listed = await call(mesos, agent, "LIST_FILES", path=directory)
        assert status == 200 and f"{directory}/f" in [file["path"] for file in listed["file_infos"]]
        assert (await call(mesos, agent, "READ_FILE", path=f"{directory}/none", offset=0))[0] == 404
        assert (await call(mesos, agent, "LIST_FILES", path=f"{directory}/none"))[0] == 404


async def _is_whole(read: Any) -> bool:
    status, found = await read(offset=0)
    return bool(status == 200 and found["size"] == 10)


# --- commands beside a task


def session_of(mesos: Mesos, info: Json) -> Json:
    """A ContainerID of its own below the task's."""
    return {"value": str(uuid.uuid4()), "parent": {"value": executor_of(mesos, info)["container"]}}


@WITH_SANDBOXES
async def test_a_session_runs_beside_a_task_reads_its_input_and_is_waited_for(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        info, _ = await scheduler.running()
        agent, session = agent_of(mesos, info), session_of(mesos, info)
        command = {"value": "pwd; read line; echo $line >&2; exit 7"}
        launch = {"container_id": session, "command": command}
        body = {"type": "LAUNCH_NESTED_CONTAINER_SESSION", "launch_nested_container_session": launch}
        accepts = {"Accept": "application/recordio", "Message-Accept": "application/json"}
        async with aiohttp.ClientSession() as http:
            async with http.post(f"{mesos.url}{agent}/api/v1", json=body, headers=accepts) as response:
                assert response.status == 200
                assert response.content_type == "application/recordio"
                assert response.headers["Message-Content-Type"] == "application/json"
                sent = b"".join(
                    [
                        attached(type="CONTAINER_ID", container_id=session),
                        attached(type="PROCESS_IO", process_io=heartbeat()),
                        attached(type="PROCESS_IO", process_io=stdin(b"hello\n")),
                        attached(type="PROCESS_IO", process_io=stdin(b"")),
                    ]
                )
                async with http.post(f"{mesos.url}{agent}/api/v1", data=sent, headers=RECORDIO) as taken:
                    await taken.read()
                messages = records(await response.read())
        output = {"STDOUT": b"", "STDERR": b""}
        for message in messages:
            if message["type"] == "DATA":
                output[message["data"]["type"]] += base64.b64decode(message["data"]["data"])
        directory = executor_of(mesos, info)["directory"]
        assert output == {"STDOUT": f"{directory}\n".encode(), "STDERR": b"hello\n"}
        waited = await call(mesos, agent, "WAIT_NESTED_CONTAINER", container_id=session)
        assert waited == (200, {"exit_status": 7 << 8})


@WITH_SANDBOXES
async def test_sessions_that_cannot_be_are_refused(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        info, _ = await scheduler.running()
        agent, session = agent_of(mesos, info), session_of(mesos, info)
        launch, wait = "LAUNCH_NESTED_CONTAINER_SESSION", "WAIT_NESTED_CONTAINER"
        own, parent = session["value"], session["parent"]["value"]

        async def refused(kind: str, **content: Any) -> tuple[int, Any]:
            return await call(mesos, agent, kind, **content)

        true = {"value": "true"}
        missing = "Failed to validate agent::Call: Expecting"
        assert await refused(launch) == (400, f"{missing} 'launch_nested_container_session' to be present")
        assert await refused(launch, container_id={"value": own}, command=true) == (
            400,
            f"{missing} 'launch_nested_container_session.container_id.parent' to be present",
        )
        assert await refused(launch, container_id={"value": own, "parent": {"value": "nobody"}}, command=true) == (
            400,
            "Parent container nobody does not exist",
        )
        assert (await refused(launch, container_id={"value": "a..b", "parent": {"value": parent}}, command=true))[
            0
        ] == 400
        assert await refused(wait, container_id=session) == (404, f"Container {parent}.{own} cannot be found")
        lonely = attached(type="CONTAINER_ID", container_id=session)
        async with aiohttp.ClientSession() as http:
            async with http.post(f"{mesos.url}{agent}/api/v1", data=lonely, headers=RECORDIO) as response:
                assert (response.status, await response.text()) == (500, f"Unknown container {parent}.{own}")


def attached(**content: Any) -> bytes:
    body = orjson.dumps({"type": "ATTACH_CONTAINER_INPUT", "attach_container_input": content})
    return b"%d\n%s" % (len(body), body)


def stdin(data: bytes) -> Json:
    return {"type": "DATA", "data": {"type": "STDIN", "data": base64.b64encode(data).decode()}}


def heartbeat() -> Json:
    return {"type": "CONTROL", "control": {"type": "HEARTBEAT", "heartbeat": {"interval": {"nanoseconds": 10**10}}}}


def records(data: bytes) -> list[Json]:
    found = []
    while data:
        length, _, data = data.partition(b"\n")
        found.append(orjson.loads(data[: int(length)]))
        data = data[int(length) :]
    return found


# --- groups


async def group(scheduler: Scheduler, *commands: str) -> tuple[list[Json], list[Json]]:
    """Launches a group of tasks and waits until all run: (TaskInfos, their statuses)."""
    offer = await scheduler.offer()
    tasks = [task(offer, command=command) for command in commands]
    amounts = (("cpus", 0.1), ("mem", 32), ("disk", 10))
    executor = {
        "type": "DEFAULT",
        "executor_id": {"value": f"group-{uuid.uuid4().hex[:8]}"},
        "framework_id": {"value": scheduler.framework_id},
        "resources": [scalar(name, value, allocation_info=offer["allocation_info"]) for name, value in amounts],
    }
    content = {"executor": executor, "task_group": {"tasks": tasks}}
    await scheduler.accept([offer], [{"type": "LAUNCH_GROUP", "launch_group": content}], 3600.0)
    return tasks, [await scheduler.update(info["task_id"]["value"], "TASK_RUNNING") for info in tasks]


@WITH_SANDBOXES
async def test_the_tasks_of_a_group_are_containers_in_their_executors(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        infos, statuses = await group(scheduler, "sleep 3600", "sleep 3600")
        executor = executor_of(mesos, infos[0])
        ids = [status["container_status"]["container_id"] for status in statuses]

        assert executor["type"] == "DEFAULT"
        assert [one["parent"] for one in ids] == [{"value": executor["container"]}] * 2
        assert {t["id"] for t in executor["tasks"]} == {info["task_id"]["value"] for info in infos}


@pytest.mark.parametrize("end", ["a kill", "a failure"])
async def test_a_group_ends_as_a_whole(mesos: Mesos, end: str, tmp_path: Path):
    fails = "sleep 0.5; exit 3" if mesos.simulated else f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; exit 3"
    async with scheduling(mesos.url) as scheduler:
        infos, _ = await group(scheduler, "sleep 3600" if end == "a kill" else fails, "sleep 3600")
        first, second = [info["task_id"]["value"] for info in infos]
        (tmp_path / "go").touch()
        if end == "a kill":
            await scheduler.kill(first)
        ended = await scheduler.update(first, "TASK_KILLED" if end == "a kill" else "TASK_FAILED")

        # Apache Mesos says 9 where the end of the group overtakes the signal.
        signals = ["Command terminated with signal 15", "Command terminated with signal 9"]
        assert ended["message"] in (signals if end == "a kill" else ["Command exited with status 3"])
        await scheduler.update(second, "TASK_KILLED")


@WITH_SANDBOXES
async def test_each_task_of_a_group_has_a_sandbox_below_its_executors(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        infos, _ = await group(scheduler, "echo left; sleep 3600", "echo right; sleep 3600")
        directory = executor_of(mesos, infos[0])["directory"]

        async def written(info: Json) -> str:
            path = f"{directory}/tasks/{info['task_id']['value']}/stdout"
            status, found = await get(mesos, "/files/read", path=path, offset="0")
            return str(found["data"]) if status == 200 else ""

        for info, text in zip(infos, ("left\n", "right\n"), strict=True):
            assert await eventually_async(lambda info=info: written(info)) == text  # type: ignore[misc]
            own = f"{directory}/tasks/{info['task_id']['value']}"
            _, entries = await get(mesos, "/files/browse", path=own)
            assert {entry["path"].removeprefix(f"{own}/") for entry in entries} >= {"stdout", "stderr"}


# --- what Mesos is told of a task


@pytest.mark.parametrize(
    "check",
    [
        {"type": "COMMAND", "command": {"shell": True, "value": "true"}},
        {"type": "HTTP", "http": {"scheme": "http", "port": 80, "path": "/health"}},
        {"type": "TCP", "tcp": {"port": 80}},
    ],
)
async def test_a_task_may_come_with_a_health_check_and_a_kill_policy(mesos: Mesos, check: Json, tmp_path: Path):
    times = {"delay_seconds": 30.0, "interval_seconds": 30.0, "timeout_seconds": 5.0, "grace_period_seconds": 30.0}
    policy = {"grace_period": {"nanoseconds": 500_000_000}}
    deaf = f"trap '' TERM; touch {tmp_path}/deaf; exec sleep 3600"
    async with scheduling(mesos.url) as scheduler:
        info, running = await scheduler.running(command=deaf, health_check={**check, **times}, kill_policy=policy)
        if not mesos.simulated:
            assert "healthy" not in running
            await eventually_async((tmp_path / "deaf").exists)
        start = time.monotonic()
        await scheduler.kill(info["task_id"]["value"])
        status = await scheduler.update(info["task_id"]["value"], "TASK_KILLED")

        assert status["message"] == "Command terminated with signal 9"
        assert time.monotonic() - start >= 0.4


async def test_a_command_without_a_shell_is_run_word_for_word(mesos: Mesos):
    if mesos.simulated:
        command = {"shell": False, "value": "exit 3"}
    else:
        command = {"shell": False, "value": "/bin/sh", "arguments": ["sh", "-c", 'exit "$1"', "sh", "3"]}
    async with scheduling(mesos.url) as scheduler:
        offer = await scheduler.offer()
        info = {**task(offer), "command": command}
        await scheduler.launch(offer, info)
        status = await scheduler.update(info["task_id"]["value"], "TASK_FAILED")

        assert status["message"] == "Command exited with status 3"
