import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict

from dromos.up.plan import Daemon
from dromos.up.process import Process
from dromos.up.state import StateDir
from dromos.up.supervisor import Supervisor
from tests.support.waiting import eventually, eventually_async

PROGRAM = "import time\nprint('up', flush=True)\ntime.sleep(600)"


def daemon(name: str, program: str = PROGRAM) -> Daemon:
    return Daemon(name, (sys.executable, "-c", program), health="")


@contextlib.asynccontextmanager
async def supervising(supervisor: Supervisor, *, stop_all: bool = True) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(supervisor.run(stop))
    try:
        yield
    finally:
        stop.set()
        await task
        if stop_all:
            supervisor.stop_all()


def state_dir(tmp_path) -> StateDir:
    state = StateDir(tmp_path)
    state.create()
    return state


async def test_all_daemons_run_and_all_are_gone_in_the_end(tmp_path):
    state = state_dir(tmp_path)
    async with supervising(Supervisor([daemon("a"), daemon("b")], state, log_limit=1000)):
        processes = await eventually_async(
            lambda: [p for p in map(_running(state), "ab") if p][1:] and list(map(_running(state), "ab"))
        )
    assert all(not process.alive for process in processes)
    assert _running(state)("a") is None


async def test_a_killed_daemon_is_started_again(tmp_path):
    state = state_dir(tmp_path)
    async with supervising(Supervisor([daemon("a")], state, log_limit=1000)):
        first = await eventually_async(lambda: _running(state)("a"))
        first.send(signal.SIGKILL)
        second = await eventually_async(lambda: (now := _running(state)("a")) and now != first and now)
        assert second.alive and not first.alive


async def test_a_daemon_that_cannot_live_is_tried_ever_more_rarely(tmp_path):
    state = state_dir(tmp_path)
    async with supervising(Supervisor([daemon("a", "print('x')")], state, log_limit=1000)):
        await eventually_async(lambda: state.log("a").exists() and state.log("a").read_text().count("x") >= 3)
        await asyncio.sleep(1.0)  # a bounded look at the pace, not a wait for a condition
    assert state.log("a").read_text().count("x") <= 8


async def test_what_an_earlier_supervisor_left_is_adopted_not_doubled(tmp_path):
    state = state_dir(tmp_path)
    async with supervising(Supervisor([daemon("a")], state, log_limit=1000), stop_all=False):
        left = await eventually_async(lambda: _running(state)("a"))
    async with supervising(Supervisor([daemon("a")], state, log_limit=1000)):
        await eventually_async(lambda: state.log("a").read_text() == "up\n")
        assert _running(state)("a") == left
        os.kill(left.pid, signal.SIGKILL)
        os.waitpid(left.pid, 0)
        again = await eventually_async(lambda: (now := _running(state)("a")) and now != left and now)
    eventually(lambda: not again.alive)


async def test_what_an_earlier_supervisor_left_with_other_flags_or_is_not_wanted_any_more_is_ended(tmp_path):
    state, other = state_dir(tmp_path), PROGRAM + "  # with other flags"
    before = [daemon("a"), daemon("b"), daemon("c")]
    async with supervising(Supervisor(before, state, log_limit=1000), stop_all=False):
        left = await eventually_async(lambda: all(found := [_running(state)(name) for name in "abc"]) and found)
    state.remember({"daemons": [asdict(one) for one in before]})
    assert state.held_ports(edge_runs=False) == set()
    supervisor = Supervisor([daemon("a"), daemon("b", other)], state, log_limit=1000, left=state.left())
    async with supervising(supervisor):
        again = await eventually_async(lambda: (now := _running(state)("b")) and now != left[1] and now)
        assert _running(state)("a") == left[0], "its flags are what they were"
        assert not left[1].alive and not left[2].alive
        os.kill(left[0].pid, signal.SIGTERM)
        os.waitpid(left[0].pid, 0)
    eventually(lambda: not again.alive)


def test_the_ports_of_what_still_runs_are_known(tmp_path):
    state = state_dir(tmp_path)
    me = Process.of(os.getpid())
    assert me is not None
    state.pid_file("a").write(me)
    plain = [
        Daemon(name, ("x",), health="", ports=((port, "--p"),)) for name, port in (("a", 1), ("b", 2), ("edge", 3))
    ]
    state.remember({"daemons": [asdict(one) for one in plain]})
    assert state.held_ports(edge_runs=False) == {1}
    assert state.held_ports(edge_runs=True) == {1, 3}
    (tmp_path / "run" / "platform.json").write_text("{")
    assert state.held_ports(edge_runs=True) == set() and state.left() == {}


def _running(state: StateDir):
    return lambda name: state.pid_file(name).read()
