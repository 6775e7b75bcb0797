"""Programs that tests run: a free port to give them, and an end that is certain."""

import contextlib
import functools
import os
import random
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


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
    each = 20_000 // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    first = 10_000 + worker * each
    return Ports(first, first + each - 1)


@contextlib.contextmanager
def running(
    command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, grace: float = 5.0
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a program in a process group of its own, its output in `log`; the whole group ends with the block."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(command),
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
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
