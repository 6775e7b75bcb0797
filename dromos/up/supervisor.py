"""Keeps the planned daemons running: starts them, starts again what has died, adopts what an earlier supervisor left."""

import asyncio
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field

from daemonkit.backoff import Backoff
from daemonkit.lifecycle import sleep_or_stop
from daemonkit.logs import get_logger
from dromos.up import process
from dromos.up.plan import Daemon
from dromos.up.process import PidFile, Process
from dromos.up.state import StateDir

log = get_logger(__name__)

CHECK_SECONDS = 0.2
STABLE_SECONDS = 10.0  # a daemon that ran this long starts again at once
STOP_GRACE = 10.0
ROTATE_AGAIN_SECONDS = 60.0  # after a log could not be rotated
REMEMBER_AGAIN_SECONDS = 5.0  # after a pid could not be written down


@dataclass
class Supervised:
    """One daemon and the process that it is now."""

    daemon: Daemon
    pid_file: PidFile
    process: Process | None = None
    child: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_after: float = 0.0
    restarts: int = 0
    remembered: bool = True  # by its pid file
    remember_after: float = 0.0
    backoff: Backoff = field(default_factory=lambda: Backoff(first=0.2, most=10.0))


class Supervisor:
    def __init__(
        self, daemons: list[Daemon], state: StateDir, *, log_limit: int, left: dict[str, tuple[str, ...]] | None = None
    ) -> None:
        """`left`: the command lines of an earlier supervisor's daemons. Those that are now to be others are ended, not adopted."""
        self._state, self._left = state, left or {}
        self._log_limit = log_limit
        self._rotate_after = 0.0
        self._supervised = [Supervised(daemon, state.pid_file(daemon.name)) for daemon in daemons]

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; the daemons still run when it returns."""
        await asyncio.to_thread(self._end_others)
        for one in self._supervised:
            one.process = one.pid_file.read()
            if one.process:
                one.started_at = time.monotonic()
                log.info("adopted", name=one.daemon.name, pid=one.process.pid)
        while True:
            for one in self._supervised:
                self._look_after(one, time.monotonic())
            self._rotate_logs(time.monotonic())
            if await sleep_or_stop(CHECK_SECONDS, stop):
                return

    def stop_all(self) -> None:
        """Ends the daemons, last started first."""
        for one in reversed(self._supervised):
            if one.process:
                one.process.send(signal.SIGTERM)
        for one in reversed(self._supervised):
            if one.process:
                one.process.stop(STOP_GRACE)
                one.pid_file.remove()
            if one.child:
                one.child.wait()

    def _end_others(self) -> None:
        """Ends what runs with other flags than it is to have now, or is not to run at all any more."""
        wanted = {one.daemon.name: one.daemon.argv for one in self._supervised}
        for name, argv in reversed(self._left.items()):
            running = self._state.pid_file(name).read()
            if running and wanted.get(name) != argv:
                log.info("ending what runs with other flags", name=name, pid=running.pid)
                running.stop(STOP_GRACE)
                self._state.pid_file(name).remove()

    def _look_after(self, one: Supervised, now: float) -> None:
        if (one.child and one.child.poll() is not None) or (one.process and not one.child and not one.process.alive):
            one.process = None
        if one.process is not None:
            if not one.remembered and now >= one.remember_after:
                self._remember(one, one.process, now)
            return
        if one.started_at:
            self._died(one, now)
        if now >= one.start_after:
            self._start(one, now)

    def _rotate_logs(self, now: float) -> None:
        if now < self._rotate_after:
            return
        try:
            for name in ("up", *(one.daemon.name for one in self._supervised)):
                process.rotate(self._state.log(name), self._log_limit)
        except OSError as error:
            self._rotate_after = now + ROTATE_AGAIN_SECONDS
            log.warning("logs cannot be rotated", error=str(error), again_in_seconds=ROTATE_AGAIN_SECONDS)

    def _died(self, one: Supervised, now: float) -> None:
        if now - one.started_at > STABLE_SECONDS:
            one.backoff.reset()
        delay = one.backoff.next() if one.restarts else 0.0
        one.start_after, one.started_at = now + delay, 0.0
        one.restarts += 1
        code = one.child.returncode if one.child else None
        log.warning("daemon ended, starting it again", name=one.daemon.name, exit_code=code, in_seconds=round(delay, 2))

    def _start(self, one: Supervised, now: float) -> None:
        try:
            one.child = process.start(one.daemon.argv, log=self._state.log(one.daemon.name), environment=os.environ)
        except OSError as error:
            one.start_after = now + one.backoff.next()
            log.error("daemon cannot be started", name=one.daemon.name, error=str(error))
            return
        one.started_at = now
        one.process = Process.of(one.child.pid)
        if one.process:
            log.info("started", name=one.daemon.name, pid=one.process.pid)
            self._remember(one, one.process, now)

    def _remember(self, one: Supervised, running: Process, now: float) -> None:
        try:
            one.pid_file.write(running)
            one.remembered = True
        except OSError as error:  # a full disk, above all; what runs is looked after all the same
            one.remembered, one.remember_after = False, now + REMEMBER_AGAIN_SECONDS
            log.error("a pid cannot be written down, will try again", name=one.daemon.name, error=str(error))
