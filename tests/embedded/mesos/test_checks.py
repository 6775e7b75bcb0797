"""Health checks and checks that the agent runs for a task, as Mesos tells their results."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded.mesos.checks import CheckSettings, HealthVerdict, kind_of, watch_check
from tests.support.mesos_agent import container, framework, grace, task
from tests.support.mesos_agent import world as world
from tests.support.processes import free_port
from tests.support.waiting import eventually_async

HEALTH = "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED"
CHECK = "REASON_TASK_CHECK_STATUS_UPDATED"
QUICK = {"delay_seconds": 0.0, "interval_seconds": 0.1, "timeout_seconds": 60.0, "grace_period_seconds": 0.0}


def command_check(script, **fields):
    return {"type": "COMMAND", "command": {"shell": True, "value": script}, **QUICK, **fields}


def health(world, task_id):
    return [update.get("healthy") for update in world.master.of(task_id) if update["state"] == "TASK_RUNNING"]


async def test_healthy_is_absent_first_then_told_when_it_changes(world):
    w = await world()
    w.launch(task("t", "sleep 1000", health_check=command_check("test ! -e sick", consecutive_failures=10_000)))
    await eventually_async(lambda: health(w, "t") == [None, True])
    assert w.master.of("t")[-1]["reason"] == HEALTH
    (w.sandbox("t") / "sick").touch()
    await eventually_async(lambda: False in health(w, "t"))
    (w.sandbox("t") / "sick").unlink()
    await eventually_async(lambda: health(w, "t")[-1] is True)
    told = [
        healthy
        for n, healthy in enumerate(health(w, "t"))
        if n == 0 or healthy is False or health(w, "t")[n - 1] is not healthy
    ]
    assert told == health(w, "t"), "good results are told once, bad ones each time"


async def test_a_task_that_stays_unhealthy_is_killed_and_told_as_killed_not_healthy(world):
    w = await world()
    w.launch(
        task("t", "sleep 1000", health_check=command_check("exit 1", consecutive_failures=3)),
        framework_info=framework("TASK_KILLING_STATE"),
    )
    ended = await w.master.until_ended("t")
    assert (ended["state"], ended["healthy"]) == ("TASK_KILLED", False)
    assert health(w, "t") == [None, False, False, False]
    assert w.master.states("t")[-2:] == ["TASK_KILLING", "TASK_KILLED"]


async def test_failures_in_the_grace_period_do_not_count_until_the_first_success(world):
    w = await world()
    check = command_check("test -e ok", consecutive_failures=1, grace_period_seconds=600)
    w.launch(task("t", "sleep 0.6; touch ok; sleep 1000", health_check=check))
    await eventually_async(lambda: health(w, "t") == [None, True])
    (w.sandbox("t") / "ok").unlink()
    assert (await w.master.until_ended("t"))["healthy"] is False


async def test_http_and_tcp_checks_reach_a_process(world):
    w = await world()
    port = free_port()
    serve = f"exec python3 -m http.server --bind 127.0.0.1 {port}"
    w.launch(
        task(
            "http",
            serve,
            health_check={
                "type": "HTTP",
                "http": {"port": port, "path": "/", "scheme": "http"},
                **QUICK,
                "grace_period_seconds": 600.0,
            },
        )
    )
    await eventually_async(lambda: health(w, "http") == [None, True])
    w.launch(
        task("missing", "sleep 1000", health_check={"type": "HTTP", "http": {"port": port, "path": "/none"}, **QUICK})
    )
    w.launch(task("tcp", "sleep 1000", health_check={"type": "TCP", "tcp": {"port": port}, **QUICK}))
    w.launch(task("closed", "sleep 1000", health_check={"type": "TCP", "tcp": {"port": free_port()}, **QUICK}))
    await eventually_async(lambda: health(w, "tcp") == [None, True])
    assert (await w.master.until_ended("missing"))["healthy"] is False
    assert (await w.master.until_ended("closed"))["healthy"] is False


async def test_a_check_that_hangs_counts_as_failed_and_leaves_no_process(world):
    w = await world()
    hangs = "setsid sleep 1000 & echo $$ $! > pids; sleep 1000"
    check = command_check(hangs, consecutive_failures=10_000, timeout_seconds=0.3)
    w.launch(task("t", "sleep 1000", health_check=check))
    shell, child = map(int, await eventually_async(lambda: (w.sandbox("t") / "pids").read_text().split()))
    await eventually_async(lambda: False in health(w, "t"))
    await eventually_async(lambda: not _exists(shell) and not _exists(child))


def _exists(pid):
    return Path(f"/proc/{pid}").exists()


async def test_a_command_check_has_the_tasks_environment_and_its_own(world):
    w = await world()
    check = command_check('test "$A$B" = onetwo && test -e stdout')
    check["command"]["environment"] = {"variables": [{"name": "B", "value": "two"}]}
    w.launch(task("t", "sleep 1000", env={"A": "one"}, health_check=check))
    await eventually_async(lambda: health(w, "t") == [None, True])


async def test_checks_tell_their_result_when_it_changes(world):
    w = await world()
    check = {"type": "COMMAND", "command": {"command": {"shell": True, "value": "exit $(cat code)"}}, **QUICK}
    w.launch(task("t", "echo 3 > code; sleep 1000", check=check))

    def results():
        return [update["check_status"] for update in w.master.of("t") if "check_status" in update]

    await eventually_async(lambda: {"type": "COMMAND", "command": {"exit_code": 3}} in results())
    assert results()[0] == {"type": "COMMAND", "command": {}}, "no result at first"
    assert w.master.of("t")[-1]["reason"] == CHECK
    assert "healthy" not in w.master.of("t")[-1]
    (w.sandbox("t") / "code").write_text("0")
    await eventually_async(lambda: results()[-1] == {"type": "COMMAND", "command": {"exit_code": 0}})


async def test_http_and_tcp_results(world):
    w = await world()
    port, closed = free_port(), free_port()
    serve = f"exec python3 -m http.server --bind 127.0.0.1 {port}"
    w.launch(
        task(
            "serve", serve, health_check={"type": "TCP", "tcp": {"port": port}, **QUICK, "grace_period_seconds": 600.0}
        )
    )
    await eventually_async(lambda: health(w, "serve") == [None, True])
    w.launch(task("http", "sleep 1000", check={"type": "HTTP", "http": {"port": port, "path": "/none"}, **QUICK}))
    w.launch(task("tcp", "sleep 1000", check={"type": "TCP", "tcp": {"port": closed}, **QUICK}))
    await eventually_async(
        lambda: w.master.of("http")[-1].get("check_status") == {"type": "HTTP", "http": {"status_code": 404}}
    )
    await eventually_async(
        lambda: w.master.of("tcp")[-1].get("check_status") == {"type": "TCP", "tcp": {"succeeded": False}}
    )


async def test_checks_of_a_container_run_inside_it_and_reach_its_address(world, dockerd, busybox):
    w = await world(docker_url=dockerd.url)
    serve = "echo ok > /www/index.html; exec httpd -f -p 80 -h /www"
    host_port = free_port()
    slow = {**QUICK, "grace_period_seconds": 600.0}
    w.launch(
        task(
            "command",
            serve,
            container=container(busybox),
            health_check={**command_check("test -e /www/index.html"), **slow},
        ),
        task(
            "http",
            serve,
            container=container(busybox),
            health_check={"type": "HTTP", "http": {"port": 80, "path": "/"}, **slow},
        ),
        task("tcp", serve, container=container(busybox), health_check={"type": "TCP", "tcp": {"port": 80}, **slow}),
        task(
            "mapped",
            serve,
            container=container(busybox, ports=[(host_port, 80)]),
            health_check={"type": "TCP", "tcp": {"port": host_port}, **slow},
        ),
    )
    for name in ("command", "http", "tcp", "mapped"):
        await eventually_async(lambda name=name: True in health(w, name), 60, what=f"{name} is healthy")
    hang = command_check("sleep 1000", timeout_seconds=0.3, consecutive_failures=1)
    w.launch(task("hangs", "sleep 1000", container=container(busybox), health_check=hang, kill_policy=grace(0)))
    assert (await w.master.until_ended("hangs"))["healthy"] is False


async def test_health_goes_on_after_a_restart(world):
    w = await world()
    w.launch(task("t", "sleep 1000", health_check=command_check("test ! -e sick", consecutive_failures=2)))
    await eventually_async(lambda: health(w, "t") == [None, True])
    await w.restart()
    (w.sandbox("t") / "sick").touch()
    assert (await w.master.until_ended("t"))["healthy"] is False


async def test_a_kill_stops_the_checks(world):
    w = await world()
    check = command_check("echo x >> checked", consecutive_failures=1)
    w.launch(task("t", "trap 'sleep 0.5; exit 0' TERM; while true; do sleep 0.05; done", health_check=check))
    await eventually_async(lambda: health(w, "t") == [None, True])
    w.agent.kill("fw", "t", None)
    loop = asyncio.get_running_loop()
    killed = loop.time()
    await eventually_async(lambda: loop.time() > killed + 0.2)
    count = len((w.sandbox("t") / "checked").read_text().split())
    ended = await w.master.until_ended("t")
    assert len((w.sandbox("t") / "checked").read_text().split()) <= count + 1, "at most the one that had begun"
    assert "healthy" not in ended


class Here:
    """As much of a container as a check of its port needs."""

    def address(self, port):
        return "127.0.0.1", port


async def test_a_check_ends_when_it_is_told_to_at_whatever_moment_of_its_connection():
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    check = {"type": "TCP", "tcp": {"port": server.sockets[0].getsockname()[1]}, **QUICK, "interval_seconds": 1000.0}
    async with server:
        for moments in range(25):
            watching = asyncio.create_task(watch_check(check, Here(), lambda result: None, CheckSettings()))
            for _ in range(moments):
                await asyncio.sleep(0)
            watching.cancel()
            done, _ = await asyncio.wait([watching], timeout=30)
            assert done, f"cancelled after {moments} turns of the loop, it goes on"


@given(st.lists(st.booleans()), st.integers(1, 5))
def test_a_task_is_killed_exactly_after_so_many_failures_in_a_row(results, most):
    verdict = HealthVerdict(consecutive_failures=most, grace_period=0.0)
    in_a_row = 0
    for healthy in results:
        in_a_row = 0 if healthy else in_a_row + 1
        told = verdict.result(healthy, since_start=1.0)
        assert (told is not None and told[1]) == (in_a_row >= most)
        if told is not None and told[1]:
            break


@given(st.lists(st.booleans(), min_size=1))
def test_in_the_grace_period_only_success_is_told(results):
    verdict = HealthVerdict(consecutive_failures=1, grace_period=10.0)
    for n, healthy in enumerate(results):
        told = verdict.result(healthy, since_start=5.0)
        assert (told is None) == (not any(results[: n + 1]) or (healthy and any(results[:n]) and results[n - 1]))
        if told and told[1]:
            break


@pytest.mark.parametrize(
    ("check", "kind"),
    [
        ({"type": "TCP"}, "TCP"),
        ({"type": "UNKNOWN", "http": {}}, "HTTP"),
        ({"tcp": {}}, "TCP"),
        ({"command": {}}, "COMMAND"),
    ],
)
def test_old_frameworks_give_no_type(check, kind):
    assert kind_of(check) == kind


async def test_a_check_that_runs_when_the_task_ends_ends_with_it(world):
    w = await world(cgroups=False)
    check = command_check("echo $$ > pid; setsid sleep 1000 & sleep 1000", timeout_seconds=600.0)
    w.launch(task("t", "while [ ! -e go ]; do sleep 0.02; done", health_check=check))
    pid = int(await eventually_async(lambda: (w.sandbox("t") / "pid").read_text().strip()))
    (w.sandbox("t") / "go").touch()
    await w.master.until("t", "TASK_FINISHED")
    await eventually_async(lambda: not _exists(pid))


@pytest.mark.parametrize("end", ["stop", "destroy"])
async def test_a_command_of_a_check_ends_before_its_agent_has(world, tmp_path, end):
    w = await world()
    mark = tmp_path / "checked"
    running = command_check(f"echo $$ > {mark}; sleep 1000", timeout_seconds=1000.0)
    w.launch(task("t", "sleep 1000", health_check=running))
    pid = await eventually_async(lambda: int(mark.read_text()))
    await getattr(w.agent, end)()
    assert not Path(f"/proc/{pid}").exists()
