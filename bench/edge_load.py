"""Load on the whole platform while everything behind the edge changes: how many requests fail, with each kind of proxy?

`python -m bench.edge_load [--requests N] [--connections N] [--targets T …]`, or `make edge-load`

Each proxy gets a platform of its own (`dromos up`, three agents, one app with health checks) and keep-alive clients at the edge that never
retry. Meanwhile the app is scaled up and down and updated, a task is killed (SIGKILL), an agent is lost with all of its tasks, other
apps bring routes and take them away, and 100 endpoints come and go. The load goes on until it has sent `--requests` GETs.
The goal is no failed request for nginx-lua and haproxy, and the command fails otherwise; plain Nginx is printed beside them.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from rich.console import Console
from rich.table import Table

from tests.support.load import LoadResult, load_in_thread
from tests.support.platform import Platform, kill_task, platform
from tests.support.waiting import eventually

APP, HOST = "/load", "load.localhost"
AGENTS, INSTANCES, PEAK = 3, 6, 16
ROUTES = 4
CHANGES = 100
GOAL = ("nginx-lua", "haproxy")
PATIENCE = 180.0  # seconds until a step counts as stuck


@dataclass
class Row:
    """One step, or all of them: how many requests were sent and failed meanwhile."""

    step: str
    requests: int = 0
    failed: int = 0
    clean_closes: int = 0
    seconds: float = 0.0
    reloads: int = 0


@dataclass
class Run:
    """A platform under load. `rows` grow by one with each step."""

    one: Platform
    load: LoadResult
    rows: list[Row] = field(default_factory=list)

    def step(self, name: str, take: Callable[[], None]) -> None:
        load, began = self.load, time.monotonic()
        sent, failed, closes, reloads = load.requests, load.failed, load.clean_closes, self.reloads()
        take()
        row = Row(name, load.requests - sent, load.failed - failed, load.clean_closes - closes)
        row.seconds, row.reloads = time.monotonic() - began, self.reloads() - reloads
        self.rows.append(row)
        print(f"  {name}: {row.requests} requests, {row.failed} failed, {row.seconds:.1f} s", flush=True)

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = requests.get(
            f"http://127.0.0.1:{self.one.ports['edge-daemon']}/status", timeout=10
        ).json()
        return found

    def reloads(self) -> int:
        return int(self.report()["reloads"])

    def endpoints(self) -> int:
        return len(self.report()["services"]["load"]["endpoints"])

    def wait_for_endpoints(self, count: int) -> None:
        eventually(lambda: self.endpoints() == count, PATIENCE, 0.1, f"{count} endpoints in the edge")

    # The steps

    def scale(self, instances: int) -> None:
        self.one.ok("scale", APP, str(instances), "--wait")
        self.wait_for_endpoints(instances)

    def update(self) -> None:
        self.one.deploy(app(INSTANCES, "2"), "--wait")
        eventually(
            lambda: "version 1" not in " ".join(self.one.answers(HOST)), PATIENCE, 0.1, "version 2 alone answers"
        )

    def kill_a_task(self) -> None:
        self.lose(self.one.tasks(APP)[:1])

    def lose_an_agent(self) -> None:
        """As a machine that loses its power: its tasks are dead at once, and the master finds out."""
        tasks = self.one.tasks(APP)
        agent = tasks[0]["slaveId"]
        lost = [task for task in tasks if task["slaveId"] == agent]
        assert 0 < len(lost) < len(tasks), f"{len(lost)} of {len(tasks)} tasks are on agent {agent}"
        call = {"type": "MARK_AGENT_GONE", "mark_agent_gone": {"agent_id": {"value": agent}}}
        self.lose(lost, lambda: requests.post(self.mesos, json=call, timeout=30).raise_for_status())

    def lose(self, tasks: list[dict[str, Any]], also: Callable[[], None] = lambda: None) -> None:
        for task in tasks:
            kill_task(task["id"])
        also()
        gone = {task["id"] for task in tasks}

        def replaced() -> bool:
            now = self.one.tasks(APP)
            return len(now) == INSTANCES and not gone & {task["id"] for task in now}

        eventually(replaced, PATIENCE, 0.1, f"{len(tasks)} tasks are replaced")
        self.wait_for_endpoints(INSTANCES)

    @property
    def mesos(self) -> str:
        return f"http://127.0.0.1:{self.one.ports['mesos']}/api/v1"

    def change_routes(self) -> None:
        for number in range(ROUTES):
            name = f"other-{number}"
            self.one.deploy(app(1, "1", f"/{name}", f"{name}.localhost"), "--wait")
            eventually(lambda: self.one.edge(f"{name}.localhost").status_code == 200, PATIENCE, 0.1, name)  # noqa: B023
            self.one.ok("destroy", f"/{name}", "--wait")

    def change_endpoints(self) -> None:
        for _ in range(CHANGES // (2 * (PEAK - INSTANCES))):
            self.scale(PEAK)
            self.scale(INSTANCES)

    def fill(self, count: int) -> None:
        while self.load.requests < count:
            time.sleep(0.1)


def app(instances: int, version: str, app_id: str = APP, host: str = HOST) -> dict[str, Any]:
    program = Path(__file__).with_name("_edge_app.py")
    check = {"protocol": "HTTP", "path": "/", "portIndex": 0, "gracePeriodSeconds": 30, "intervalSeconds": 2}
    return {
        "id": app_id,
        "cmd": f"exec {sys.executable} -S -E {program} $PORT0 {version}",
        "cpus": 0.1,
        "mem": 32,
        "instances": instances,
        "portDefinitions": [{"port": 0, "name": "http", "protocol": "tcp"}],
        "healthChecks": [check | {"timeoutSeconds": 10, "maxConsecutiveFailures": 3}],
        "upgradeStrategy": {"minimumHealthCapacity": 1, "maximumOverCapacity": 0.5},
        "constraints": [["rack", "GROUP_BY"]],
        "labels": {"HAPROXY_0_VHOST": host},
    }


def measure(target: str, count: int, connections: int, directory: Path) -> tuple[list[Row], LoadResult]:
    environment = {"DROMOS_EDGE_TARGET": target, "DROMOS_MESOS_ATTRIBUTES": "rack:r{n}"}
    with platform(directory, "--agents", str(AGENTS), **environment) as one:
        one.deploy(app(INSTANCES, "1"), "--wait")
        eventually(lambda: one.edge(HOST).status_code == 200, PATIENCE, what="the app is reached")
        headers = {"Host": HOST}
        with load_in_thread(one.edge_url, connections=connections, headers=headers, keep_bodies=False) as load:
            run = Run(one, load)
            run.wait_for_endpoints(INSTANCES)
            run.step("scale up", lambda: run.scale(PEAK))
            run.step("scale down", lambda: run.scale(INSTANCES))
            run.step("rolling update", run.update)
            run.step("a task is killed", run.kill_a_task)
            run.step("an agent is lost", run.lose_an_agent)
            run.step(f"{ROUTES} routes come and go", run.change_routes)
            run.step(f"{CHANGES} endpoints come and go", run.change_endpoints)
            run.step("no change", lambda: run.fill(count))
        return run.rows, load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--targets", nargs="+", default=[*GOAL, "nginx"])
    arguments = parser.parse_args()
    console = Console(width=120)
    missed = []
    for target in arguments.targets:
        print(f"{target}:", flush=True)
        with tempfile.TemporaryDirectory() as directory:
            rows, load = measure(target, arguments.requests, arguments.connections, Path(directory) / "state")
        title = f"{target}: {load.requests:,} requests, {load.failed} failed, p99 {1000 * load.percentile(0.99):.0f} ms"
        table = Table("while", "requests", "failed", "clean closes", "reloads", "seconds", title=title, min_width=90)
        for row in rows:
            table.add_row(
                row.step,
                f"{row.requests:,}",
                str(row.failed),
                str(row.clean_closes),
                str(row.reloads),
                f"{row.seconds:.1f}",
            )
        console.print(table)
        for at, what in load.failures[:10]:
            print(f"  failed at {at:.1f} s: {what}")
        missed += [target] if target in GOAL and load.failed else []
    if missed:
        sys.exit(f"requests failed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
