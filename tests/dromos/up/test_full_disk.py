"""What the supervisor does when its state directory has no room left: a small file system of its own, filled to the last byte."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dromos.up.plan import Daemon
from dromos.up.process import rotate
from dromos.up.state import StateDir
from dromos.up.supervisor import Supervisor
from tests.support.waiting import eventually_async

PROGRAM = "import time\ntime.sleep(600)"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)], check=True)
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def fill(disk: Path) -> None:
    with (disk / "filler").open("ab") as file, contextlib.suppress(OSError):
        while True:
            os.write(file.fileno(), b"\0" * 4096)


async def test_a_daemon_that_dies_meanwhile_is_started_all_the_same_and_remembered_when_there_is_room(
    disk: Path,
) -> None:
    state = StateDir(disk)
    state.create()
    daemon = Daemon("a", (sys.executable, "-c", PROGRAM), health="")
    supervisor = Supervisor([daemon], state, log_limit=1000)
    stop = asyncio.Event()
    running = asyncio.create_task(supervisor.run(stop))
    try:
        first = await eventually_async(lambda: state.pid_file("a").read())
        fill(disk)
        first.send(signal.SIGKILL)
        pid = await eventually_async(lambda: _child(but=first.pid))
        assert not running.done()
        (disk / "filler").unlink()
        second = await eventually_async(lambda: state.pid_file("a").read(), timeout=30)
        assert second.pid == pid
    finally:
        stop.set()
        await running
        supervisor.stop_all()
    assert not second.alive


def test_a_log_that_cannot_be_moved_aside_stays_as_it_was(disk: Path) -> None:
    log = disk / "x.log"
    log.write_bytes(b"a" * 100_000)
    (disk / "x.log.1").write_bytes(b"older")
    fill(disk)
    with pytest.raises(OSError, match="No space left"):
        rotate(log, limit=1000)
    assert log.stat().st_size == 100_000 and (disk / "x.log.1").read_bytes() == b"older"
    assert sorted(path.name for path in disk.iterdir()) == ["filler", "x.log", "x.log.1"]
    (disk / "filler").unlink()
    rotate(log, limit=1000)
    assert log.stat().st_size == 0 and (disk / "x.log.1").stat().st_size == 100_000


def _child(*, but: int) -> int | None:
    """The pid of our daemon, if it is another one now."""
    for path in Path("/proc/self/task").glob("*/children"):
        for pid in map(int, path.read_text().split()):
            with contextlib.suppress(OSError):
                if pid != but and PROGRAM.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid
    return None
