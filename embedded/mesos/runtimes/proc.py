"""Looks at this machine's processes through /proc."""

import contextlib
import os
import select
import signal
import time
from pathlib import Path
from typing import Any

from embedded.mesos.runtimes import shim

Json = dict[str, Any]


def start_time(pid: int) -> int | None:
    """Clock ticks since boot; None if there is no such process."""
    try:
        return shim.start_time(pid)
    except (IndexError, ValueError):
        return None


def kill_marked(leader: int, start: int, sandbox: str, timeout: float = 5.0) -> None:
    """Kills the session of `leader`, and every process whose environment names the sandbox."""
    mark = f"MESOS_SANDBOX={sandbox}".encode()

    def belongs(pid: int, stat: list[str]) -> bool:
        if int(stat[3]) == leader and start_time(leader) in (start, None):
            return True
        with contextlib.suppress(OSError):
            return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return False

    deadline = time.monotonic() + timeout
    while (
        pids := [pid for pid, stat in _processes() if stat[0] != "Z" and belongs(pid, stat)]
    ) and time.monotonic() < deadline:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        select.select([], [], [], 0.01)


def statistics_of_tree(root: int) -> Json:
    """What a process and its descendants use now, from /proc: the children that have ended are counted by their parents."""
    stats = dict(_processes())
    children: dict[int, list[int]] = {}
    for pid, stat in stats.items():
        children.setdefault(int(stat[1]), []).append(pid)
    look, found = children.get(root, []), []
    while look:
        pid = look.pop()
        found.append(stats[pid])
        look = look + children.get(pid, [])
    if not found:
        return {}
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    rss = sum(int(stat[21]) for stat in found) * page
    return {
        "cpus_user_time_secs": sum(int(stat[11]) + int(stat[13]) for stat in found) / ticks,
        "cpus_system_time_secs": sum(int(stat[12]) + int(stat[14]) for stat in found) / ticks,
        "mem_rss_bytes": rss,
        "mem_total_bytes": rss,
        "processes": len(found),
        "threads": sum(int(stat[17]) for stat in found),
    }


def _processes() -> list[tuple[int, list[str]]]:
    """(pid, the fields of /proc/PID/stat from `state` on) of all processes."""
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208  names are all that is wanted
        if name.isdigit():
            fields = shim.read(f"/proc/{name}/stat").rpartition(")")[2].split()
            if fields:
                found.append((int(name), fields))
    return found
