"""Tasks as processes: started, ended, limited, and found again; what a framework hears of it."""

import asyncio
from pathlib import Path

import pytest

from tests.support.mesos_agent import framework, grace, task
from tests.support.mesos_agent import world as world
from tests.support.waiting import eventually_async


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def pid_in(world, task_id: str, file: str = "stdout") -> int:
    return int(await eventually_async(lambda: world.output(task_id, file).split()[0]))


async def test_a_command_that_ends_well_is_starting_running_finished_in_this_order(world):
    w = await world()
    w.launch(task("t", "echo hello; echo trouble >&2"))
    ended = await w.master.until_ended("t")
    assert w.master.states("t") == ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"]
    assert ended["message"] == "Command exited with status 0"
    assert w.output("t") == "hello\n"
    assert w.output("t", "stderr") == "trouble\n"


async def test_exit_code_and_signal_are_told_in_mesos_words(world):
    w = await world()
    w.launch(task("code", "exit 3"), task("signal", "kill -9 $$"))
    assert (await w.master.until("code", "TASK_FAILED"))["message"] == "Command exited with status 3"
    assert (await w.master.until("signal", "TASK_FAILED"))["message"] == "Command terminated with signal 9"


async def test_a_kill_is_sigterm_to_all_then_sigkill_after_the_grace_period(world):
    w = await world()
    w.launch(task("t", "trap '' TERM; sleep 1000 & echo $!; while true; do sleep 0.1; done"))
    child = await pid_in(w, "t")
    loop = asyncio.get_running_loop()
    asked = loop.time()
    w.agent.kill("fw", "t", grace(0.5))
    ended = await w.master.until_ended("t")
    assert ended["state"] == "TASK_KILLED"
    assert ended["message"] == "Command terminated with signal 9"
    assert 0.5 <= loop.time() - asked < 2.5
    assert not alive(child)


async def test_descendants_in_other_sessions_end_with_the_task(world):
    w = await world()
    w.launch(
        task(
            "t",
            "setsid sh -c 'trap \"\" TERM HUP; echo $$; exec >/dev/null 2>&1; while true; do sleep 0.1; done' & wait; sleep 0.3; exit 0",
        )
    )
    w.launch(task("quick", "setsid sleep 1000 >/dev/null 2>&1 & echo $!; exit 0"))
    assert (await w.master.until_ended("quick"))["state"] == "TASK_FINISHED"
    assert not alive(await pid_in(w, "quick"))
    child = await pid_in(w, "t")
    assert alive(child)
    w.agent.kill("fw", "t", grace(0.3))
    await w.master.until("t", "TASK_KILLED")
    assert not alive(child)


@pytest.mark.parametrize("capable", [True, False])
async def test_task_killing_is_for_frameworks_that_know_it(world, capable):
    w = await world()
    w.launch(task("t", "sleep 1000"), framework_info=framework("TASK_KILLING_STATE") if capable else framework())
    await w.master.until("t", "TASK_RUNNING")
    w.agent.kill("fw", "t", None)
    await w.master.until("t", "TASK_KILLED")
    assert w.master.states("t")[2:] == (["TASK_KILLING", "TASK_KILLED"] if capable else ["TASK_KILLED"])
