"""How long the API takes to answer while it deploys: framework, Mesos (simulated agents) and the asking are processes of their own.

python -m bench.framework_api [--apps 1000] [--instances 10] [--requests 300]
"""

import argparse
import os
import platform
import re
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import requests
from rich.console import Console
from rich.table import Table

from bench.framework_launch import ROOT, TASK, figures, request
from tests.support.mesos import running_embedded_mesos
from tests.support.processes import free_port, running
from tests.support.waiting import eventually

QUERIES = ("/v2/apps?embed=apps.tasks", "/v2/apps", "/v2/apps/bench/app-7", "/v2/tasks", "/v2/groups", "/ping")


# What the platform promises of itself.
MOST_P99 = 0.2  # seconds, of the first query
MOST_STALL = 0.05  # seconds
LOOP = "dromos_framework_loop"
POLL_SECONDS = 5.0  # the framework's longest stall is that of the last 15 s


class Deploying:
    """Changes one app after the other for as long as the block lasts, each change a rolling restart of its instances."""

    def __init__(self, url: str, apps: int) -> None:
        self._url, self._apps = url, apps
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._deploy, self._poll)]
        self.changes: list[float] = []
        self.longest = {"stall": 0.0, "busy": 0.0}
        self._before: dict[str, float] = {}
        self._after: dict[str, float] = {}

    def __enter__(self) -> "Deploying":
        self._before = figures(self._url)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._look()

    def _deploy(self) -> None:
        number = 0
        while not self._stop.wait(0.1):
            number += 1
            body = {"env": {"NUMBER": str(number)}}
            started = time.perf_counter()
            request(f"{self._url}/v2/apps/bench/app-{number % self._apps}?force=true", "PUT", body)
            self.changes.append(time.perf_counter() - started)

    def _poll(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            self._look()

    def _look(self) -> None:
        self._after = figures(self._url)
        for what in self.longest:
            self.longest[what] = max(self.longest[what], self._after[f"{LOOP}_longest_{what}_seconds"])

    def ticks_over(self, what: str, bucket: str) -> int:
        """How many ticks of the event loop were late ("stall") or busy for longer than this bucket, in seconds."""
        count, under = f"{LOOP}_{what}_seconds_count", f'{LOOP}_{what}_seconds_bucket{{le="{bucket}"}}'
        grown = {name: self._after[name] - self._before[name] for name in (count, under)}
        return round(grown[count] - grown[under])


def timed(url: str, count: int) -> tuple[list[float], int]:
    """Seconds of each answer, sorted, and the size of the last one in bytes."""
    seconds = []
    size = 0
    with requests.Session() as session:
        for _ in range(count):
            started = time.perf_counter()
            size = len(session.get(url, timeout=60).content)
            seconds.append(time.perf_counter() - started)
    return sorted(seconds), size


def percentile(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--apps", type=int, default=1000)
    parser.add_argument("--instances", type=int, default=10)
    parser.add_argument("--requests", type=int, default=300)
    options = parser.parse_args()
    tasks = options.apps * options.instances
    table = Table(title=f"answers with {options.apps} apps and {tasks} tasks, one deployment every 100 ms")
    for column in ("request", "p50, ms", "p99, ms", "most, ms", "kB"):
        table.add_column(column, justify="left" if column == "request" else "right")
    with tempfile.TemporaryDirectory() as directory:
        path, port = Path(directory), free_port()
        resources = "cpus:32;mem:65536;disk:65536;ports:[20000-32000]"
        with running_embedded_mesos(path / "mesos", agents=100, simulate=True, resources=resources) as mesos:
            command = [sys.executable, "-m", "framework.daemon", "--master", mesos.address, "--http-port", str(port)]
            command += ["--state-dir", str(path / "state"), "--drain-seconds", "0"]
            with running(command, log=path / "framework.log", env={"PYTHONPATH": str(ROOT)}, grace=30):
                url = f"http://127.0.0.1:{port}"
                eventually(lambda: request(f"{url}/health")["healthy"], timeout=30)
                listed = [{**TASK, "id": f"app-{i}", "instances": options.instances} for i in range(options.apps)]
                request(f"{url}/v2/groups", "POST", {"id": "/bench", "apps": listed})
                eventually(
                    lambda: figures(url).get('dromos_framework_instances{condition="Running"}', 0) >= tasks,
                    timeout=600,
                    interval=0.2,
                    what=f"{tasks} running",
                )
                launch = figures(url)[f"{LOOP}_longest_stall_seconds"]
                eventually(
                    lambda: figures(url)[f"{LOOP}_longest_stall_seconds"] < launch or launch < MOST_STALL,
                    timeout=30,
                    interval=1,
                    what="the launch is out of the figures",
                )
                worst = {}
                with Deploying(url, options.apps) as deploying:
                    for query in QUERIES:
                        seconds, size = timed(url + query, options.requests)
                        row = (statistics.median(seconds), percentile(seconds, 0.99), seconds[-1])
                        worst[query] = row[1]
                        table.add_row(f"GET {query}", *(f"{value * 1000:.1f}" for value in row), f"{size / 1000:.0f}")
                changes = sorted(deploying.changes)
                row = (statistics.median(changes), percentile(changes, 0.99), changes[-1])
                table.add_row("PUT /v2/apps/{id}", *(f"{value * 1000:.1f}" for value in row), "")
    Console(width=120).print(table)
    for what, text in (("stall", "late"), ("busy", "busy by its own CPU time")):
        print(
            f"event loop's ticks in {len(changes)} deployments: {deploying.ticks_over(what, '0.05')} more than 50 ms {text},"
            f" {deploying.ticks_over(what, '0.025')} more than 25 ms, at most {deploying.longest[what] * 1000:.1f} ms"
        )
    print(f"while {tasks} tasks were launched at once it stood still for {launch * 1000:.0f} ms")
    print(f"machine: {machine()}")
    for what, value, most in (
        (f"p99 of GET {QUERIES[0]}", worst[QUERIES[0]], MOST_P99),
        ("longest stall of the event loop", deploying.longest["stall"], MOST_STALL),
    ):
        verdict = "met" if value < most else "MISSED"
        print(f"target: {what} under {most * 1000:.0f} ms: {verdict} ({value * 1000:.1f} ms)")


def machine() -> str:
    """What the figures were measured on."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = "/".join(f"{value:.1f}" for value in os.getloadavg())
    cpus = len(os.sched_getaffinity(0))
    return f"{model[1] if model else platform.machine()}, {cpus} CPUs, {memory:.0f} GiB, load {load} (the benchmark's own counts)"


if __name__ == "__main__":
    main()
