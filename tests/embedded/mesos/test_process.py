"""Tasks as processes: started, ended, limited, and found again; what a framework hears of it."""

import asyncio
import os
import tempfile
from pathlib import Path

import pytest

from embedded.mesos.cgroups import Limits
from embedded.mesos.runtimes.base import Launch, LaunchError
from embedded.mesos.runtimes.process import limits, task_user
from tests.support.mesos_agent import framework, grace, task
from tests.support.mesos_agent import world as world
from tests.support.waiting import eventually_async

MB = 1024 * 1024


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
    w = await world(command_stop_timeout=600)
    w.launch(task("t", "trap '' TERM; sleep 1000 & echo $!; exec sleep 1000"))
    child = await pid_in(w, "t")
    loop = asyncio.get_running_loop()
    asked = loop.time()
    w.agent.kill("fw", "t", grace(0.5))
    ended = await w.master.until_ended("t")
    assert ended["state"] == "TASK_KILLED"
    assert ended["message"] == "Command terminated with signal 9"
    assert loop.time() - asked >= 0.5
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


async def test_the_environment_is_what_mesos_gives_and_no_task_id(world):
    w = await world()
    w.launch(task("t", "env", env={"GREETING": "good day", "MESOS_SANDBOX": "mine"}))
    await w.master.until_ended("t")
    found = dict(line.split("=", 1) for line in w.output("t").splitlines())
    assert found["MESOS_DIRECTORY"] == str(w.sandbox("t"))
    assert (found["MESOS_FRAMEWORK_ID"], found["MESOS_EXECUTOR_ID"], found["MESOS_SLAVE_ID"]) == ("fw", "t", w.agent.id)
    assert found["MESOS_AGENT_ENDPOINT"] == "127.0.0.1:5050"
    assert found["GREETING"] == "good day"
    assert found["MESOS_SANDBOX"] == "mine", "the task's own variables go before Mesos'"
    assert "MESOS_TASK_ID" not in found
    assert not [name for name in found if name.startswith(("DROMOS", "PYTEST"))], (
        "the agent's own environment stays its own"
    )


async def test_the_sandbox_is_the_working_directory_at_mesos_path(world):
    w = await world()
    w.launch(task("t", "pwd; echo x > made"))
    ended = await w.master.until_ended("t")
    sandbox = w.sandbox("t")
    container = ended["container_status"]["container_id"]["value"]
    runs = w.work_dir / "agent-1" / "slaves" / w.agent.id / "frameworks" / "fw" / "executors" / "t" / "runs"
    assert sandbox == runs / container
    assert (runs / "latest").resolve() == sandbox
    assert w.output("t") == f"{sandbox}\n"
    assert (sandbox / "made").read_text() == "x\n"


async def test_an_argv_is_run_without_a_shell(world):
    w = await world()
    w.launch(task("t", ["/bin/echo", "$HOME", "a  b", "*"]))
    await w.master.until_ended("t")
    assert w.output("t") == "$HOME a  b *\n"


async def test_a_program_that_is_not_there_fails_with_its_name(world):
    w = await world()
    w.launch(task("t", ["/no/such/program", "x"]))
    ended = await w.master.until_ended("t")
    assert ended["message"] == "Failed to execute '/no/such/program': No such file or directory"
    assert ended["reason"] == "REASON_CONTAINER_LAUNCH_FAILED"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"command": {"shell": True}}, "Shell command is not specified"),
        ({"command": {"user": "no-such-user", "value": "true"}}, "no such user on this agent"),
        ({"container": {"type": "MESOS", "mesos": {"image": {"type": "DOCKER"}}}}, "Image provisioning"),
        ({"container": {"type": "MESOS", "network_infos": [{"name": "cni"}]}}, "Unknown container network 'cni'"),
        ({"uris": [{"value": "ftp://x/y"}]}, "Failed to fetch 'ftp://x/y'"),
        (
            {"command": {"value": "true", "environment": {"variables": [{"name": "S", "type": "SECRET"}]}}},
            "secret of environment variable 'S'",
        ),
    ],
)
async def test_what_cannot_be_launched_says_why(world, fields, words):
    w = await world()
    w.launch(task("t", **{"command": "true", **fields}))
    ended = await w.master.until_ended("t")
    assert (ended["state"], ended["reason"], ended["source"]) == (
        "TASK_FAILED",
        "REASON_CONTAINER_LAUNCH_FAILED",
        "SOURCE_AGENT",
    )
    assert words in ended["message"]
    assert w.master.states("t") == ["TASK_FAILED"]


async def test_a_task_runs_as_its_user_and_owns_its_sandbox(world):
    assert os.geteuid() == 0, "these tests run as root, as the agent does"
    w = await world()
    w.work_dir.parent.chmod(0o700)
    w.launch(task("t", {"value": "id -un; id -G; echo mine > file", "user": "nobody"}))
    assert (await w.master.until_ended("t"))["state"] == "TASK_FINISHED"
    assert w.output("t").splitlines() == ["nobody", "65534"]
    assert (w.sandbox("t") / "file").owner() == "nobody"
    assert (w.sandbox("t") / "stdout").owner() == "nobody"


async def test_what_its_user_may_not_read_is_not_fetched_for_a_task(world):
    """Else a task could read by way of the agent what is root's alone."""
    w = await world()
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        directory.chmod(0o755)
        for name, mode in (("open", 0o644), ("closed", 0o600)):
            (directory / name).write_text(name)
            (directory / name).chmod(mode)
            uris = [{"value": str(directory / name), "cache": True}]
            w.launch(task(f"root-{name}", f"cat {name}", uris=uris))
            await w.master.until(f"root-{name}", "TASK_FINISHED")
            w.launch(task(name, {"value": f"cat {name}", "user": "nobody"}, uris=uris))
        refused = await w.master.until_ended("closed")
        assert (refused["state"], refused["reason"]) == ("TASK_FAILED", "REASON_CONTAINER_LAUNCH_FAILED")
        assert "Permission denied" in refused["message"]
        await w.master.until("open", "TASK_FINISHED")
        assert w.output("open") == "open"


async def test_a_task_that_takes_too_much_memory_is_ended_and_told_so(world):
    w = await world()
    hog = "import time\nx=[]\nwhile True: x.append(bytearray(4*1024*1024)); time.sleep(0.005)"
    w.launch(task("t", ["python3", "python3", "-c", hog][1:], mem=32))
    ended = await w.master.until_ended("t")
    assert (ended["state"], ended["reason"]) == ("TASK_FAILED", "REASON_CONTAINER_LIMITATION_MEMORY")
    assert ended["message"] == "Memory limit exceeded: Requested: 64MB Maximum Used: 64MB"
    assert ended["limitation"]["resources"][0]["scalar"]["value"] == pytest.approx(64, abs=1)


async def test_a_child_that_takes_too_much_memory_ends_the_whole_task(world):
    w = await world()
    hog = "x=[]\\nwhile True: x.append(bytearray(4*1024*1024))"
    w.launch(task("t", f"printf '{hog}' > hog.py; python3 hog.py; sleep 1000", mem=32))
    ended = await w.master.until_ended("t")
    assert ended["reason"] == "REASON_CONTAINER_LIMITATION_MEMORY"


async def test_cpu_is_shared_by_default_and_limited_when_asked(world):
    w = await world()
    tasks = (
        task("share", "sleep 1000", cpus=0.5),
        task("hard", "sleep 1000", cpus=0.5, limits={"cpus": {"value": 0.25}}),
    )
    w.launch(*tasks)
    for name in ("share", "hard"):
        await w.master.until(name, "TASK_RUNNING")
    groups = {name: w.agent.runs["fw", name].container._cgroup.by_controller["cpu"] for name in ("share", "hard")}
    if (groups["share"] / "cpu.shares").exists():
        assert (groups["share"] / "cpu.shares").read_text() == "512\n"
        assert (groups["share"] / "cpu.cfs_quota_us").read_text() == "-1\n"
        assert (groups["hard"] / "cpu.cfs_quota_us").read_text() == "25000\n"
    else:
        assert (groups["hard"] / "cpu.max").read_text() == "25000 100000\n"


async def test_output_is_rotated_and_bounded(world):
    w = await world(log_bytes=4096, log_files=3)
    w.launch(task("t", "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo line $i; done"))
    await w.master.until_ended("t")
    sandbox = w.sandbox("t")
    assert sorted(path.name for path in sandbox.glob("stdout*")) == ["stdout", "stdout.1", "stdout.2"]
    assert all(path.stat().st_size <= 4096 for path in sandbox.glob("stdout*"))
    kept = "".join((sandbox / name).read_text() for name in ("stdout.2", "stdout.1", "stdout"))
    everything = "".join(f"line {n}\n" for n in range(1, 2001))
    assert len(kept) > 2 * 4096 - 200
    assert everything.endswith(kept), "whole lines, the newest, and none is lost in between"


async def test_a_task_cannot_make_the_agent_write_elsewhere_by_its_log(world, tmp_path):
    """It owns its sandbox: it may put links and directories in the way of the next log file."""
    w = await world(log_bytes=4096, log_files=2)
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    script = f"ln -sf {victim} stdout.1; mkdir stderr.1; touch stderr.1/x; seq 1 3000; seq 1 3000 >&2; ln -sf {victim} stdout; seq 1 3000"
    w.launch(task("t", script))
    assert (await w.master.until_ended("t"))["state"] == "TASK_FINISHED"
    assert victim.read_text() == "untouched"
    assert w.output("t", "stderr").endswith("2999\n3000\n"), "it only loses older output"


async def test_a_kill_while_its_files_are_fetched_ends_as_killed(world):
    w = await world()
    asked = asyncio.Event()

    async def never_answer(_reader, writer):
        asked.set()
        await writer.wait_closed()

    server = await asyncio.start_server(never_answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        w.launch(task("t", "true", uris=[{"value": f"http://127.0.0.1:{port}/file"}]))
        await asyncio.wait_for(asked.wait(), 60)
        w.agent.kill("fw", "t", None)
        ended = await w.master.until_ended("t")
    assert (ended["state"], ended["reason"]) == ("TASK_KILLED", "REASON_TASK_KILLED_DURING_LAUNCH")
    assert w.master.states("t") == ["TASK_KILLED"]


async def test_a_kill_right_after_the_launch_leaves_no_process(world):
    w = await world()
    for n in range(10):
        w.launch(task(f"t{n}", "echo $$; exec sleep 1000"))
        await asyncio.sleep(n * 0.01)
        w.agent.kill("fw", f"t{n}", grace(1))
    for n in range(10):
        assert (await w.master.until_ended(f"t{n}"))["state"] == "TASK_KILLED"
        output = w.sandbox(f"t{n}") / "stdout"
        assert not output.exists() or not output.read_text() or not alive(int(output.read_text()))


async def test_a_later_kill_can_shorten_the_grace_period_but_not_lengthen_it(world):
    w = await world()
    w.launch(task("t", "trap '' TERM; echo up; while true; do sleep 0.1; done", kill_policy=grace(600)))
    await eventually_async(lambda: w.output("t") == "up\n")
    w.agent.kill("fw", "t", None)
    w.agent.kill("fw", "t", grace(0.2))
    w.agent.kill("fw", "t", grace(600))
    assert (await w.master.until_ended("t"))["state"] == "TASK_KILLED"


async def test_the_others_of_a_group_have_the_grace_period_too(world):
    """A shell that dies of SIGTERM does not cut its child's orderly shutdown short."""
    w = await world()
    child = "trap 'sleep 0.4; echo done; exit 0' TERM; echo up; while true; do sleep 0.05; done"
    w.launch(task("t", f'sh -c "{child}" & wait'))
    await eventually_async(lambda: w.output("t") == "up\n")
    w.agent.kill("fw", "t", grace(600))
    await w.master.until("t", "TASK_KILLED")
    assert w.output("t") == "up\ndone\n"


async def test_a_task_that_runs_longer_than_it_may_fails(world):
    w = await world()
    w.launch(task("t", "sleep 1000", max_completion_time={"nanoseconds": 300_000_000}))
    ended = await w.master.until_ended("t")
    assert (ended["state"], ended["reason"]) == ("TASK_FAILED", "REASON_MAX_COMPLETION_TIME_REACHED")


async def test_many_tasks_at_once_all_run(world):
    w = await world()
    names = [f"t{n}" for n in range(20)]
    w.launch(*(task(name, f"echo {name}") for name in names))
    for name in names:
        assert (await w.master.until_ended(name, timeout=60))["state"] == "TASK_FINISHED"
        assert w.output(name) == f"{name}\n"


async def test_volumes_are_links_in_the_sandbox(world, tmp_path):
    w = await world()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "note").write_text("hello\n")
    volume = {"mode": "RW", "container_path": "data", "host_path": str(tmp_path / "data")}
    w.launch(task("t", "cat data/note", container={"type": "MESOS", "volumes": [volume]}))
    w.launch(task("ro", "true", container={"type": "MESOS", "volumes": [{**volume, "mode": "RO"}]}))
    w.launch(task("abs", "true", container={"type": "MESOS", "volumes": [{**volume, "container_path": "/x"}]}))
    await w.master.until("t", "TASK_FINISHED")
    assert w.output("t") == "hello\n"
    assert "read-only volumes need a container of type DOCKER" in (await w.master.until_ended("ro"))["message"]
    assert "use a relative container_path" in (await w.master.until_ended("abs"))["message"]


async def test_a_persistent_volume_is_found_again_by_the_next_task_until_it_is_destroyed(world):
    w = await world()

    def writes(task_id: str) -> dict:
        made = task(task_id, "echo $$ >> data/note; wc -l < data/note", container={"type": "MESOS"})
        disk = {
            "persistence": {"id": "../db.instance-1#data"},
            "volume": {"container_path": "data", "mode": "RW"},
        }
        made["resources"].append({"name": "disk", "type": "SCALAR", "scalar": {"value": 1}, "disk": disk})
        return made

    for number in ("1", "2"):
        w.launch(writes(number))
        await w.master.until_ended(number)
        assert w.output(number).strip() == number
    w.agent.destroy_volume("../db.instance-1#data")
    volumes = w.agent.layout.meta / "volumes"
    await eventually_async(lambda: not list(volumes.iterdir()))
    w.launch(writes("3"))
    await w.master.until_ended("3")
    assert w.output("3").strip() == "1"


async def test_shutting_a_framework_down_ends_its_tasks_without_a_word(world):
    w = await world()
    w.launch(task("t", "echo $$; exec sleep 1000"))
    w.launch(task("other", "sleep 1000"), framework_info={**framework(), "id": {"value": "fw2"}})
    pid = await pid_in(w, "t")
    await w.master.until("other", "TASK_RUNNING")
    w.agent.shut_down_framework("fw")
    await eventually_async(lambda: not alive(pid))
    await eventually_async(lambda: ("fw", "t") not in w.agent.runs)
    assert "TASK_KILLED" not in w.master.states("t")
    assert ("fw2", "other") in w.agent.runs


def launch_of(user: str | None = None, framework_user: str = "", **fields) -> Launch:
    command = {"value": "true", **({"user": user} if user else {})}
    return Launch(
        "agent", "c", framework(user=framework_user), task("t", command, **fields), Path("/sandbox"), Path("/meta")
    )


@pytest.mark.parametrize(
    ("me", "user", "framework_user", "expected"),
    [
        (0, None, "", None),
        (0, None, "root", None),
        (0, None, "nobody", "nobody"),
        (0, "nobody", "root", "nobody"),
        (65534, None, "nobody", None),
        (65534, None, "root", None),
        (65534, None, "no-such-user", None),
        (65534, "nobody", "root", None),
    ],
)
def test_whom_a_task_runs_as(monkeypatch, me, user, framework_user, expected):
    """The command's user, else the framework's; an agent that is not root runs the framework's tasks as itself."""
    monkeypatch.setattr(os, "geteuid", lambda: me)
    found = task_user(launch_of(user, framework_user))
    assert (found.name if found else None) == expected


@pytest.mark.parametrize(
    ("me", "user", "framework_user", "words"),
    [
        (0, "no-such-user", "", "no such user"),
        (0, None, "no-such-user", "no such user"),
        (65534, "root", "", "the agent does not run as root"),
    ],
)
def test_whom_a_task_cannot_run_as(monkeypatch, me, user, framework_user, words):
    monkeypatch.setattr(os, "geteuid", lambda: me)
    with pytest.raises(LaunchError, match=words):
        task_user(launch_of(user, framework_user))


@pytest.mark.parametrize(
    ("fields", "hard", "expected"),
    [
        ({"cpus": 0.5, "mem": 64}, False, Limits(0.5, 96 * MB, None)),
        ({"cpus": 0.5, "mem": 64}, True, Limits(0.5, 96 * MB, 0.5)),
        (
            {"cpus": 0.5, "mem": 64, "limits": {"cpus": {"value": 2}, "mem": {"value": 128}}},
            False,
            Limits(0.5, 160 * MB, 2.0),
        ),
        ({"limits": {"cpus": {"value": "Infinity"}, "mem": {"value": "Infinity"}}}, True, Limits(0.1, None, None)),
    ],
)
def test_limits_are_the_resources_and_memory_for_the_executor(fields, hard, expected):
    assert limits(launch_of(**fields), hard_cpu=hard) == expected
