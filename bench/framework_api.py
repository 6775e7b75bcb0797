"""How long the API takes to answer while it deploys: framework, Mesos (simulated agents) and the asking are processes of their own.

python -m bench.framework_api [--apps 1000] [--instances 10] [--requests 300]
"""

import argparse
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


class Deploying:
    """Changes one app after the other for as long as the block lasts, and looks at how late the event loop runs."""

    def __init__(self, url: str, apps: int) -> None:
        self._url, self._apps = url, apps
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self.changes: list[float] = []
        self.lags: list[float] = []

    def __enter__(self) -> "Deploying":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        number = 0
        while not self._stop.wait(0.1):
            number += 1
            body = {"env": {"NUMBER": str(number)}}
            started = time.perf_counter()
            request(f"{self._url}/v2/apps/bench/app-{number % self._apps}?force=true", "PUT", body)
            self.changes.append(time.perf_counter() - started)
            self.lags.append(figures(self._url)["dromos_framework_loop_lag_seconds"])


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
                with Deploying(url, options.apps) as deploying:
                    for query in QUERIES:
                        seconds, size = timed(url + query, options.requests)
                        row = (statistics.median(seconds), percentile(seconds, 0.99), seconds[-1])
                        table.add_row(f"GET {query}", *(f"{value * 1000:.1f}" for value in row), f"{size / 1000:.0f}")
                changes = sorted(deploying.changes)
                row = (statistics.median(changes), percentile(changes, 0.99), changes[-1])
                table.add_row("PUT /v2/apps/{id}", *(f"{value * 1000:.1f}" for value in row), "")
                lags = sorted(deploying.lags)
                table.add_row(
                    "event loop's lag", "", f"{percentile(lags, 0.99) * 1000:.1f}", f"{lags[-1] * 1000:.1f}", ""
                )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
