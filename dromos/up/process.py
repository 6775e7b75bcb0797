"""Processes that outlive us: known by pid and start time together, so that a pid used again is never taken for ours."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from daemonkit.files import write_atomically

POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Process:
    pid: int
    started: int  # clock ticks since boot, from /proc/PID/stat

    @classmethod
    def of(cls, pid: int) -> "Process | None":
        """The process that has this pid now; None if there is none (or only its remains)."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in ("Z", "X") else cls(pid, int(fields[19]))

    @property
    def alive(self) -> bool:
        return Process.of(self.pid) == self

    def send(self, number: signal.Signals) -> None:
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def stop(self, grace: float) -> None:
        """SIGTERM, up to `grace` seconds, SIGKILL. Returns when it is gone."""
        self.send(signal.SIGTERM)
        if not self.gone_within(grace):
            self.send(signal.SIGKILL)
            self.gone_within(5.0)

    def gone_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.alive:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True


@dataclass(frozen=True)
class PidFile:
    """Where a process is remembered: `{pid, started}` as JSON."""

    path: Path

    def write(self, process: Process) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, orjson.dumps(asdict(process)), durable=False)

    def read(self) -> Process | None:
        """The process, if it is still alive."""
        try:
            process = Process(**orjson.loads(self.path.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None
        return process if process.alive else None

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def start(argv: Sequence[str], *, log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Starts a program in a session of its own, with its output appended to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
        )


def rotate(log: Path, limit: int) -> None:
    """Moves what a log holds to `.1` once it is larger than `limit` bytes. Writers append, so they go on at the start.

    Raises OSError where there is no room for both; the log is then as it was.
    """
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size <= limit:
            return
        part = log.with_name(log.name + ".part")
        try:
            shutil.copyfile(log, part)
        except OSError:
            part.unlink(missing_ok=True)  # half a copy only takes room
            raise
        part.replace(log.with_name(log.name + ".1"))
        os.truncate(log, 0)
