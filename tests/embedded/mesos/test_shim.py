"""The supervisor's own parts: output that is bounded to the byte, and a program that says what it cannot do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedded.mesos.runtimes import shim
from tests.support.waiting import eventually

CHECK = {
    "env": {"PATH": os.defpath},
    "cwd": "/",
    "uid": None,
    "gid": None,
    "groups": None,
    "cgroups": [],
    "memory": None,
    "pids": None,
    "stdout": None,
    "stderr": None,
    "timeout": 30.0,
}


def check(*argv: str, **orders: object) -> dict:
    """Runs the supervisor for a check; what it answers."""
    spec = {**CHECK, "file": argv[0], "argv": list(argv), **orders}
    done = subprocess.run(
        [sys.executable, "-I", "-S", shim.__file__, "check"],
        input=json.dumps(spec),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return json.loads(done.stdout)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=300), max_size=20),
    st.integers(10, 200),
    st.integers(1, 4),
)
def test_what_is_kept_of_the_output_is_its_end_within_the_bounds(tmp_path_factory, pieces, most, files):
    directory = tmp_path_factory.mktemp("log")
    log = shim.Log(str(directory / "out"), most, files, None)
    for piece in pieces:
        log.write(piece)
    log.close()
    names = [f"out.{n}" for n in range(files - 1, 0, -1)] + ["out"]
    assert {path.name for path in directory.iterdir()} <= set(names)
    contents = [(directory / name).read_bytes() for name in names if (directory / name).exists()]
    assert all(len(content) <= most for content in contents)
    everything, kept = b"".join(pieces), b"".join(contents)
    assert everything.endswith(kept)
    assert kept or not everything


def test_a_log_goes_on_in_the_same_file_but_not_in_a_link(tmp_path):
    path, outside = tmp_path / "out", tmp_path / "outside"
    outside.write_text("untouched")
    for fresh, text in ((True, b"one\n"), (False, b"two\n")):
        log = shim.Log(str(path), 1000, 2, None, fresh=fresh)
        log.write(text)
        log.close()
    assert path.read_bytes() == b"one\ntwo\n"
    path.unlink()
    path.symlink_to(outside)
    log = shim.Log(str(path), 1000, 2, None, fresh=False)
    log.write(b"three\n")
    log.close()
    assert path.read_bytes() == b"three\n"
    assert outside.read_text() == "untouched"


@pytest.mark.timeout(60)
def test_a_log_does_not_wait_for_the_reader_of_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "out")
    log = shim.Log(str(tmp_path / "out"), 1000, 2, None, fresh=False)
    log.write(b"text")
    log.close()
    assert (tmp_path / "out").read_bytes() == b"text"


def test_a_command_tells_its_exit_and_takes_its_descendants_along():
    result = check("/bin/sh", "-c", "setsid sleep 1000 & exit 3")
    assert os.waitstatus_to_exitcode(result["status"]) == 3
    assert not result["timed_out"]


def test_a_command_that_hangs_is_ended_at_its_time():
    result = check("/bin/sh", "-c", "trap '' TERM; sleep 1000", timeout=0.2)
    assert result["timed_out"]
    assert os.waitstatus_to_exitcode(result["status"]) == -9


BEGIN_A_SESSION = """
import os, subprocess, sys
nothing, out = os.open("/dev/null", os.O_RDONLY), os.dup(1)
command = [*sys.argv[2:], "session", str(nothing), str(out), str(out)]
shim = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=(nothing, out))
shim.communicate(sys.argv[1].encode())
"""


def test_a_session_ends_with_the_process_that_began_it():
    orders = json.dumps({**CHECK, "file": "sh", "argv": ["sh", "-c", "echo $$; exec sleep 1000"]})
    program = [sys.executable, "-c", BEGIN_A_SESSION, orders, sys.executable, "-I", "-S", shim.__file__]
    with subprocess.Popen(program, stdout=subprocess.PIPE) as agent:
        assert agent.stdout is not None
        pid = int(agent.stdout.readline())
        agent.kill()
        eventually(lambda: not Path(f"/proc/{pid}").exists())


@pytest.mark.parametrize(
    ("orders", "words"),
    [
        ({"file": "/no/such"}, "Failed to execute '/no/such': No such file or directory"),
        ({"cwd": "/no/such"}, "Failed to enter '/no/such': No such file or directory"),
        ({"cgroups": ["/no/such"]}, "Failed to join its cgroups: No such file or directory"),
        ({"file": "/etc/passwd"}, "Failed to execute '/etc/passwd': Permission denied"),
    ],
)
def test_what_cannot_be_started_says_at_which_step(orders, words):
    assert check("true", **orders) == {"error": words}


def test_start_times_tell_processes_apart():
    first = subprocess.Popen(["sleep", "1000"])
    try:
        assert shim.start_time(first.pid) > shim.start_time(1)
        assert shim.start_time(first.pid) >= shim.start_time(os.getpid())
        assert first.pid in shim.descendants()
    finally:
        first.kill()
        first.wait()
