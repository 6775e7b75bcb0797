"""A command beside a task that is a container: `docker exec`, its streams over a connection that Docker hands over to it."""

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from embedded.mesos.runtimes.base import Json, LaunchError, ProbeError, Terminal
from embedded.mesos.runtimes.docker_stream import STDERR, DockerStreamError, FrameParser

if TYPE_CHECKING:
    from embedded.mesos.runtimes.docker import DockerRuntime

PIECE = 64 * 1024
LOOK_SECONDS = 1.0
RETRIES = 40  # of what Docker cannot do before the command runs, or knows only a moment after its end
RETRY_SECONDS = 0.05


class DockerSession:
    def __init__(
        self,
        runtime: "DockerRuntime",
        exec_id: str,
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        *,
        tty: bool,
    ) -> None:
        self._runtime, self._exec_id = runtime, exec_id
        self._reader, self._writer = connection
        self._parser = None if tty else FrameParser(stamped=False)
        self._frames: deque[tuple[str, bytes]] = deque()
        self._over = False

    @classmethod
    async def begin(
        cls,
        runtime: "DockerRuntime",
        container: str,
        words: Sequence[str],
        environment: Mapping[str, str],
        terminal: Terminal | None,
    ) -> "DockerSession":
        """Raises LaunchError."""
        tty = terminal is not None
        created = await runtime.call(
            lambda api: api.exec_create(container, list(words), stdin=True, tty=tty, environment=dict(environment))
        )
        exec_id = str(created["Id"])
        try:
            connection = await runtime.streams.attach_exec(exec_id, tty=tty)
        except (DockerStreamError, OSError) as error:
            raise LaunchError(f"Failed to launch the session: {error}") from None
        session = cls(runtime, exec_id, connection, tty=tty)
        if terminal:
            try:
                await session.resize(terminal)
            except ProbeError as error:
                await session.end()
                raise LaunchError(f"Failed to launch the session: {error}") from None
        return session

    async def read(self) -> tuple[str, bytes] | None:
        while not self._frames:
            piece = await self._piece()
            if not piece:
                return None
            if self._parser is None:
                self._frames.append(("STDOUT", piece))
            else:
                frames = self._parser.feed(piece)
                self._frames += [("STDERR" if f.stream == STDERR else "STDOUT", f.data) for f in frames]
        return self._frames.popleft()

    async def _piece(self) -> bytes:
        """Docker does not tell the end of a command as long as it cannot get rid of input that the command never read."""
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    return await self._reader.read(PIECE)
            except TimeoutError:
                if self._writer.transport.get_write_buffer_size() and not (await self._inspect())["Running"]:
                    return b""
            except OSError:
                return b""

    async def write(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self._writer.write(data)
            await self._writer.drain()

    async def end_input(self) -> None:
        if self._parser is not None:
            with contextlib.suppress(OSError):
                self._writer.write_eof()

    async def resize(self, terminal: Terminal) -> None:
        if self._parser is not None:
            return
        for _ in range(RETRIES):
            try:
                await self._runtime.call(lambda api: api.exec_resize(self._exec_id, terminal.rows, terminal.columns))
                return
            except LaunchError:
                found = await self._inspect()
                if found.get("ExitCode") is not None or self._over:
                    return
                await asyncio.sleep(RETRY_SECONDS)

    async def wait(self) -> int:
        for _ in range(RETRIES):
            code = (await self._inspect()).get("ExitCode")
            if code is not None:
                return int(code) << 8
            await asyncio.sleep(RETRY_SECONDS)
        raise ProbeError("Docker does not say how the command ended")

    async def end(self) -> None:
        """Docker has no call for this; the command's pid is one of this machine's."""
        self._over = True
        self._writer.transport.abort()
        with contextlib.suppress(LaunchError, ProbeError):
            await end_exec(self._runtime, self._exec_id)

    async def _inspect(self) -> Json:
        try:
            found: Json = await self._runtime.call(lambda api: api.exec_inspect(self._exec_id))
        except LaunchError as error:
            raise ProbeError(str(error)) from None
        return found


async def end_exec(runtime: "DockerRuntime", exec_id: str) -> None:
    """Raises LaunchError."""
    found = await runtime.call(lambda api: api.exec_inspect(exec_id))
    if found["Running"] and found["Pid"] > 0:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(found["Pid"], signal.SIGKILL)
