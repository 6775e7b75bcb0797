"""Exec mode: a program that runs for as long as this one does, and is told when its configuration has changed.

Told by `reload_signal`; without one it is ended and started again. When it ends by itself, so do we, with its exit code.
"""

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import Callable

from consul_template_py.commands import Command
from consul_template_py.errors import ConfigError
from daemonkit.errors import OperatorError
from daemonkit.logs import get_logger

log = get_logger(__name__)


class ChildEndedError(OperatorError):
    """The child has ended by itself."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the child process ended with {code}")
        # As a shell says it: 128 + the signal's number.
        self.exit_code = code if code >= 0 else 128 - code


def parse_signal(name: str, *, where: str) -> signal.Signals:
    """`SIGHUP`, `HUP` or `hup`. Raises ConfigError."""
    wanted = name.upper().removeprefix("SIG")
    try:
        return signal.Signals[f"SIG{wanted}"]
    except KeyError:
        raise ConfigError(f"{where}: {name!r} is not a signal") from None


class Child:
    def __init__(
        self,
        command: Command,
        *,
        reload_signal: signal.Signals | None,
        kill_signal: signal.Signals,
        kill_timeout: float,
    ) -> None:
        self._command = command
        self._reload_signal, self._kill_signal, self._kill_timeout = reload_signal, kill_signal, kill_timeout
        self._process: asyncio.subprocess.Process | None = None
        self._news = asyncio.Event()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def changed(self, command: Command | None = None) -> None:
        """Its configuration has changed, and maybe how it is to be started. Several calls before it has been told are one."""
        self._command = command or self._command
        self._news.set()

    def pass_on(self, number: signal.Signals) -> None:
        """A signal that we were sent and that is the child's."""
        self._send(number)

    async def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Starts it and stays with it. Raises ChildEndedError when it ends by itself; when cancelled, ends it."""
        try:
            await self._start()
            started()
            while True:
                await self._until_news()
                await self._tell()
        finally:
            await self._end()

    async def _until_news(self) -> None:
        assert self._process is not None
        ended = asyncio.create_task(self._process.wait())
        news = asyncio.create_task(self._news.wait())
        try:
            await asyncio.wait({ended, news}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                raise ChildEndedError(ended.result())
        finally:
            ended.cancel()
            news.cancel()
        self._news.clear()

    async def _tell(self) -> None:
        if self._command.splay > 0:
            await asyncio.sleep(random.uniform(0, self._command.splay))
        if self._reload_signal is not None:
            log.info("telling the child", pid=self.pid, signal=self._reload_signal.name)
            self._send(self._reload_signal)
            return
        log.info("starting the child again", pid=self.pid)
        await self._end()
        await self._start()

    async def _start(self) -> None:
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command.words, env=self._command.environment.build(os.environ), start_new_session=True
            )
        except OSError as error:
            raise OperatorError(f"exec: `{self._command.shown}` cannot be started: {error.strerror or error}") from None
        log.info("child started", pid=self.pid)

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, self._kill_signal)
        try:
            async with asyncio.timeout(self._kill_timeout):
                await process.wait()
        except TimeoutError:
            log.warning("the child did not end in time, killed", pid=process.pid)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
