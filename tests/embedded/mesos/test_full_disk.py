"""A full disk: what cannot be started says so, what runs is not lost, and all goes on when there is room again."""

import asyncio
import errno
import subprocess
from pathlib import Path

import pytest

from embedded.mesos.durable import read_json
from tests.support.mesos_agent import World, grace, task
from tests.support.waiting import eventually_async


@pytest.fixture
async def small(tmp_path):
    """A world on a disk of 2 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], check=True)
    try:
        world = World(disk / "work", {})
        await world.start()
        try:
            yield world
        finally:
            (disk / "filler").unlink(missing_ok=True)
            await world.agent.destroy()
    finally:
        await asyncio.to_thread(subprocess.run, ["umount", "--lazy", disk], check=True)


def fill(world: World) -> Path:
    filler = world.work_dir.parent / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 512)
        except OSError as error:
            assert error.errno == errno.ENOSPC
    return filler


def all_is_written(world: World, task_id: str) -> bool:
    """Nothing of the agent's is about to take the place of an older file, which would leave some room."""
    kept = read_json(world.agent.layout.meta_of(world.agent.runs["fw", task_id].launch.container_id) / "updates.json")
    return kept is not None and kept["history"][-1]["state"] == "TASK_RUNNING" and kept["pending"] == []


async def test_a_task_that_cannot_be_written_down_fails_and_the_next_runs_when_there_is_room(small):
    filler = fill(small)
    small.launch(task("t", "true"))
    ended = await small.master.until_ended("t")
    assert (ended["state"], ended["reason"]) == ("TASK_FAILED", "REASON_CONTAINER_LAUNCH_FAILED")
    assert "No space left on device" in ended["message"]
    filler.unlink()
    small.launch(task("t2", "true"))
    await small.master.until("t2", "TASK_FINISHED")


async def test_a_task_that_ends_meanwhile_tells_its_exit_code_later(small):
    small.launch(task("t", "touch stay; echo $$; while [ -e stay ]; do sleep 0.02; done; exit 5"))
    await eventually_async(lambda: small.output("t"))
    await eventually_async(lambda: all_is_written(small, "t"))
    pid = int(small.output("t"))
    filler = fill(small)
    (small.sandbox("t") / "stay").unlink()
    await eventually_async(lambda: not Path(f"/proc/{pid}").exists())
    assert "TASK_FAILED" not in small.master.states("t")
    filler.unlink()
    assert (await small.master.until_ended("t"))["message"] == "Command exited with status 5"


async def test_a_task_can_be_killed_and_does_not_hang_on_its_output(small):
    small.launch(task("t", "echo $$; while true; do echo more; sleep 0.005; done"))
    await eventually_async(lambda: len(small.output("t").splitlines()) > 2)
    await eventually_async(lambda: all_is_written(small, "t"))
    pid = int(small.output("t").split()[0])
    filler = fill(small)
    small.agent.kill("fw", "t", grace(1))
    await eventually_async(lambda: not Path(f"/proc/{pid}").exists())
    filler.unlink()
    await small.master.until("t", "TASK_KILLED")
