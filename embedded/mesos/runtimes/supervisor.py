"""Starting the supervisor of a task (shim.py), and finding it again: by its file lock, its pid and its start time."""

import asyncio
import fcntl
import os
import subprocess
import sys
from pathlib import Path

from embedded.mesos.durable import read_json
from embedded.mesos.runtimes import shim
from embedded.mesos.runtimes.proc import start_time

SHIM = (sys.executable, "-I", "-S", shim.__file__)
LOCK, LAUNCH, STARTED, EXIT, KILL = "lock", "launch.json", "started.json", "exit.json", "kill.json"


def spawn(directory: Path) -> tuple[int, int]:
    """Starts the shim; (the read end of its ready pipe, its pid). The lock passes to it without a moment in which it is free."""
    lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    ready_read, ready_write = os.pipe2(os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        process = subprocess.Popen(
            [*SHIM, "task", str(directory), str(lock), str(ready_write)],
            pass_fds=(lock, ready_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            env={"PATH": os.defpath},
        )
    except OSError:
        os.close(ready_read)
        raise
    finally:
        os.close(lock)
        os.close(ready_write)
    process.returncode = 0  # its end is awaited by pidfd, not by subprocess
    return ready_read, process.pid


def is_supervised(directory: Path) -> bool:
    """True while the shim of this directory lives."""
    try:
        lock = os.open(directory / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def is_starting(directory: Path) -> bool:
    return is_supervised(directory) and not (directory / STARTED).exists()


def open_supervisor(directory: Path) -> int | None:
    """A pidfd of the shim; None if it has ended. Its start time tells it from a later process with the same pid."""
    started = read_json(directory / STARTED)
    return _open_process(started["shim"], started["shim_start"]) if started else None


def _open_process(pid: int, start: int) -> int | None:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    if start_time(pid) == start:
        return fd
    os.close(fd)
    return None


async def read_line(fd: int) -> str:
    """Text from a pipe until its end or the end of a line."""
    loop = asyncio.get_running_loop()
    data = b""
    os.set_blocking(fd, False)
    while not data.endswith(b"\n"):
        readable: asyncio.Future[None] = loop.create_future()
        loop.add_reader(fd, _set, readable)
        try:
            await readable
        finally:
            loop.remove_reader(fd)
        piece = os.read(fd, 4096)
        if not piece:
            break
        data += piece
    return data.decode(errors="replace").strip()


def _set(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
