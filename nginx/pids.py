"""Processes by their pid, without ever hitting a stranger: what is to be signalled is held by a pidfd between the proof and the signal."""

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

Proof = Callable[[int], bool]


@contextlib.contextmanager
def held(pid: int) -> Iterator[int | None]:
    """A pidfd of the process, None if there is none."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def send(pid: int, number: signal.Signals, is_ours: Proof) -> bool:
    """Whether the signal was sent: the process lives and `is_ours` says yes of it."""
    with held(pid) as descriptor, contextlib.suppress(ProcessLookupError):
        if descriptor is not None and is_ours(pid):
            signal.pidfd_send_signal(descriptor, number)
            return True
    return False


def wait_for_end(pids: Sequence[int], seconds: float) -> bool:
    """Whether all of them ended in time."""
    deadline = time.monotonic() + seconds
    ended = True
    for pid in pids:
        with held(pid) as descriptor:
            if descriptor is not None:
                ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
                ended = ended and bool(ready)
    return ended


def end_all(find: Callable[[], list[int]], is_ours: Proof, seconds: float = 2.0) -> bool:
    """SIGTERM, and after `seconds` SIGKILL, until `find` finds none. Whether it found any."""
    found = False
    for number in (signal.SIGTERM, signal.SIGKILL):
        left = find()
        found = found or bool(left)
        for pid in left:
            send(pid, number, is_ours)
        if wait_for_end(left, seconds):
            break
    return found


def start_time(pid: int) -> int:
    """/proc's start time, in clock ticks since boot. Raises OSError, ValueError or IndexError."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def is_alive(pid: int, started: int) -> bool:
    """Whether that process is still there, whatever program it has become. `started` as of `start_time`."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields[0] not in ("Z", "X") and int(fields[19]) == started
    except (OSError, ValueError, IndexError):
        return False


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether it has a handler for that signal, and does not hold it back."""
    masks = {"SigCgt": 0, "SigBlk": 0}
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in masks:
                masks[name] = int(value, 16)
    return bool(masks["SigCgt"] & ~masks["SigBlk"] & 1 << number - 1)


def named(name: str) -> list[int]:
    """The pids of all processes of that (short) program name."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if Path(entry.path, "comm").read_text().strip() == name:
                    found.append(int(entry.name))
    return found


def command_line(pid: int) -> list[str]:
    """The words of its command line, [] if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def has_open(pid: int, path: Path) -> bool:
    """Whether it has that file open."""
    try:
        return any(str(entry.readlink()) == str(path) for entry in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
