"""Commands that an operator runs beside a task: LAUNCH_NESTED_CONTAINER_SESSION and WAIT_NESTED_CONTAINER of the agent's v1 API.

The command runs as the task's own checks do, with its user, limits, environment and file system. Its output comes through two pipes in
the sandbox, the one place that the agent and any container both see. There is no input and no terminal: a session that asks for one is
refused. A client that goes away ends the command.
"""

import asyncio
import base64
import contextlib
import os
import shlex
import stat
from collections import OrderedDict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from embedded.mesos.agent import Agent
from embedded.mesos.errors import CallError
from embedded.mesos.runtimes.base import LaunchError, ProbeError
from embedded.mesos.stream import record
from embedded.mesos.task_run import TaskRun

Json = dict[str, Any]

MOST_SESSIONS = 32  # at a time
KEPT_RESULTS = 256  # of sessions that are over
LONGEST_SECONDS = 86400.0
HEARTBEAT_SECONDS = 30.0
_PIECE = 64 * 1024
_NOT_RUN = 127 << 8  # a shell's status for a command that cannot be started


class Sessions:
    """Of one agent."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._running: dict[str, asyncio.Future[int]] = {}
        self._over: OrderedDict[str, int] = OrderedDict()

    def launch(self, wanted: Json) -> AsyncIterator[bytes]:
        """RecordIO of ProcessIO messages until the command has ended. Raises CallError at once where it cannot begin."""
        container_id, command = wanted.get("container_id"), wanted.get("command")
        session, run = self._parent_of(container_id)
        if not isinstance(command, dict):
            raise CallError("Expecting 'command' to be present")
        if (wanted.get("container") or {}).get("tty_info"):
            raise CallError("This agent gives sessions no terminal", 501)
        if session in self._running or session in self._over:
            raise CallError(f"The container {session} exists already")
        if len(self._running) >= MOST_SESSIONS:
            raise CallError(f"{MOST_SESSIONS} sessions run already", 503)
        try:
            words = _words(command)
        except (TypeError, ValueError):
            raise CallError("Expecting 'command' to name a shell command, or a file with arguments") from None
        self._running[session] = asyncio.get_running_loop().create_future()
        return self._session(session, run, words)

    async def wait(self, wanted: Json) -> Json:
        """{exit_status} as of waitpid. Raises CallError for a session that is not known."""
        session = _value_of(wanted.get("container_id"))
        if session in self._running:
            return {"exit_status": await asyncio.shield(self._running[session])}
        if session in self._over:
            return {"exit_status": self._over[session]}
        raise CallError(f"Container {session} cannot be found", 404)

    def _parent_of(self, container_id: object) -> tuple[str, TaskRun]:
        parent = container_id.get("parent") if isinstance(container_id, dict) else None
        if parent is None:
            raise CallError("Expecting 'container_id.parent' to be present")
        session, name = _value_of(container_id), _value_of(parent)
        for run in self._agent.runs.values():
            if run.launch.container_id == name and run.container and not run.ended:
                return session, run
        raise CallError(f"Container {name} cannot be found", 404)

    async def _session(self, session: str, run: TaskRun, words: list[str]) -> AsyncIterator[bytes]:
        status = _NOT_RUN
        try:
            with _Output(run.launch.sandbox, session) as output:
                assert run.container is not None
                orders = {"shell": True, "value": output.redirected(words)}
                command = asyncio.create_task(run.container.execute(orders, LONGEST_SECONDS))
                try:
                    async for kind, data in output.until(command):
                        yield record(_data(kind, data)) if kind else record({"type": "CONTROL", "control": _HEARTBEAT})
                    code = command.result()
                    status = code << 8 if code >= 0 else -code
                except (ProbeError, LaunchError, TimeoutError) as error:
                    yield record(_data("STDERR", f"{error or 'the session took too long'}\n".encode()))
                finally:
                    if not command.done():
                        command.cancel()
                        with contextlib.suppress(asyncio.CancelledError, Exception):
                            await command
        except OSError as error:
            yield record(_data("STDERR", f"the sandbox takes no pipes: {error.strerror}\n".encode()))
        finally:
            self._over[session] = status
            while len(self._over) > KEPT_RESULTS:
                self._over.popitem(last=False)
            self._running.pop(session).set_result(status)


_HEARTBEAT = {"type": "HEARTBEAT", "heartbeat": {"interval": {"nanoseconds": int(HEARTBEAT_SECONDS * 1e9)}}}


class _Output:
    """Two named pipes in the sandbox. The task may have put anything under their names: only a pipe of our own making is read."""

    def __init__(self, sandbox: Path, session: str) -> None:
        self._sandbox = sandbox
        self._names = {kind: f".session-{session}.{kind.lower()}" for kind in ("STDOUT", "STDERR")}
        self._fds: dict[str, int] = {}
        self._readable = asyncio.Event()

    def __enter__(self) -> "_Output":
        loop = asyncio.get_running_loop()
        try:
            for kind, name in self._names.items():
                path = self._sandbox / name
                os.mkfifo(path, 0o600)
                # Open for writing too: it does not end before the command has begun.
                fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
                self._fds[kind] = fd
                if not stat.S_ISFIFO(os.fstat(fd).st_mode):
                    raise OSError(0, "not a pipe")
                os.fchmod(fd, 0o622)  # a container may know another user
                loop.add_reader(fd, self._readable.set)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for kind, fd in self._fds.items():
            loop.remove_reader(fd)
            os.close(fd)
            with contextlib.suppress(OSError):
                (self._sandbox / self._names[kind]).unlink()

    def redirected(self, words: list[str]) -> str:
        """A line of shell that runs `words` with its output in the pipes."""
        out, err = (f'"$MESOS_SANDBOX"/{self._names[kind]}' for kind in ("STDOUT", "STDERR"))
        return f"exec >{out} 2>{err}; exec {shlex.join(words)}"

    async def until(self, command: "asyncio.Task[int]") -> AsyncIterator[tuple[str, bytes]]:
        """(kind, data) until the command has ended and all is read; ("", b"") for a heartbeat."""
        while True:
            ended = command.done()
            self._readable.clear()
            found = False
            for kind, fd in self._fds.items():
                while data := _read(fd):
                    found = True
                    yield kind, data
            if ended and not found:
                return
            if found:
                continue
            waiting = asyncio.ensure_future(self._readable.wait())
            try:
                done, _ = await asyncio.wait(
                    {waiting, command}, timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                waiting.cancel()
            if not done:
                yield "", b""


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, _PIECE)
    except BlockingIOError:
        return b""


def _words(command: Json) -> list[str]:
    """What to run, of a CommandInfo. Raises ValueError, TypeError."""
    value, arguments = command.get("value"), command.get("arguments", [])
    if not isinstance(value, str) or not value or not all(isinstance(item, str) for item in arguments):
        raise ValueError(value)
    # As in Mesos, without a shell `value` is the file and `arguments` begin with argv[0].
    return ["/bin/sh", "-c", value] if command.get("shell", True) else [value, *arguments[1:]]


def _value_of(container_id: object) -> str:
    value = container_id.get("value") if isinstance(container_id, dict) else None
    if not isinstance(value, str) or not value or len(value) > 100 or not value.replace("-", "").isalnum():
        raise CallError("Expecting 'container_id.value' to be letters, digits and dashes")
    return value


def _data(kind: str, data: bytes) -> Json:
    """v1 ProcessIO"""
    return {"type": "DATA", "data": {"type": kind, "data": base64.b64encode(data).decode()}}
