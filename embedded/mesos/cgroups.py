"""Control groups, version 1 and 2: limits on a task's memory and CPU, and what it has used.

Each task has a cgroup `<root>/<agent id>/<container id>`; in version 1 one in every hierarchy that matters.
"""

import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemonkit.logs import get_logger

log = get_logger(__name__)

Json = dict[str, Any]

CONTROLLERS = ("memory", "cpu", "cpuacct", "pids")
SHARES_PER_CPU = 1024
LEAST_SHARES = 2
CPU_PERIOD_MICROSECONDS = 100_000
LEAST_QUOTA_MICROSECONDS = 1_000
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Limits:
    """`cpus` is a share, for when the machine is busy; `cpu_quota` a bound in CPUs at any time. Memory is in bytes."""

    cpus: float
    memory: int | None = None
    cpu_quota: float | None = None


@dataclass(frozen=True)
class Cgroup:
    """The cgroup of one task. `directories` has one entry a hierarchy; by controller they are in `by_controller`."""

    version: int
    by_controller: dict[str, Path]

    @property
    def directories(self) -> list[Path]:
        return list(dict.fromkeys(self.by_controller.values()))

    def exists(self) -> bool:
        return any(directory.is_dir() for directory in self.directories)

    def limit(self, limits: Limits) -> None:
        """Raises OSError where a limit cannot be set."""
        for directory in self.directories:
            _make(directory)
            if self.version == 2:  # a group has only the controllers that every group above it passes on
                for above in (directory.parent.parent.parent, directory.parent.parent, directory.parent):
                    _write(above / "cgroup.subtree_control", "+cpu +memory +pids")
        for controller, file, value in self._settings(limits):
            if place := self.by_controller.get(controller):
                _write(place / file, value)

    def _settings(self, limits: Limits) -> Iterator[tuple[str, str, str]]:
        shares = max(LEAST_SHARES, int(limits.cpus * SHARES_PER_CPU))
        quota = None
        if limits.cpu_quota is not None:
            quota = max(LEAST_QUOTA_MICROSECONDS, int(limits.cpu_quota * CPU_PERIOD_MICROSECONDS))
        if self.version == 1:
            yield "cpu", "cpu.shares", str(shares)
            if quota is not None:
                yield "cpu", "cpu.cfs_period_us", str(CPU_PERIOD_MICROSECONDS)
                yield "cpu", "cpu.cfs_quota_us", str(quota)
            if limits.memory is not None:
                yield "memory", "memory.limit_in_bytes", str(limits.memory)
                if (
                    "memory" in self.by_controller
                    and (self.by_controller["memory"] / "memory.memsw.limit_in_bytes").exists()
                ):
                    yield "memory", "memory.memsw.limit_in_bytes", str(limits.memory)
        else:
            yield "cpu", "cpu.weight", str(weight(shares))
            if quota is not None:
                yield "cpu", "cpu.max", f"{quota} {CPU_PERIOD_MICROSECONDS}"
            if limits.memory is not None:
                yield "memory", "memory.max", str(limits.memory)
                if "memory" in self.by_controller and (self.by_controller["memory"] / "memory.swap.max").exists():
                    yield "memory", "memory.swap.max", "0"

    def processes(self) -> list[int]:
        pids: set[int] = set()
        for directory in self.directories:
            pids.update(int(pid) for pid in _read(directory / "cgroup.procs").split())
        return sorted(pids)

    def kill(self, timeout: float = 5.0) -> bool:
        """SIGKILL to all that is in it, until nothing is. False if something is left after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while pids := self.processes():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    def remove(self, timeout: float = 2.0) -> None:
        """Removes it, with the groups that its processes made below it, and the groups above it that are empty then.

        A killed process leaves its group a moment after its end: for `timeout` seconds it is tried again, then what is left is logged.
        """
        deadline = time.monotonic() + timeout
        for directory in self.directories:
            while (error := _remove_with_all_below(directory)) and error.errno == errno.EBUSY:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.005)
            if error:
                log.warning(
                    "a cgroup cannot be removed", path=error.filename, error=error.strerror, pids=self.processes()
                )
            else:
                _remove_empty(directory.parent, directory.parent.parent)

    def statistics(self) -> Json:
        """The part of Mesos' ResourceStatistics that cgroups know. Empty if the cgroup is gone."""
        return self._statistics_1() if self.version == 1 else self._statistics_2()

    def _statistics_1(self) -> Json:
        cpu, memory = _pairs(self._text("cpuacct", "cpuacct.stat")), _pairs(self._text("memory", "memory.stat"))
        throttled = _pairs(self._text("cpu", "cpu.stat"))
        return _without_none(
            cpus_user_time_secs=_scaled(cpu.get("user"), 1 / _TICKS),
            cpus_system_time_secs=_scaled(cpu.get("system"), 1 / _TICKS),
            cpus_nr_periods=throttled.get("nr_periods"),
            cpus_nr_throttled=throttled.get("nr_throttled"),
            cpus_throttled_time_secs=_scaled(throttled.get("throttled_time"), 1e-9),
            mem_total_bytes=_number(self._text("memory", "memory.usage_in_bytes")),
            mem_rss_bytes=memory.get("total_rss"),
            mem_anon_bytes=memory.get("total_rss"),
            mem_cache_bytes=memory.get("total_cache"),
            mem_file_bytes=memory.get("total_cache"),
            mem_mapped_file_bytes=memory.get("total_mapped_file"),
            mem_limit_bytes=_number(self._text("memory", "memory.limit_in_bytes")),
            processes=len(self.processes()) or None,
            threads=_number(self._text("pids", "pids.current")),
        )

    def _statistics_2(self) -> Json:
        cpu, memory = _pairs(self._text("cpu", "cpu.stat")), _pairs(self._text("memory", "memory.stat"))
        return _without_none(
            cpus_user_time_secs=_scaled(cpu.get("user_usec"), 1e-6),
            cpus_system_time_secs=_scaled(cpu.get("system_usec"), 1e-6),
            cpus_nr_periods=cpu.get("nr_periods"),
            cpus_nr_throttled=cpu.get("nr_throttled"),
            cpus_throttled_time_secs=_scaled(cpu.get("throttled_usec"), 1e-6),
            mem_total_bytes=_number(self._text("memory", "memory.current")),
            mem_rss_bytes=memory.get("anon"),
            mem_anon_bytes=memory.get("anon"),
            mem_cache_bytes=memory.get("file"),
            mem_file_bytes=memory.get("file"),
            mem_mapped_file_bytes=memory.get("file_mapped"),
            mem_limit_bytes=_number(self._text("memory", "memory.max")),
            processes=len(self.processes()) or None,
            threads=_number(self._text("pids", "pids.current")),
        )

    def _text(self, controller: str, file: str) -> str:
        directory = self.by_controller.get(controller)
        return _read(directory / file) if directory else ""


def weight(shares: int) -> int:
    """cpu.weight of version 2 for cpu.shares of version 1, by the kernel's and the container runtimes' usual formula."""
    return 1 + (min(max(shares, 2), 262_144) - 2) * 9_999 // 262_142


@dataclass(frozen=True)
class Cgroups:
    """Where this machine's hierarchies are. `detect` makes one that is known to work."""

    version: int
    mounts: dict[str, Path]  # by controller
    root: str = "dromos"

    def group(self, agent_id: str, container_id: str) -> Cgroup:
        return Cgroup(
            self.version, {name: mount / self.root / agent_id / container_id for name, mount in self.mounts.items()}
        )

    def of_process(self, pid: int, proc: Path = Path("/proc")) -> Cgroup:
        """The cgroup that a process is in, for reading."""
        paths: dict[str, Path] = {}
        for line in _read(proc / str(pid) / "cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            for name in controllers.split(",") if controllers else self.mounts if self.version == 2 else ():
                if name in self.mounts:
                    paths[name] = self.mounts[name] / path.lstrip("/")
        return Cgroup(self.version, paths)

    def containers(self, agent_id: str) -> list[str]:
        """The ids of the containers of an agent that have a cgroup."""
        return sorted(
            {path.name for mount in self.mounts.values() for path in (mount / self.root / agent_id).glob("*/")}
        )


def detect(root: str = "dromos", mountinfo: str | None = None) -> tuple[Cgroups | None, str]:
    """The cgroups of this machine, or None and why tasks run without limits. Tries whether they can be made and limited."""
    mountinfo = _read(Path("/proc/self/mountinfo")) if mountinfo is None else mountinfo
    mounts = find_mounts(mountinfo)
    version1 = {name: path for name, path in mounts.items() if name}
    if "memory" in version1 or "cpu" in version1:
        candidate = Cgroups(1, version1, root)
    elif "" in mounts:
        candidate = Cgroups(2, dict.fromkeys(CONTROLLERS, mounts[""]), root)
    else:
        return None, "no cgroups are mounted"
    trial = candidate.group("probe", f"{os.getpid()}-{time.monotonic_ns()}")
    try:
        trial.limit(Limits(cpus=1.0, memory=64 * 1024 * 1024, cpu_quota=1.0))
    except OSError as error:
        return None, f"cgroups cannot be used: {error.strerror or error} ({error.filename})"
    finally:
        trial.remove()
    return candidate, ""


def find_mounts(mountinfo: str) -> dict[str, Path]:
    """Mount points by controller; version 2 has the name ""."""
    found: dict[str, Path] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        point = Path(fields[4])
        if kind[0] == "cgroup2":
            found.setdefault("", point)
        elif kind[0] == "cgroup":
            for name in kind[2].split(","):
                if name in CONTROLLERS:
                    found.setdefault(name, point)
    return found


def _remove_with_all_below(directory: Path) -> OSError | None:
    """The reason where one of them is left."""
    for group in (*sorted(directory.glob("**/*/"), key=lambda path: -len(path.parts)), directory):
        try:
            group.rmdir()
        except FileNotFoundError:
            continue
        except OSError as error:
            return error
    return None


def _remove_empty(*groups: Path) -> None:
    """Those of other containers stay."""
    for group in groups:
        with contextlib.suppress(OSError):
            group.rmdir()


def _make(directory: Path) -> None:
    """Somebody who removes their own last group may take the empty ones above it away, between one mkdir and the next."""
    for _ in range(10):
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except (FileNotFoundError, FileExistsError):  # the latter where it was there, and then was not
            continue
        return
    directory.mkdir(parents=True, exist_ok=True)


def _write(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _pairs(text: str) -> dict[str, int]:
    return {
        words[0]: int(words[1]) for line in text.splitlines() if len(words := line.split()) == 2 and words[1].isdigit()
    }


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdigit() else None


def _scaled(value: int | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _without_none(**values: Any) -> Json:
    return {name: value for name, value in values.items() if value is not None}
