"""A Docker daemon of our own starts where none runs, works beside others, and leaves nothing behind, even after a crash."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
import requests

from embedded.mesos.runtimes import dockerd as daemon
from tests.support.cgroups import cgroups_named
from tests.support.docker import BUSYBOX, Dockerd, root_filesystem
from tests.support.processes import free_port
from tests.support.waiting import eventually


@pytest.fixture
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="dromos-d-"))
    yield path
    daemon.stop(path)
    if path.exists():
        path.rmdir()


def own_traces(directory: Path, bridge: str) -> list[str]:
    """What the machine still has of a daemon: processes, mounts, interfaces, cgroups, rules."""
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(directory) in line]
    links = [line for line in subprocess.check_output(["ip", "-o", "link"], text=True).splitlines() if bridge in line]
    groups = cgroups_named(bridge)
    rules = [
        line
        for line in subprocess.check_output(["iptables", "--wait", "-t", "nat", "-S"], text=True).splitlines()
        if bridge in line
    ]
    running = [f"process {pid}" for pid in daemon._processes(f"{directory}/")]
    return mounts + links + groups + rules + running


def bridge_of(client: docker.DockerClient) -> str:
    return str(client.networks.get("bridge").attrs["Options"]["com.docker.network.bridge.name"])


def serving_container(url: str, port: int) -> docker.DockerClient:
    client = docker.DockerClient(base_url=url, version="auto")
    client.api.import_image_from_data(root_filesystem(), repository="t", tag="1")
    client.containers.run(
        "t:1",
        ["/bin/sh", "-c", "echo hello > /www/index.html; exec httpd -f -p 80 -h /www"],
        detach=True,
        ports={"80/tcp": ("127.0.0.1", port)},
    )
    return client


def test_a_published_port_of_a_container_answers_and_stop_leaves_no_trace(directory: Path, dockerd: Dockerd) -> None:
    """It runs beside the test session's own daemon: both have a bridge, and neither loses its rules."""
    port = free_port()
    client = serving_container(daemon.start(directory), port)
    answer = eventually(lambda: requests.get(f"http://127.0.0.1:{port}/", timeout=30).text)
    assert answer == "hello\n"
    client.networks.create("extra")
    bridge = bridge_of(client)
    assert own_traces(directory, bridge)
    client.close()
    assert dockerd.client.ping()

    daemon.stop(directory)

    assert own_traces(directory, bridge) == []
    assert not daemon.answers(f"unix://{directory}/docker.sock")
    assert not directory.exists()


def test_stop_after_a_crash_of_the_daemon_ends_the_containers_too(directory: Path) -> None:
    client = serving_container(daemon.start(directory), free_port())
    bridge = bridge_of(client)
    inside = client.containers.list()[0].attrs["State"]["Pid"]
    client.close()
    os.kill(int((directory / "dockerd.pid").read_text()), signal.SIGKILL)
    eventually(lambda: not daemon.answers(f"unix://{directory}/docker.sock"))
    assert Path(f"/proc/{inside}").exists(), "the container outlives the daemon's crash, or this test shows nothing"

    daemon.stop(directory)

    eventually(lambda: not Path(f"/proc/{inside}").exists())
    assert own_traces(directory, bridge) == []


def test_start_finds_the_daemon_that_already_runs_there(directory: Path) -> None:
    url = daemon.start(directory)
    pid = (directory / "dockerd.pid").read_text()
    assert daemon.start(directory) == url
    assert (directory / "dockerd.pid").read_text() == pid


def test_sweep_ends_the_daemon_of_a_process_that_died(directory: Path) -> None:
    code = (
        "from pathlib import Path; from embedded.mesos.runtimes import dockerd as daemon; "
        f"daemon.start(Path({str(directory)!r}), die_with_parent=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as owner:
        eventually(lambda: daemon.answers(f"unix://{directory}/docker.sock"), timeout=60)
        daemon.sweep(directory.parent, directory.name)
        eventually(lambda: daemon.answers(f"unix://{directory}/docker.sock"), what="the owner lives: it is left alone")
        owner.kill()
        owner.wait()
    daemon.sweep(directory.parent, directory.name)
    assert not directory.exists()


def test_a_daemon_that_cannot_start_says_why(directory: Path) -> None:
    (directory / "data").write_text("a file where a directory is to be")
    with pytest.raises(daemon.DockerdError, match=r"dockerd does not start: .*data.*; see .*dockerd.log"):
        daemon.start(directory)
    assert list(directory.iterdir()) == [directory / "dockerd.log"]
    (directory / "dockerd.log").unlink()


def test_too_long_a_path_is_refused_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(daemon.DockerdError, match="choose a shorter state directory"):
        daemon.start(tmp_path / ("x" * 100))


def test_nothing_answers_at_an_address_where_nobody_listens(tmp_path: Path) -> None:
    assert not daemon.answers(f"unix://{tmp_path}/none.sock")
    assert not daemon.answers(f"tcp://127.0.0.1:{free_port()}")
    assert not daemon.answers("no address at all")


def test_docker_url_takes_the_given_one_then_the_variable_then_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    assert daemon.docker_url() == "unix:///var/run/docker.sock"
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    assert daemon.docker_url() == "tcp://127.0.0.1:1"
    assert daemon.docker_url("unix:///x") == "unix:///x"


def test_the_busybox_image_runs_a_shell(dockerd: Dockerd, busybox: str) -> None:
    assert BUSYBOX.exists()
    assert dockerd.client.containers.run(busybox, ["/bin/sh", "-c", "echo $((6*7))"], remove=True) == b"42\n"
