"""From a change in the framework to Consul: time, CPU and memory of the registrator, by the number of services.

Each service has five instances. Once a second one instance ends and another starts, over a real Consul 1.8.7.

    python -m bench.registrator [SERVICES …]
"""

import argparse
import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.support.consul import ConsulServer, running_real_consul
from tests.support.marathon import Marathon
from tests.support.registrator import running_registrator
from tests.support.waiting import eventually

SIZES = (10, 100, 1000)
INSTANCES = 5
CHANGES = 30
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("services", type=int, nargs="*", default=SIZES, help="how many; repeatable")
    sizes = parser.parse_args().services
    table = Table(
        "services", "instances", "first s", "p50 ms", "p99 ms", "CPU ms a change", "memory MB", "writes a change"
    )
    for size in sizes:
        table.add_row(*measure(size))
    Console(width=110).print(table)


def measure(size: int) -> tuple[str, ...]:
    with tempfile.TemporaryDirectory() as directory, Marathon().serving() as marathon:
        path = Path(directory)
        for number in range(size):
            marathon.put_app(f"/app-{number}")
            for instance in range(INSTANCES):
                marathon.put_task(f"/app-{number}", ports=[1 + number * INSTANCES + instance])
        settings: dict[str, Any] = {
            "sources": ["framework"],
            "marathon": [marathon.url],
            "tcp_check_interval": 0,
            "log_level": "warning",
        }
        with running_real_consul(path) as consul:
            began = time.monotonic()
            with running_registrator(path, consul=consul.url, ready=False, **settings) as daemon:
                eventually(
                    lambda: daemon.metric("dromos_registrator_services") == size * INSTANCES,
                    300,
                    0.1,
                    what="all registered",
                )
                first = time.monotonic() - began
                # The agent takes registrations faster than it hands them on to the catalog.
                eventually(lambda: catalog_size(consul) >= size * INSTANCES, 300, 0.5, what="all in the catalog")
                cpu, writes = cpu_seconds(daemon.pid), daemon.writes()
                change(marathon, consul, size)  # not counted: the agent may still be at it
                times = [change(marathon, consul, size) for _ in range(CHANGES)]
                cpu = cpu_seconds(daemon.pid) - cpu
                figures = (
                    first,
                    statistics.median(times) * 1000,
                    max(times) * 1000,
                    cpu / CHANGES * 1000,
                    memory(daemon.pid),
                )
                shown = [f"{figure:.1f}" for figure in figures]
                return str(size), str(size * INSTANCES), *shown, f"{(daemon.writes() - writes) / CHANGES:.2f}"


def change(marathon: Marathon, consul: ConsulServer, size: int) -> float:
    """One instance is replaced by another; the seconds until the catalog has that."""
    time.sleep(random.uniform(0.9, 1.1))
    name = f"app-{random.randrange(size)}"
    before = consul.http.get(f"catalog/service/{name}")
    index, old = before.headers["X-Consul-Index"], random.choice(marathon.apps[f"/{name}"]["tasks"])
    began = time.monotonic()
    marathon.drop_task(f"/{name}", old["id"])
    new = marathon.put_task(f"/{name}", ports=old["ports"])
    marathon.announce("status_update_event", taskId=old["id"], taskStatus="TASK_KILLED")
    marathon.announce("status_update_event", taskId=new, taskStatus="TASK_RUNNING")
    while True:
        answer = consul.http.get(f"catalog/service/{name}", index=index, wait="10s")
        there = {entry["ServiceMeta"]["dromos-task"] for entry in answer.json()}
        if new in there and old["id"] not in there:
            return time.monotonic() - began
        index = answer.headers["X-Consul-Index"]


def catalog_size(consul: ConsulServer) -> int:
    node = consul.http.get("agent/self").json()["Config"]["NodeName"]
    return len(consul.http.get(f"catalog/node/{node}").json()["Services"])


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory(pid: int) -> float:
    """Resident megabytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
