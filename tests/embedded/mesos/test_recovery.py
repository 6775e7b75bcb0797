"""An agent that is killed loses no task and no update: its successor finds what runs, and tells what ended meanwhile."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from embedded.mesos.agent_settings import AgentSettings
from embedded.mesos.cleanup import clean_in_loop
from tests.support.mesos_agent import container, grace, task
from tests.support.processes import Process
from tests.support.processes import start as start_program
from tests.support.waiting import eventually_async

TERMINAL = ("TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_LOST", "TASK_DROPPED")


@dataclass
class AgentProcess:
    """One life of the agent. `told` is what it told its master."""

    process: Process
    log: Path

    def told(self) -> list[dict[str, Any]]:
        return [
            json.loads(line)
            for line in self.log.read_text().split("\n")[:-1]  # the last one may be cut off
            if line.startswith("{")
        ]

    def states(self, task_id: str) -> list[str]:
        """Of its updates, however often each was sent."""
        updates = {told["uuid"]: told for told in self.told() if told.get("task_id", {}).get("value") == task_id}
        return [told["state"] for told in updates.values()]

    async def until(self, task_id: str, state: str) -> dict[str, Any]:
        def found():
            return next(
                (told for told in self.told() if told.get("state") == state and told["task_id"]["value"] == task_id),
                None,
            )

        return await eventually_async(found, 60, 0.02, f"{task_id} is {state}: {self.log}")

    async def registered(self) -> dict[str, Any]:
        return await eventually_async(lambda: next(told for told in self.told() if "registered" in told), 60, 0.02)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
async def lives(tmp_path):
    """Starts agents one after the other on the same directory: `with lives(tasks=[…]) as agent`."""
    work_dir, count = tmp_path / "work", iter(range(100))
    docker_urls: set[str] = set()

    @contextmanager
    def start(**orders: Any) -> Iterator[AgentProcess]:
        log = tmp_path / f"life-{next(count)}.log"
        docker_urls.update([orders.get("settings", {}).get("docker_url")] if orders.get("settings") else [])
        process = start_program(
            [sys.executable, "-m", "tests.support.mesos_agent_program", str(work_dir), json.dumps(orders)], log
        )
        try:
            yield AgentProcess(process, log)
        finally:
            process.kill()
            process.wait()

    yield start
    await clean_in_loop(work_dir, AgentSettings(docker_url=next(iter(docker_urls), f"unix://{tmp_path}/none")))


def acknowledged(tmp_path: Path) -> list[bool]:
    """Of each task of the agent, whether it is on disk that the master knows all that was told."""
    kept = [json.loads(path.read_text()) for path in tmp_path.glob("work/agent-1/meta/tasks/*/updates.json")]
    return [not one["pending"] for one in kept]


def pid_of(work_dir: Path, task_id: str) -> int:
    [sandbox] = (work_dir / "work").glob(f"agent-1/slaves/*/frameworks/fw/executors/{task_id}/runs/latest")
    return int((sandbox / "stdout").read_text().split()[0])


async def test_running_tasks_are_found_and_those_that_ended_tell_their_exit_code(lives, tmp_path):
    go = tmp_path / "go"
    wait = f"while [ ! -e {go} ]; do sleep 0.02; done"
    tasks = [
        task("runs", "echo $$; exec sleep 1000"),
        task("fails", f"{wait}; exit 7"),
        task("ends", f"{wait}; echo last"),
    ]
    with lives(tasks=tasks) as first:
        for name in ("runs", "fails", "ends"):
            await first.until(name, "TASK_RUNNING")
        await eventually_async(lambda: all(acknowledged(tmp_path)), what="else they are told again")
        first.kill()
    pid = await eventually_async(lambda: pid_of(tmp_path, "runs"))
    go.touch()
    exits = "work/agent-1/meta/tasks/*/runtime/exit.json"
    await eventually_async(lambda: len(list(tmp_path.glob(exits))) == 2, what="two tasks ended without an agent")

    with lives() as second:
        registered = await second.registered()
        assert registered["registered"] == (await first.registered())["registered"]
        assert registered["tasks"] == dict.fromkeys(("runs", "fails", "ends"), "TASK_RUNNING")
        assert (await second.until("fails", "TASK_FAILED"))["message"] == "Command exited with status 7"
        assert (await second.until("ends", "TASK_FINISHED"))["message"] == "Command exited with status 0"
        assert second.states("runs") == [], "nothing new of the one that runs on"
        os.kill(pid, signal.SIGTERM)
        assert (await second.until("runs", "TASK_FAILED"))["message"] == "Command terminated with signal 15"


async def test_updates_that_were_not_acknowledged_are_sent_again_in_order_with_their_uuids(lives):
    with lives(tasks=[task("t", "exit 2")], acknowledges=False) as first:
        starting = await first.until("t", "TASK_STARTING")
        meta = first.log.parent
        await eventually_async(
            lambda: "TASK_FAILED" in next(meta.glob("work/agent-1/meta/tasks/*/updates.json")).read_text()
        )
        first.kill()
    assert first.states("t") == ["TASK_STARTING"], "the next update waits for the acknowledgement"
    with lives() as second:
        await second.until("t", "TASK_FAILED")
        assert second.states("t") == ["TASK_STARTING", "TASK_RUNNING", "TASK_FAILED"]
        assert (await second.until("t", "TASK_STARTING"))["uuid"] == starting["uuid"]
        await eventually_async(lambda: not list(meta.glob("work/agent-1/meta/tasks/*")), what="acknowledged: forgotten")
        second.kill()
    with lives() as third:
        assert (await third.registered())["tasks"] == {}


async def test_a_kill_is_carried_out_to_its_end_without_the_agent(lives, tmp_path):
    """SIGKILL comes after the grace period even if the agent is dead by then, and the task ends as TASK_KILLED."""
    program = task("t", "trap '' TERM; echo $$; while true; do sleep 0.05; done", kill_policy=grace(1))
    with lives(tasks=[program], settings={}) as first:
        await first.until("t", "TASK_RUNNING")
        pid = await eventually_async(lambda: pid_of(tmp_path, "t"))
        [started] = tmp_path.glob("work/agent-1/meta/tasks/*/runtime/started.json")
        supervisor = json.loads(started.read_text())["shim"]
        os.kill(supervisor, signal.SIGSTOP)  # it sees to the kill when the agent is dead for certain
        try:
            await eventually_async(lambda: status_of(supervisor)["State"].startswith("T"))
            os.kill(first.process.pid, signal.SIGUSR1)
            await eventually_async(lambda: int(status_of(supervisor)["ShdPnd"], 16) & 1 << signal.SIGUSR1 - 1)
            first.kill()
        finally:
            os.kill(supervisor, signal.SIGCONT)
    await eventually_async(lambda: list(tmp_path.glob("work/agent-1/meta/tasks/*/runtime/exit.json")))
    assert not Path(f"/proc/{pid}").exists()
    with lives() as second:
        await second.until("t", "TASK_KILLED")


def status_of(pid: int) -> dict[str, str]:
    """As in /proc: `State`, and in `ShdPnd` the signals that it has yet to take."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def test_the_kill_of_a_container_goes_on_after_a_restart(lives, dockerd, busybox):
    settings = {"docker_url": dockerd.url}
    program = task(
        "t", "trap '' TERM; while true; do sleep 0.05; done", container=container(busybox), kill_policy=grace(2)
    )
    with lives(tasks=[program], settings=settings) as first:
        await first.until("t", "TASK_RUNNING")
        os.kill(first.process.pid, signal.SIGUSR1)
        await eventually_async(lambda: list(first.log.parent.glob("work/agent-1/meta/tasks/*/kill.json")))
        first.kill()
    with lives(settings=settings) as second:
        assert (await second.until("t", "TASK_KILLED"))["message"] == "Container exited with status 137"


async def test_a_launch_cut_at_any_moment_ends_known_and_leaves_nothing(lives, tmp_path):
    """Killed at random moments while it launches, the agent's successor tells an end or a running task; never nothing."""
    for turn, moment in enumerate((0.0, 0.01, 0.03, 0.06, 0.1)):
        tasks = [task(f"t{turn}-{n}", "exec sleep 1000") for n in range(4)]
        with lives(tasks=tasks) as agent:
            await agent.registered()
            await eventually_async(lambda: list(tmp_path.glob("work/agent-1/meta/tasks/*/task.json")), 30, 0.001)
            await eventually_async(_after(moment), 60, 0.002)
            agent.kill()
    with lives() as last:
        adopted = (await last.registered())["tasks"]

        def known(name):
            """One that had ended before may be adopted only to be forgotten: then nothing is told of it any more."""
            return {adopted[name], *last.states(name)}

        def settled():
            return all(known(name) & {*TERMINAL, "TASK_RUNNING"} for name in adopted)

        await eventually_async(settled, what="each task that was written down is known to run or to have ended")
        await eventually_async(
            lambda: _sleeping(tmp_path) == {name for name in adopted if not known(name) & {*TERMINAL}},
            what="those that run have a process, and nobody else has",
        )


def _sleeping(directory: Path) -> set[str]:
    """The tasks in this directory whose processes the shim has become."""
    return {
        _environment(entry).partition("MESOS_EXECUTOR_ID=")[2].partition("\0")[0]
        for entry in Path("/proc").glob("[0-9]*")
        if _words(entry)[:2] == ["sleep", "1000"] and str(directory) in _environment(entry)
    }


def _after(seconds: float):
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def _words(entry: Path) -> list[str]:
    try:
        return (entry / "cmdline").read_text().split("\0")
    except OSError:
        return []


def _environment(entry: Path) -> str:
    try:
        return (entry / "environ").read_text()
    except OSError:
        return ""


async def test_a_reused_pid_is_not_taken_for_the_task(lives, tmp_path):
    """After a reboot, or much later, the pid that was written down can be another's."""
    with lives(tasks=[task("t", "echo $$; exec sleep 1000")]) as first:
        await first.until("t", "TASK_RUNNING")
        first.kill()
    [started] = tmp_path.glob("work/agent-1/meta/tasks/*/runtime/started.json")
    pids = json.loads(started.read_text())
    for pid in (pids["shim"], pids["pid"]):
        os.kill(pid, signal.SIGKILL)
    await eventually_async(lambda: not any(_words(Path(f"/proc/{pids['pid']}"))))
    with subprocess.Popen(["sleep", "1000"]) as innocent:
        try:
            started.write_text(json.dumps({**pids, "pid": innocent.pid, "shim": innocent.pid}))
            with lives() as second:
                ended = await second.until("t", "TASK_FAILED")
                assert ended["reason"] == "REASON_EXECUTOR_TERMINATED"
                assert innocent.poll() is None, "it lives"
        finally:
            innocent.kill()
