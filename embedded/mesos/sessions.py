"""Commands that an operator runs beside a task: LAUNCH_NESTED_CONTAINER_SESSION, ATTACH_CONTAINER_INPUT and WAIT_NESTED_CONTAINER of the
agent's v1 API.

A session is a command in the task's container, with its user, limits, environment and file system. Its output is the answer to the launch;
its input, and the size of its terminal, come in a request of their own. A client that goes away ends the command.
"""

import asyncio
import base64
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson

from daemonkit.recordio import Records, record
from embedded.mesos.agent import Agent
from embedded.mesos.errors import CallError
from embedded.mesos.runtimes.base import LaunchError, ProbeError, Session, Terminal
from embedded.mesos.task_run import TaskRun

Json = dict[str, Any]

KEPT_RESULTS = 256  # of sessions that are over
HEARTBEAT_SECONDS = 30.0
MOST_RECORD_BYTES = 1024 * 1024
LARGEST_WINDOW = 65535
DEFAULT_WINDOW = Terminal(24, 80)
ATTACH = "ATTACH_CONTAINER_INPUT"
INVALID = "Failed to validate agent::Call:"
_NOT_RUN = 127 << 8  # a shell's status for a command that cannot be started


class Sessions:
    """Of one agent."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._running: dict[str, RunningSession] = {}
        self._starting: set[str] = set()
        self._over: OrderedDict[str, int] = OrderedDict()

    async def launch(self, wanted: Json) -> "RunningSession":
        """Raises CallError where it cannot begin. What it returns has to be ended."""
        container_id, command = wanted.get("container_id"), wanted.get("command")
        name, run = self._parent_of(container_id)
        if not isinstance(command, dict):
            raise CallError(f"{INVALID} Expecting 'launch_nested_container_session.command' to be present")
        if not _is_command(command):
            raise CallError(f"{INVALID} Expecting 'command' to name a shell command, or a file with arguments")
        if name in self._running or name in self._starting or name in self._over:
            raise CallError(f"The container {name} exists already")
        settings = self._agent.settings
        if len(self._running) + len(self._starting) >= settings.sessions:
            raise CallError(f"{settings.sessions} sessions run already; more: --sessions", 503)
        terminal = _terminal_of(wanted.get("container"))
        assert run.container is not None
        self._starting.add(name)
        try:
            session = await run.container.session(command, terminal)
        except LaunchError as error:
            raise CallError(str(error), 500) from None
        finally:
            self._starting.discard(name)
        running = RunningSession(session, settings.session_time, lambda status: self._ended(name, status))
        self._running[name] = running
        return running

    async def attach_input(self, pieces: AsyncIterator[bytes]) -> None:
        """Takes a session's input until the request, or the session, is over. Raises CallError."""
        records, running = Records(MOST_RECORD_BYTES), None
        try:
            while (piece := await _next(pieces, running.status if running else None)) is not None:
                try:
                    messages = [_attached(found) for found in records.feed(piece)]
                except ValueError as error:
                    raise CallError(f"Failed to read the input: {error}") from None
                for message in messages:
                    if running is None:
                        running = self._to_attach(message)
                    else:
                        await running.take(_content(message, "PROCESS_IO"))
        finally:
            if running:
                running.attached = False
        if running is None:
            raise CallError(f"{INVALID} Expecting 'attach_container_input.container_id' to be present")

    async def wait(self, wanted: Json) -> Json:
        """{exit_status} as of waitpid. Raises CallError for a session that is not known."""
        container_id = wanted.get("container_id")
        name = _value_of(container_id)
        if name in self._running:
            return {"exit_status": await asyncio.shield(self._running[name].status)}
        if name in self._over:
            return {"exit_status": self._over[name]}
        raise CallError(f"Container {_full_name(container_id)} cannot be found", 404)

    def _to_attach(self, message: Json) -> "RunningSession":
        container_id = _content(message, "CONTAINER_ID")
        running = self._running.get(_value_of(container_id))
        if running is None:
            raise CallError(f"Unknown container {_full_name(container_id)}", 500)
        if running.attached:
            raise CallError("Multiple input connections are not allowed", 409)
        running.attached = True
        return running

    def _ended(self, name: str, status: int) -> None:
        del self._running[name]
        self._over[name] = status
        while len(self._over) > KEPT_RESULTS:
            self._over.popitem(last=False)

    def _parent_of(self, container_id: object) -> tuple[str, TaskRun]:
        parent = container_id.get("parent") if isinstance(container_id, dict) else None
        if parent is None:
            raise CallError(f"{INVALID} Expecting 'launch_nested_container_session.container_id.parent' to be present")
        session, name = _value_of(container_id), _value_of(parent)
        for run in self._agent.runs.values():
            if run.launch.container_id == name and run.container and not run.ended:
                return session, run
        raise CallError(f"Parent container {name} does not exist")


class RunningSession:
    """One command, from its start to `end`, which may be called more than once."""

    def __init__(self, session: Session, longest: float, on_end: Callable[[int], None]) -> None:
        self.attached = False
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._session, self._longest, self._on_end = session, longest, on_end
        self._input: asyncio.Task[None] | None = None
        self._latest = _NOT_RUN

    async def output(self) -> AsyncIterator[bytes]:
        """RecordIO of ProcessIO messages until the command has ended."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._longest
        try:
            while True:
                left = deadline - loop.time()
                try:
                    async with asyncio.timeout(max(0.0, min(HEARTBEAT_SECONDS, left))):
                        found = await self._session.read()
                except TimeoutError:
                    if left <= HEARTBEAT_SECONDS:
                        raise ProbeError("the session took too long") from None
                    yield record({"type": "CONTROL", "control": _HEARTBEAT})
                    continue
                if found is None:
                    break
                yield record(_data(*found))
            self._latest = await self._session.wait()
        except (ProbeError, LaunchError) as error:
            yield record(_data("STDERR", f"{error}\n".encode()))

    async def take(self, message: Json) -> None:
        """One ProcessIO of the input; dropped once the session is over. Raises CallError."""
        if self.status.done():
            return
        self._input = asyncio.create_task(self._pass_on(message))
        await asyncio.wait({self._input})
        if not self._input.cancelled():
            self._input.result()

    async def _pass_on(self, message: Json) -> None:
        match message:
            case {"type": "DATA", "data": {"type": "STDIN", **rest}}:
                encoded = rest.get("data", "")
                try:
                    data = base64.b64decode(encoded if isinstance(encoded, str) else "?", validate=True)
                except ValueError:
                    raise CallError("Expecting 'process_io.data.data' to be base64") from None
                await (self._session.write(data) if data else self._session.end_input())
            case {"type": "CONTROL", "control": {"type": "TTY_INFO", "tty_info": info}}:
                await self._session.resize(_size_of(info))
            case {"type": "CONTROL", "control": {"type": "HEARTBEAT"}}:
                pass
            case _:
                raise CallError("Expecting 'process_io' to be STDIN's data, a heartbeat or a terminal's size")

    async def end(self) -> None:
        if self.status.done():
            return
        self.status.set_result(self._latest)
        self._on_end(self._latest)
        if self._input and not self._input.done():
            self._input.cancel()
            await asyncio.wait({self._input})
        await self._session.end()


async def _next(pieces: AsyncIterator[bytes], over: "asyncio.Future[int] | None") -> bytes | None:
    """The next piece; None at the end, or as soon as `over` is."""
    waiting: asyncio.Future[Any] = asyncio.ensure_future(anext(pieces, None))
    both: set[asyncio.Future[Any]] = {waiting, over} if over else {waiting}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        return waiting.result() if waiting.done() else None
    finally:
        waiting.cancel()


_HEARTBEAT = {"type": "HEARTBEAT", "heartbeat": {"interval": {"nanoseconds": int(HEARTBEAT_SECONDS * 1e9)}}}


def _is_command(command: Json) -> bool:
    value, arguments = command.get("value"), command.get("arguments", [])
    words = [value, *arguments] if isinstance(arguments, list) else [None]
    environment = command.get("environment")
    return bool(value) and all(isinstance(word, str) for word in words) and isinstance(environment, dict | None)


def _terminal_of(container: object) -> Terminal | None:
    """Of a ContainerInfo. Raises CallError."""
    info = container.get("tty_info") if isinstance(container, dict) else None
    if info is None:
        return None
    return _size_of(info) if isinstance(info, dict) and "window_size" in info else DEFAULT_WINDOW


def _size_of(info: object) -> Terminal:
    window = info.get("window_size") if isinstance(info, dict) else None
    match window:
        case {"rows": int(rows), "columns": int(columns)} if (
            0 <= rows <= LARGEST_WINDOW and 0 <= columns <= LARGEST_WINDOW
        ):
            return Terminal(rows, columns)
    raise CallError("Expecting 'tty_info.window_size' to have 'rows' and 'columns'")


def _attached(found: bytes) -> Json:
    """The content of an ATTACH_CONTAINER_INPUT call. Raises ValueError."""
    call = orjson.loads(found)
    if not isinstance(call, dict) or call.get("type") != ATTACH or not isinstance(call.get(ATTACH.lower()), dict):
        raise ValueError(f"expecting a call of type {ATTACH}")
    content: Json = call[ATTACH.lower()]
    return content


def _content(message: Json, kind: str) -> Json:
    content = message.get(kind.lower())
    if message.get("type") != kind or not isinstance(content, dict):
        raise CallError(f"{INVALID} Expecting 'attach_container_input.{kind.lower()}' to be present")
    return content


def _value_of(container_id: object) -> str:
    value = container_id.get("value") if isinstance(container_id, dict) else None
    if not isinstance(value, str) or not value or len(value) > 100 or not value.replace("-", "").isalnum():
        raise CallError(f"{INVALID} Expecting 'container_id.value' to be letters, digits and dashes")
    return value


def _full_name(container_id: object) -> str:
    """As Mesos writes it: the parent's, a dot, its own."""
    parent = container_id.get("parent") if isinstance(container_id, dict) else None
    with contextlib.suppress(CallError):
        return f"{_value_of(parent)}.{_value_of(container_id)}"
    return _value_of(container_id)


def _data(kind: str, data: bytes) -> Json:
    """v1 ProcessIO"""
    return {"type": "DATA", "data": {"type": kind, "data": base64.b64encode(data).decode()}}
