"""The embedded Mesos as a process, killed and started again: to a framework its tasks have gone on, and their logs can be read."""

import contextlib
import os
import signal
from pathlib import Path

import pytest

from embedded.mesos.agent_settings import AgentSettings
from embedded.mesos.cleanup import clean_in_loop
from tests.support.mesos import running_embedded_mesos
from tests.support.mesos_agent import container
from tests.support.processes import free_port
from tests.support.scheduler import scheduling
from tests.support.waiting import eventually_async

LONG = {"failover_timeout": 3600.0}


@pytest.fixture
async def directory(tmp_path, dockerd):
    yield tmp_path / "mesos"
    await clean_in_loop(tmp_path / "mesos", AgentSettings(docker_url=dockerd.url))


async def test_tasks_of_all_kinds_go_on_through_a_kill_of_mesos(directory: Path, dockerd, busybox):
    port = free_port()
    settings = {"port": port, "allocation_interval": 0.2, "docker_url": dockerd.url, "docker_stop_timeout": 1}
    with contextlib.ExitStack() as first:
        mesos = first.enter_context(running_embedded_mesos(directory, **settings))
        async with scheduling(mesos.url, **LONG) as scheduler:
            process, running = await scheduler.running(command="echo $$; exec sleep 1000")
            box, _ = await scheduler.running(command="echo inside; sleep 1000", container=container(busybox))
            ended, _ = await scheduler.running(command=f"while [ ! -e {directory}/go ]; do sleep 0.05; done; exit 4")
            framework_id = scheduler.framework_id
            names = [info["task_id"]["value"] for info in (process, box, ended)]
            sandbox = _directory_of(mesos, names[0])
            pid = int(await eventually_async(lambda: _read(mesos, f"{sandbox}/stdout")))
            os.kill(mesos.process.pid, signal.SIGKILL)
            await scheduler.until_closed()
            await scheduler.disconnect()
    assert Path(f"/proc/{pid}").exists()
    (directory / "go").touch()
    with running_embedded_mesos(directory, **settings) as mesos:
        async with scheduling(mesos.url, subscribe=False, **LONG) as scheduler:
            await scheduler.subscribe(framework_id)
            assert scheduler.framework_id == framework_id
            exit_code = await scheduler.update(names[2], "TASK_FAILED")
            assert exit_code["message"] == "Command exited with status 4"
            await scheduler.reconcile(
                *({"task_id": {"value": name}, "agent_id": running["agent_id"]} for name in names[:2])
            )
            for name in names[:2]:
                status = await scheduler.update(name)
                assert status["state"] == "TASK_RUNNING"
            state = mesos.get("/state")
            assert {t["id"]: t["state"] for f in state["frameworks"] for t in f["tasks"]} == dict.fromkeys(
                names[:2], "TASK_RUNNING"
            )
            assert _read(mesos, f"{_directory_of(mesos, names[1])}/stdout") == "inside\n"
            for name in names[:2]:
                await scheduler.kill(name)
                await scheduler.update(name, "TASK_KILLED", timeout=30)
    assert not Path(f"/proc/{pid}").exists()


def _directory_of(mesos, task_id: str) -> str:
    [agent] = mesos.get("/slaves")["slaves"]
    state = mesos.get(f"/{agent['pid'].partition('@')[0]}/state")
    return next(
        executor["directory"]
        for framework in state["frameworks"]
        for executor in framework["executors"]
        if task_id in [task["id"] for task in executor["tasks"]]
    )


def _read(mesos, path: str) -> str:
    return mesos.get(f"/files/read?path={path}&offset=0")["data"]
