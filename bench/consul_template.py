"""From a Consul change to the applied file: time, CPU and memory for N services × 5 instances, one template over all of them.

`python -m bench.consul_template [--services N …] [--changes N] [--interval SECONDS] [--embedded]`

The Consul is a real 1.8.7 dev agent unless `--embedded`. A change is the port of one instance; its time runs from the moment before the
request is sent to the rename that puts the new file in place. Of that, `write` is the time from the creation of the temporary file to the
rename: what the disk takes for the daemon's own write and fsync; `before` is the rest, Consul's part and the daemon's. CPU is the daemon's
own, from the kernel's scheduler statistics. The files are in TMPDIR: its file system is the one that is measured.
"""

import argparse
import ctypes
import os
import random
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.support.consul import ConsulServer, running_embedded_consul, running_real_consul
from tests.support.waiting import eventually

INSTANCES = 5
TEMPLATE = """{% for s in services() %}upstream {{ s.name }} {
{% for i in service(s.name) %}  server {{ i.address }}:{{ i.port }};
{% endfor %}}
{% endfor %}"""
# consul-template 0.20.1, the real Consul 1.8.7, one template over all services, a 2-core machine.
REFERENCE = {
    10: ("5", "", "8", "2", "15"),
    100: ("7", "", "11", "4", "20"),
    1000: ("21", "35", "79", "20", "93"),
}
_MOVED_TO, _CREATED = 0x80, 0x100  # of inotify
PROGRAM = [sys.executable, "-m", "consul_template_py.daemon"]


@dataclass(frozen=True)
class Change:
    """Seconds: until the daemon created its temporary file, and from then until that was in place."""

    before: float
    write: float

    @property
    def whole(self) -> float:
        return self.before + self.write


@dataclass
class Result:
    services: int
    first: float  # seconds to the first file
    changes: list[Change]
    cpu: float  # seconds a change
    memory: int  # KiB, resident
    peak: int
    size: int  # bytes of the file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--services", type=int, nargs="+", default=[10, 100, 1000, 5000])
    parser.add_argument("--changes", type=int, default=30)
    parser.add_argument("--interval", type=float, default=1.0)
    parser.add_argument("--embedded", action="store_true")
    parser.add_argument("--connections", type=int, default=0, help="0: one for each service")
    given = parser.parse_args()
    results = []
    for count in given.services:
        with tempfile.TemporaryDirectory(prefix="bench-consul-template-") as folder:
            results.append(_measure(count, Path(folder), given))
            print(f"  {count} services done", file=sys.stderr, flush=True)
    _show(results)


def _measure(count: int, folder: Path, given: argparse.Namespace) -> Result:
    limits = "limits { http_max_conns_per_client = 10000 }"
    server = running_embedded_consul(folder) if given.embedded else running_real_consul(folder, hcl=limits)
    with server as consul:
        _register(consul, count)
        (folder / "template.j2").write_text(TEMPLATE)
        (folder / "out").mkdir()
        out = folder / "out" / "upstreams.conf"
        began = time.perf_counter()
        connections = given.connections or count + 10
        command = [*PROGRAM, "-consul-addr", consul.address, "-log-level", "warning"]
        command += ["-consul-transport-max-conns-per-host", str(connections)]
        with subprocess.Popen([*command, "-template", f"{folder / 'template.j2'}:{out}"]) as process:
            try:
                eventually(out.exists, timeout=120, interval=0.005)
                first = time.perf_counter() - began
                time.sleep(3)
                return _changes(consul, process.pid, out, first, count, given)
            finally:
                process.terminate()


def _register(consul: ConsulServer, count: int) -> None:
    for node in range(10):
        consul.http.put(
            "catalog/register", {"Node": f"node-{node}", "Address": f"10.0.0.{node + 1}"}
        ).raise_for_status()
    for number in range(count):
        for instance in range(INSTANCES):
            _put(consul, number, instance, 20000 + instance)


def _put(consul: ConsulServer, number: int, instance: int, port: int) -> None:
    service: dict[str, Any] = {
        "ID": f"svc-{number:05d}-{instance}",
        "Service": f"svc-{number:05d}",
        "Address": f"10.1.{number % 250}.{instance + 1}",
        "Port": port,
        "Tags": ["http", "v1"],
        "Meta": {"dromos-app": f"/svc-{number:05d}", "version": "1"},
    }
    node = {"Node": f"node-{instance}", "Address": f"10.0.0.{instance + 1}", "SkipNodeUpdate": True}
    consul.http.put("catalog/register", {**node, "Service": service}).raise_for_status()


def _changes(consul: ConsulServer, pid: int, out: Path, first: float, count: int, given: argparse.Namespace) -> Result:
    watch = _Writes(out.parent)
    choice = random.Random(1)
    changes = []
    cpu_before = _cpu(pid)
    for change in range(given.changes):
        port = 30000 + change
        number, instance = choice.randrange(count), choice.randrange(INSTANCES)
        began = time.perf_counter()
        _put(consul, number, instance, port)
        while True:
            created, renamed = watch.next()
            if f":{port};" in out.read_text():
                break
        changes.append(Change(created - began, renamed - created))
        time.sleep(max(0.0, given.interval - (time.perf_counter() - began)))
    cpu = (_cpu(pid) - cpu_before) / given.changes
    memory, peak = (_status(pid, name) for name in ("VmRSS", "VmHWM"))
    return Result(count, first, changes, cpu, memory, peak, out.stat().st_size)


class _Writes:
    """Waits, by inotify, for a file to be written beside its place in a folder, and renamed to it; says when each of the two was."""

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._handle = libc.inotify_init1(0)
        if libc.inotify_add_watch(self._handle, str(folder).encode(), _MOVED_TO | _CREATED) < 0:
            raise OSError(ctypes.get_errno(), "inotify")
        self._created = 0.0
        self._done: deque[tuple[float, float]] = deque()

    def next(self) -> tuple[float, float]:
        while not self._done:
            data = os.read(self._handle, 4096)
            seen = time.perf_counter()
            at = 0
            while at < len(data):
                _, event, _, length = struct.unpack_from("iIII", data, at)
                name = data[at + 16 : at + 16 + length].rstrip(b"\0")
                at += 16 + length
                if event & _CREATED and name.startswith(b"."):
                    self._created = seen
                elif event & _MOVED_TO and not name.startswith(b"."):
                    self._done.append((self._created, seen))
        return self._done.popleft()


def _cpu(pid: int) -> float:
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def _status(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _show(results: list[Result]) -> None:
    columns = (
        "services",
        "file KiB",
        "first s",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "max ms",
        "before p50",
        "max",
        "write p50",
        "max",
        "CPU ms/change",
        "MB",
        "peak MB",
    )
    table = Table(*columns, title="Consul change to applied file", box=None, title_justify="left")
    for result in results:
        ordered = sorted(change.whole for change in result.changes)
        before = [change.before for change in result.changes]
        writes = [change.write for change in result.changes]

        def at(share: float, ordered: list[float] = ordered) -> str:
            return f"{ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000:.1f}"

        table.add_row(
            f"{result.services:,}",
            f"{result.size / 1024:.0f}",
            f"{result.first:.2f}",
            f"{statistics.median(ordered) * 1000:.1f}",
            at(0.9),
            at(0.99),
            f"{ordered[-1] * 1000:.1f}",
            f"{statistics.median(before) * 1000:.1f}",
            f"{max(before) * 1000:.1f}",
            f"{statistics.median(writes) * 1000:.1f}",
            f"{max(writes) * 1000:.1f}",
            f"{result.cpu * 1000:.1f}",
            f"{result.memory / 1024:.0f}",
            f"{result.peak / 1024:.0f}",
        )
    console = Console(width=140)
    console.print(table, "", _slowest(results), "")
    reference = Table(
        "services",
        "p50 ms",
        "p90 ms",
        "max ms",
        "CPU ms/change",
        "MB",
        title="consul-template 0.20.1",
        box=None,
        title_justify="left",
    )
    for services, figures in REFERENCE.items():
        reference.add_row(f"{services:,}", *figures)
    console.print(reference, "")


def _slowest(results: list[Result]) -> Table:
    """Where the time of the slowest changes went."""
    table = Table("services", "change", "ms", "before", "write", title="The slowest", box=None, title_justify="left")
    for result in results:
        slowest = sorted(enumerate(result.changes, 1), key=lambda item: -item[1].whole)[:3]
        for number, change in slowest:
            parts = (change.whole, change.before, change.write)
            table.add_row(f"{result.services:,}", str(number), *(f"{part * 1000:.1f}" for part in parts))
    return table


if __name__ == "__main__":
    main()
