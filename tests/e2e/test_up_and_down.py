"""`dromos up` and `dromos down` as a newcomer meets them."""

import os
import socket
from pathlib import Path

import pytest
import requests

from tests.support.cgroups import cgroups_named
from tests.support.platform import Platform
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("e2e-up-and-down")]


@pytest.fixture
def fresh(tmp_path):
    one = Platform(tmp_path / "state", ("--embedded-consul",))
    yield one
    one.down()


def test_up_ends_with_urls_and_a_sample_that_answers_and_down_leaves_nothing(fresh):
    done = fresh.up()
    assert done.returncode == 0, done.stdout + done.stderr + fresh.logs()
    for what, port in (("API", "api"), ("UI", "api"), ("Mesos", "mesos"), ("Consul", "consul"), ("Edge", "edge")):
        line = next(line for line in done.stdout.splitlines() if line.startswith(f"{what} "))
        assert f":{fresh.ports[port]}" in line
    assert "App /hello" in done.stdout and "Host: hello.localhost" in done.stdout
    assert fresh.edge("hello.localhost").text.startswith("hello, version 1"), "what up shows works at once"
    daemons = {"mesos", "consul", "framework", "registrator", "edge", "autoscale"}
    eventually(lambda: {row["name"] for row in fresh.json("status")["daemons"] if row["healthy"]} == daemons)
    again = fresh.up()
    assert again.returncode == 1 and "a platform already runs with state directory" in again.stderr

    assert processes_of(fresh.state_dir)
    agent = requests.get(f"http://127.0.0.1:{fresh.ports['mesos']}/slaves", timeout=60).json()["slaves"][0]["id"]
    assert fresh.down().returncode == 0
    assert processes_of(fresh.state_dir) == []
    assert cgroups_named(f"*{agent}*") == []
    assert not any(is_listening(port) for port in fresh.ports.values())
    assert fresh.run("status").returncode == 3
    assert "no platform runs" in fresh.down().stdout


def test_apps_are_back_after_down_and_up(fresh):
    assert fresh.up("--no-sample").returncode == 0
    fresh.deploy({"id": "/kept", "cmd": "sleep 1000", "cpus": 0.01, "mem": 16, "instances": 2}, "--wait")
    fresh.down()
    assert fresh.up("--no-sample").returncode == 0
    eventually(lambda: len(fresh.tasks("/kept")) == 2, timeout=60)


def test_a_crash_of_everything_at_once_is_cleared_by_down(fresh):
    assert fresh.up("--no-sample").returncode == 0
    fresh.deploy({"id": "/left", "cmd": "sleep 1000", "cpus": 0.01, "mem": 16}, "--wait")
    for name in ("supervisor", "framework", "registrator", "edge", "autoscale", "consul", "mesos"):
        fresh.kill_daemon(name)
    assert processes_of(fresh.state_dir), "the task and nginx live on"
    assert fresh.down().returncode == 0
    assert processes_of(fresh.state_dir) == []


def test_a_taken_port_is_one_line_that_names_the_flag_and_nothing_is_left(fresh):
    with socket.create_server(("127.0.0.1", fresh.ports["edge"])):
        done = fresh.up()
    assert done.returncode == 1
    port = fresh.ports["edge"]
    assert done.stderr == (
        f"error: edge cannot listen on 127.0.0.1:{port}: Address already in use; choose another port with --edge-port\n"
    )
    assert processes_of(fresh.state_dir) == []


def test_a_neighbour_that_is_away_is_named_and_everything_is_stopped(fresh):
    done = fresh.up("--mesos-master", "127.0.0.1:1", "--start-timeout", "20s")
    assert done.returncode == 1
    assert "error: not healthy after 20 s: " in done.stderr
    assert "framework mesos: " in done.stderr and "127.0.0.1:1" in done.stderr
    assert processes_of(fresh.state_dir) == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--api-port", "http"), "error: flag --api-port: Input should be a valid integer"),
        (("--state-dir", "/proc/nowhere"), "error: state directory /proc/nowhere cannot be written"),
    ],
)
def test_a_flag_that_cannot_be_used_is_one_line(fresh, flags, message):
    done = fresh.run("up", "--detach", *flags)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith(message) and done.stderr.count("\n") == 1


def processes_of(state_dir: Path) -> list[str]:
    """Command lines of the processes that have to do with this state directory, by argument, environment or working directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        if int(path.name) in (os.getpid(), os.getppid()):
            continue
        try:
            seen = (
                (path / "cmdline").read_bytes()
                + b"\0"
                + (path / "environ").read_bytes()
                + bytes((path / "cwd").readlink())
            )
        except OSError:
            continue
        if str(state_dir).encode() in seen:
            found.append((path / "cmdline").read_text().replace("\0", " "))
    return found


def is_listening(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=60):
            return True
    except ConnectionRefusedError:
        return False
