"""A command beside a task that is a process: below a supervisor of its own, its streams pipes or a terminal of the agent's."""

import asyncio
import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
from dataclasses import dataclass

import orjson

from embedded.mesos.runtimes.base import Json, LaunchError, ProbeError, Terminal
from embedded.mesos.runtimes.descriptors import Readers, Writer
from embedded.mesos.runtimes.supervisor import SHIM


@dataclass
class _Streams:
    """`theirs`: stdin, stdout and stderr of the command; `ours`: what we write to, and what we read under which name."""

    theirs: list[int]
    writes: int
    reads: dict[int, str]
    terminal: int | None = None

    @classmethod
    def pipes(cls) -> "_Streams":
        (stdin, writes), (out, stdout), (err, stderr) = os.pipe(), os.pipe(), os.pipe()
        return cls([stdin, stdout, stderr], writes, {out: "STDOUT", err: "STDERR"})

    @classmethod
    def of_terminal(cls, owner: int | None) -> "_Streams":
        ours, theirs = pty.openpty()
        if owner is not None:
            os.fchown(theirs, owner, -1)
        return cls([theirs] * 3, os.dup(ours), {ours: "STDOUT"}, ours)

    def close_ours(self) -> None:
        for fd in (self.writes, *self.reads):
            os.close(fd)


class ProcessSession:
    def __init__(self, process: asyncio.subprocess.Process, streams: _Streams) -> None:
        self._process = process
        self._input = Writer(streams.writes)
        self._output = Readers(streams.reads)
        self._terminal = streams.terminal
        assert process.stdout is not None
        self._result = asyncio.create_task(process.stdout.read())

    @classmethod
    async def begin(cls, orders: Json, terminal: Terminal | None) -> "ProcessSession":
        """`orders` are the supervisor's. Raises LaunchError."""
        try:
            streams = _Streams.of_terminal(orders["uid"]) if terminal else _Streams.pipes()
        except OSError as error:
            raise LaunchError(f"Failed to launch the session: {error}") from None
        with contextlib.ExitStack() as undo:
            undo.callback(streams.close_ours)
            try:
                if terminal and streams.terminal is not None:
                    _set_size(streams.terminal, terminal)
                process = await asyncio.create_subprocess_exec(
                    *SHIM,
                    "session",
                    *map(str, streams.theirs),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                    pass_fds=set(streams.theirs),
                )
            except OSError as error:
                raise LaunchError(f"Failed to launch the session: {error}") from None
            finally:
                for fd in set(streams.theirs):
                    os.close(fd)
            undo.pop_all()
        session = cls(process, streams)
        assert process.stdin is not None
        process.stdin.write(orjson.dumps({**orders, "tty": terminal is not None}))
        process.stdin.close()
        return session

    async def read(self) -> tuple[str, bytes] | None:
        return await self._output.read()

    async def write(self, data: bytes) -> None:
        await self._input.write(data)

    async def end_input(self) -> None:
        if self._terminal is None:
            self._input.close()

    async def resize(self, terminal: Terminal) -> None:
        if self._terminal is not None:
            with contextlib.suppress(OSError):
                _set_size(self._terminal, terminal)

    async def wait(self) -> int:
        output = await asyncio.shield(self._result)
        result = orjson.loads(output) if output else {"error": "the supervisor of the session was killed"}
        if "error" in result:
            raise ProbeError(result["error"])
        return int(result["status"])

    async def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGUSR2)  # ends the command with all its descendants
        self._input.close()
        self._output.close()
        self._terminal = None
        await asyncio.wait([self._result])
        await self._process.wait()


def _set_size(fd: int, terminal: Terminal) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", terminal.rows, terminal.columns, 0, 0))
