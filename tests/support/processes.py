"""Programs that tests run: a free port to give them, and an end that is certain."""

import contextlib
import functools
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.support.forked import MODULES, Forked

REPOSITORY = Path(__file__).resolve().parents[2]
Process = Forked | subprocess.Popen[bytes]
FIRST, LAST = 10_000, 30_000  # of the ports that tests have their daemons listen on


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on, nor will before the caller does."""
    return free_ports(1)[0]


def free_ports(count: int) -> tuple[int, int]:
    """First and last of `count` neighbouring ports that nobody listens on."""
    return _own_ports().take(count)


class Ports:
    """Ports of 127.0.0.1 that are handed out in turn, below those that the kernel gives to clients.

    Each test process has some of its own: what a daemon is told to listen on is still free when it has started.
    """

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last
        self._next = random.randrange(first, last)  # there may be a second run on this machine

    def take(self, count: int) -> tuple[int, int]:
        while True:
            if self._next + count - 1 > self.last:
                self._next = self.first
            start = self._next
            self._next += count
            with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
                for port in range(start, start + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
                return start, start + count - 1


@functools.cache
def _own_ports() -> Ports:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    each = (_first_of_clients() - FIRST) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    first = FIRST + worker * each
    return Ports(first, first + each - 1)


def _first_of_clients() -> int:
    """Where the ports end that no client may have by chance: a kernel of containers gives them 16,000 and up."""
    kernels = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(kernels.read_text().split()[0]) if kernels.exists() else LAST
    return min(first, LAST) if first > FIRST + 5_000 else LAST


def start(
    command: Sequence[str],
    output: Path,
    errors: Path | None = None,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path = REPOSITORY,
) -> Process:
    """Starts a program in a session, and so a process group, of its own. What it says is appended to `output`, what it says of
    errors to `errors` if that is another file. `env` is added to this process's environment."""
    whole = {**os.environ, **(env or {})}
    if tuple(command[:2]) == (sys.executable, "-m") and command[2] in MODULES:
        return Forked(command[2], command[3:], output, errors or output, whole, cwd)
    with output.open("ab") as out, (errors or output).open("ab") as err:
        return subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=whole, cwd=cwd, start_new_session=True
        )


@contextlib.contextmanager
def running(
    command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, grace: float = 5.0
) -> Iterator[Process]:
    """Runs a program, its output in `log`; its whole process group ends with the block."""
    process = start(command, log, env=env)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=grace)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def finished(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path = REPOSITORY, timeout: float = 60.0
) -> "subprocess.CompletedProcess[str]":
    """Runs a program to its end, as `subprocess.run` does."""
    with tempfile.TemporaryDirectory(prefix="dromos-finished-") as scratch:
        output, errors = Path(scratch, "stdout"), Path(scratch, "stderr")
        process = start(command, output, errors, env=env, cwd=cwd)
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
            process.wait()
        return subprocess.CompletedProcess(list(command), code, output.read_text(), errors.read_text())
