"""The embedded Mesos as a process, killed and started again: to a framework its tasks have gone on, and their logs can be read."""

import os
import signal
from pathlib import Path

from tests.support.mesos import running_embedded_mesos
from tests.support.mesos_agent import container
from tests.support.processes import free_port
from tests.support.scheduler import scheduling
from tests.support.waiting import eventually_async

LONG = {"failover_timeout": 3600.0}


async def test_tasks_of_all_kinds_go_on_through_a_kill_of_mesos(tmp_path: Path, dockerd, busybox):
    settings = {"port": free_port(), "allocation_interval": 0.2, "docker_url": dockerd.url, "docker_stop_timeout": 1}
    with running_embedded_mesos(tmp_path, **settings) as mesos:
        async with scheduling(mesos.url, **LONG) as scheduler:
            process, running = await scheduler.running(command="echo $$; exec sleep 1000")
            box, _ = await scheduler.running(command="echo inside; sleep 1000", container=container(busybox))
            ended, _ = await scheduler.running(command=f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; exit 4")
            framework_id = scheduler.framework_id
            names = [info["task_id"]["value"] for info in (process, box, ended)]
            sandbox = _directory_of(mesos, names[0])
            pid = int(await eventually_async(lambda: _read(mesos, f"{sandbox}/stdout")))
            os.kill(mesos.process.pid, signal.SIGKILL)
            await scheduler.until_closed()
            await scheduler.disconnect()
        mesos.process.wait()
        assert Path(f"/proc/{pid}").exists()
        (tmp_path / "go").touch()
        with running_embedded_mesos(tmp_path, **settings) as again:
            async with scheduling(again.url, subscribe=False, **LONG) as scheduler:
                await scheduler.subscribe(framework_id)
                exit_code = await scheduler.update(names[2], "TASK_FAILED")
                assert exit_code["message"] == "Command exited with status 4"
                agent_id = running["agent_id"]
                await scheduler.reconcile(*({"task_id": {"value": n}, "agent_id": agent_id} for n in names[:2]))
                for name in names[:2]:
                    assert (await scheduler.update(name))["state"] == "TASK_RUNNING"
                state = again.get("/state")
                assert {t["id"]: t["state"] for f in state["frameworks"] for t in f["tasks"]} == dict.fromkeys(
                    names[:2], "TASK_RUNNING"
                )
                written = f"{_directory_of(again, names[1])}/stdout"
                await eventually_async(lambda: _read(again, written) == "inside\n")
                for name in names[:2]:
                    await scheduler.kill(name)
                    await scheduler.update(name, "TASK_KILLED")
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
