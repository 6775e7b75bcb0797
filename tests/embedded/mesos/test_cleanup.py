"""After an embedded Mesos was killed, what its tasks left can be taken away; and destroy leaves nothing in the first place."""

import os
from pathlib import Path

import pytest

from daemonkit.errors import OperatorError
from embedded.mesos.agent_settings import AgentSettings
from embedded.mesos.cleanup import clean_in_loop
from tests.support.cgroups import cgroups_named
from tests.support.mesos_agent import container, task
from tests.support.mesos_agent import world as world
from tests.support.waiting import eventually_async


def traces(w) -> list[str]:
    """Processes, and cgroups with the agent's id."""
    return processes(w) + cgroups_named(f"{w.agent.id}*")


def processes(w) -> list[str]:
    """Those with a path of the work directory in their command line or environment."""
    mark = str(w.work_dir).encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if mark in words and int(entry.name) != os.getpid():
            found.append(words.decode(errors="replace")[:200])
    return found


async def test_destroy_leaves_no_process_and_no_cgroup(world):
    w = await world()
    w.launch(
        task("a", "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo up; sleep 1000' & wait"), task("b", "sleep 1000")
    )
    w.launch(task("c", "sleep 0.05; exit 1"))
    await eventually_async(lambda: w.output("a") == "up\n")
    await w.master.until("b", "TASK_RUNNING")
    assert traces(w)
    await w.agent.destroy()
    assert traces(w) == []
    assert (w.work_dir / "agent-1" / "slaves").is_dir(), "the sandboxes stay"


async def test_clean_ends_what_a_dead_agent_left(world, dockerd, busybox):
    w = await world(docker_url=dockerd.url)
    w.launch(task("p", "sleep 1000"), task("d", "sleep 1000", container=container(busybox)))
    await w.master.until("p", "TASK_RUNNING")
    await w.master.until("d", "TASK_RUNNING")
    await w.agent.stop()
    assert traces(w)
    assert await clean_in_loop(w.work_dir, AgentSettings(docker_url=dockerd.url)) == 2
    assert traces(w) == []
    assert dockerd.containers(**{"dromos.mesos.agent": w.agent.id}) == []
    assert await clean_in_loop(w.work_dir, AgentSettings(docker_url=dockerd.url)) == 0, (
        "a second time there is nothing to do"
    )


async def test_clean_works_where_docker_is_gone(world, tmp_path):
    w = await world()
    w.launch(task("p", "sleep 1000"))
    await w.master.until("p", "TASK_RUNNING")
    await w.agent.stop()
    await clean_in_loop(w.work_dir, AgentSettings(docker_url=f"unix://{tmp_path}/none.sock"))
    assert traces(w) == []


async def test_clean_leaves_a_running_one_alone_and_says_so(world):
    w = await world()
    w.launch(task("p", "sleep 1000"))
    await w.master.until("p", "TASK_RUNNING")
    with pytest.raises(OperatorError, match="another embedded Mesos runs with the state of"):
        await clean_in_loop(w.work_dir)
    assert traces(w)


async def test_clean_of_a_directory_without_state_does_nothing(tmp_path):
    assert await clean_in_loop(tmp_path) == 0


async def test_a_supervisor_that_is_killed_takes_its_task_along(world):
    """Where even the supervisor dies, the task is ended and told as failed."""
    w = await world()
    w.launch(task("t", "setsid sleep 1000 & exec sleep 1000"))
    running = await w.master.until("t", "TASK_RUNNING")
    os.kill(running["container_status"]["executor_pid"], 9)
    ended = await w.master.until_ended("t")
    assert (ended["state"], ended["reason"]) == ("TASK_FAILED", "REASON_EXECUTOR_TERMINATED")
    assert processes(w) == []
    await eventually_async(lambda: traces(w) == [])


async def test_without_cgroups_the_same_is_true(world):
    w = await world(cgroups=False)
    w.launch(task("t", "setsid sleep 1000 & exec sleep 1000"), task("u", "sleep 1000"))
    running = await w.master.until("t", "TASK_RUNNING")
    await w.master.until("u", "TASK_RUNNING")
    os.kill(running["container_status"]["executor_pid"], 9)
    await w.master.until("t", "TASK_FAILED")
    w.agent.kill("fw", "u", None)
    await w.master.until("u", "TASK_KILLED")
    assert processes(w) == []
    await eventually_async(lambda: traces(w) == [])
