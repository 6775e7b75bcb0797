"""`dromos exec` and `dromos logs -f` beside tasks of the embedded Mesos and of Apache Mesos 1.11 alike."""

import hashlib
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real_mesos.conftest import PATIENCE
from tests.support.cli import Done, dromos
from tests.support.framework import Framework
from tests.support.platform import DROMOS, ROOT
from tests.support.pty_program import on_terminal
from tests.support.waiting import eventually

SMALL = {"cpus": 0.01, "mem": 16}


@pytest.fixture
def task(framework: Framework) -> str:
    """The sandbox of a running task, whose `file` holds a line."""
    app = {"id": "/beside", "cmd": "pwd > file; sleep 1000", "env": {"COLOUR": "blue"}, **SMALL}
    framework.deploy(app, PATIENCE)

    def sandbox() -> str:
        return dromos(framework.url, "exec", "/beside", "cat", "file").out.strip()

    return eventually(sandbox, timeout=PATIENCE)


def run(framework: Framework, *args: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [*DROMOS, "--api-url", framework.url, *args], input=stdin, capture_output=True, timeout=PATIENCE, cwd=ROOT
    )


def test_a_command_has_the_tasks_place_and_gives_its_output_and_its_end(framework: Framework, task: str):
    script = 'pwd; echo "$COLOUR $MARATHON_APP_ID"; echo wrong >&2; cat; exit 7'
    done: Done = dromos(framework.url, "exec", "/beside", "--", "sh", "-c", script)
    assert (done.out, done.err, done.code) == (f"{task}\nblue /beside\n", "wrong\n", 7), "and an empty input"
    found = dromos(framework.url, "--json", "exec", "/beside", "sh", "-c", "echo -n one; kill -9 $$").json
    assert (found["stdout"], found["exitCode"]) == ("one", 137)


def test_stdin_reaches_the_command_whole_and_so_does_its_end(framework: Framework, task: str):
    given = bytes(range(256)) * 2000
    done = run(framework, "exec", "-i", "/beside", "sha256sum", stdin=given)
    assert (done.stdout.decode().split()[0], done.returncode) == (hashlib.sha256(given).hexdigest(), 0), done.stderr


def test_a_person_has_a_shell_on_a_terminal(framework: Framework, task: str):
    command = [*DROMOS, "--api-url", framework.url, "exec", "-it", "/beside", "sh"]
    with on_terminal(command, 33, 101, env={"TERM": "dumb", "PYTHONPATH": str(ROOT)}) as shell:
        shell.type("tty; echo $TERM-$COLOUR\r")
        shell.expect("/dev/pts/")
        shell.expect("dumb-blue")
        shell.type("stty size\r")
        shell.expect("33 101")
        shell.type("sh -c 'trap \"echo size; stty size\" WINCH; echo go; while sleep 0.1; do :; done'\r")
        shell.expect("\ngo")
        shell.resize(20, 70)
        shell.expect("20 70")
        shell.type("\x03")
        shell.expect("^C")
        shell.type("echo still $((40 + 2))\r")
        shell.expect("still 42")
        shell.type("exit 7\r")
        assert shell.end() == 7
        assert shell.settings_are_back


def test_a_terminal_that_is_none_is_told_at_once(framework: Framework, task: str):
    done = run(framework, "exec", "-it", "/beside", "sh")
    assert (done.returncode, b"stdin is not a terminal" in done.stderr) == (1, True)


def test_a_command_ends_with_its_client(framework: Framework, task: str):
    command = [*DROMOS, "--api-url", framework.url, "exec", "/beside", "sh", "-c", "echo $$; exec sleep 1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as client:
        assert client.stdout is not None
        pid = int(client.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        client.send_signal(signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{pid}").exists(), timeout=PATIENCE, what="the command is gone")


def test_logs_are_followed_from_one_instance_to_the_next(framework: Framework):
    cmd = 'n=0; while true; do n=$((n + 1)); echo "$MESOS_TASK_ID line $n"; sleep 0.2; done'
    framework.deploy({"id": "/talks", "cmd": cmd, **SMALL}, PATIENCE)
    command = [*DROMOS, "--api-url", framework.url, "logs", "-f", "/talks"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as client:
        assert client.stdout is not None
        try:
            lines = iter(client.stdout)
            first = framework.tasks("/talks")[0]["id"]
            assert _until(lines, "line 3").startswith(first)
            framework.change("PUT", "/v2/apps/talks", {"env": {"VERSION": "2"}})
            framework.settled(PATIENCE)
            second = framework.tasks("/talks")[0]["id"]
            assert f"{second} line 2" in _until(lines, f"{second} line 2")
        finally:
            client.kill()


def test_logs_and_commands_find_a_pods_containers(framework: Framework):
    containers: list[dict[str, Any]] = [
        {"name": name, "exec": {"command": {"shell": f"echo I am {name}; sleep 1000"}}, "resources": SMALL}
        for name in ("left", "right")
    ]
    framework.change("POST", "/v2/pods", {"id": "/pair", "containers": containers})
    framework.settled(PATIENCE)
    text = eventually(
        lambda: out if (out := dromos(framework.url, "logs", "/pair").out).count("I am") == 2 else "", timeout=PATIENCE
    )
    labels = sorted(line.split()[0] for line in text.splitlines())
    assert [label.split(".")[1] for label in labels] == ["left", "right"]
    for label in labels:
        found = dromos(framework.url, "exec", label, "cat", "stdout")
        assert found.out == f"I am {label.split('.')[1]}\n", found.err
    [instance] = framework.get("/v2/pods/pair::status")["instances"]
    for container in instance["containers"]:
        files = f"/v2/tasks/{container['containerId']}/files"
        assert {file["path"] for file in framework.get(files)["files"]} >= {"stdout", "stderr"}
        assert framework.get(f"{files}/read?path=stdout&offset=0")["data"] == f"I am {container['name']}\n"
        assert framework.request("GET", f"{files}/download?path=stdout").text == f"I am {container['name']}\n"


def _until(lines: Iterator[str], text: str) -> str:
    return next(line for line in lines if text in line)
