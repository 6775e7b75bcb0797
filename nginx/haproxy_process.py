"""The HAProxy that the edge owns, in master-worker mode: checked, started, adopted, reloaded and stopped. Everything here blocks.

A process is ours if its program is haproxy and our configuration file is a word of its command line; workers have the master's words.

A master loads itself anew at each reload, once as a loader and once as one that waits. Meanwhile it stays the same process, but has for
moments no command line and no pid file, and a signal to reload is lost on it.
"""

import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from nginx import pids
from nginx.errors import ProxyFailedError, ProxyMissingError
from nginx.layout import Layout

START_SECONDS = 15.0
LOAD_SECONDS = 10.0  # for a master to load itself


@dataclass(frozen=True)
class Master:
    """A running HAProxy master that is ours."""

    pid: int
    started: int


def find_program(program: str = "haproxy") -> str:
    found = shutil.which(program, path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") or shutil.which(program)
    if found is None:
        raise ProxyMissingError(f"there is no program {program}; install it with: apt-get install haproxy")
    return found


def check(program: str, config: Path) -> None:
    """`haproxy -c`. Raises ProxyFailedError with what HAProxy says of the file."""
    done = _run([program, "-c", "-q", "-f", str(config)])
    if done.returncode != 0:
        raise ProxyFailedError(f"haproxy -c refused {config}: {_complaint(done.stderr)}")


def start(layout: Layout, program: str) -> Master:
    """Raises ProxyFailedError with what HAProxy says."""
    pids.end_all(lambda: ours(layout), lambda pid: _is_ours(pid, layout))
    files = ["-p", str(layout.haproxy_pid), "-f", str(layout.haproxy_config)]
    done = _run([program, "-W", "-D", "-S", _master_socket(layout), *files])
    if done.returncode != 0:
        raise ProxyFailedError(f"haproxy did not start: {_complaint(done.stderr)}")
    deadline = time.monotonic() + START_SECONDS
    while (master := running(layout)) is None:
        if time.monotonic() > deadline:
            raise ProxyFailedError(f"haproxy did not start within {START_SECONDS:.0f} s")
        time.sleep(0.01)
    return master


def running(layout: Layout) -> Master | None:
    """The master that the pid file names, if it lives and was started with our configuration file."""
    try:
        pid = int(layout.haproxy_pid.read_text().split()[0])
        return Master(pid, pids.start_time(pid)) if _is_ours(pid, layout) else None
    except (OSError, ValueError, IndexError):
        return None


def settled(layout: Layout, seconds: float = 2.0) -> Master | None:
    """As `running`, once a master that is about to load itself has done so: as long as there are workers there may be one."""
    deadline = time.monotonic() + seconds
    while (master := running(layout)) is None and ours(layout) and time.monotonic() < deadline:
        time.sleep(0.02)
    return master


def lives(master: Master) -> bool:
    """Whether it is still there, also while it loads itself."""
    return pids.is_alive(master.pid, master.started)


def signal_master(master: Master, number: signal.Signals) -> None:
    """Once it hears. Raises ProxyFailedError if that master is gone, or the pid is another process by now."""
    deadline = time.monotonic() + LOAD_SECONDS
    while lives(master) and not pids.catches(master.pid, number) and time.monotonic() < deadline:
        time.sleep(0.01)
    if not pids.send(master.pid, number, lambda _pid: lives(master)):
        raise ProxyFailedError(f"haproxy (pid {master.pid}) is gone")


def stop(layout: Layout) -> bool:
    """Ends it with all its workers. Whether there was one."""
    settled(layout)
    found = pids.end_all(lambda: ours(layout), lambda pid: _is_ours(pid, layout))
    paths = (
        layout.haproxy_pid,
        layout.haproxy_socket,
        layout.haproxy_stats,
        layout.haproxy_mirror,
        layout.haproxy_master,
    )
    for path in paths:
        path.unlink(missing_ok=True)
    return found


def _master_socket(layout: Layout) -> str:
    words = [str(layout.haproxy_master), "mode", "600", "level", "operator"]
    return ",".join([*words, "user", layout.user.split()[0]] if layout.user else words)


def ours(layout: Layout) -> list[int]:
    return [pid for pid in pids.named("haproxy") if _is_ours(pid, layout)]


def _is_ours(pid: int, layout: Layout) -> bool:
    words = pids.command_line(pid)
    return bool(words) and Path(words[0]).name == "haproxy" and str(layout.haproxy_config) in words


def _run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False, cwd="/"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProxyFailedError(f"{command[0]} could not be run: {error}") from None


def _complaint(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if "[ALERT]" in line]
    return (lines or stderr.strip().splitlines() or ["it does not say why"])[0][:500]
