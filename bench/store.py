"""How long a new leader takes to read its state, and how long a commit takes: SQLite, and ZooKeeper as an ensemble of three here.

python -m bench.store [--instances 10000] [--apps 1000]
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from framework.engine import records
from framework.engine.ledger import load_ledger
from framework.model.app import App, VersionInfo
from framework.model.instance import Agent, Condition, Goal, Instance, Task
from framework.store.base import Store, Write
from framework.store.sqlite import SqliteStore
from framework.store.zookeeper import ZooKeeperStore
from framework.store.zookeeper_client import make_client, parse_address
from tests.support.zookeeper import running_ensemble

VERSION = "2026-01-01T00:00:00.000Z"
MOST_SECONDS = 5.0  # to read 10,000 instances


def state(apps: int, instances: int) -> list[Write]:
    """Entries as the engine writes them."""
    writes = [Write(records.FRAMEWORK, "id", records.encode(records.FRAMEWORK, "framework-1"))]
    for number in range(apps):
        app = App(f"/bench/app-{number}", cmd="run", version=VERSION, version_info=VersionInfo(VERSION, VERSION))
        writes.append(Write(records.SPECS, records.spec_key(app.id, VERSION), records.encode(records.SPECS, app)))
        writes.append(Write(records.DECLARED, app.id, records.encode(records.DECLARED, VERSION)))
    return writes + [instance(number, apps) for number in range(instances)]


def instance(number: int, apps: int) -> Write:
    spec, unique = f"/bench/app-{number % apps}", f"{number:08x}-e583-11f1-8c61-02fc00000001"
    name = f"bench_app-{number % apps}.instance-{unique}"
    task = Task(f"{name}._app.1", mesos_state="TASK_RUNNING", staged_at=1.7e9, host_ports=(31000 + number % 1000,))
    made = Instance(
        name, spec, VERSION, VERSION, "*",
        Agent(f"b7b1e8a4-0000-4a6b-9f7e-S{number % 200}", f"agent-{number % 200}.example"),
        (task,), Condition.RUNNING, Goal.RUNNING, provisioned_at=1.7e9 + number, since=1.7e9, active_since=1.7e9,
    )  # fmt: skip
    return Write(records.INSTANCES, name, records.encode(records.INSTANCES, made))


async def measure(name: str, new: Callable[[], Store], apps: int, instances: int) -> tuple[list[str], float]:
    store = new()
    await store.open()
    await store.claim("bench:1")
    writes = state(apps, instances)
    started = time.perf_counter()
    for start in range(0, len(writes), 2000):
        await store.commit(writes[start : start + 2000])
    filled = time.perf_counter() - started
    single = []
    for number in range(200):
        started = time.perf_counter()
        await store.commit([instance(number, apps)])
        single.append(time.perf_counter() - started)
    await store.close()
    again = new()
    started = time.perf_counter()
    await again.open()
    await again.claim("bench:2")
    ledger = await load_ledger(again)
    load = time.perf_counter() - started
    assert len(ledger.instances) == instances
    await again.close()
    middle, worst = statistics.median(single), max(single)
    return [name, f"{filled:.2f} s", f"{middle * 1000:.1f} ms", f"{worst * 1000:.0f} ms", f"{load:.2f} s"], load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=10_000)
    parser.add_argument("--apps", type=int, default=1000)
    given = parser.parse_args()
    table = Table(title=f"{given.instances} instances of {given.apps} apps")
    for column in ("store", "written in batches of 2000", "one change, median", "worst of 200", "read by a new leader"):
        table.add_column(column, justify="left" if column == "store" else "right")
    with tempfile.TemporaryDirectory() as scratch, running_ensemble(Path(scratch) / "zookeeper") as ensemble:
        place = parse_address(ensemble.address())

        def zookeeper() -> Store:
            return ZooKeeperStore(make_client(place, session_timeout=10), place.path, backups=Path(scratch))

        stores: dict[str, Callable[[], Store]] = {
            "SQLite": lambda: SqliteStore(Path(scratch) / "state.db"),
            "ZooKeeper": zookeeper,
        }
        slowest = 0.0
        for name, new in stores.items():
            row, load = asyncio.run(measure(name, new, given.apps, given.instances))
            table.add_row(*row)
            slowest = max(slowest, load)
    Console(width=140).print(table)
    if given.instances <= 10_000 and slowest > MOST_SECONDS:
        sys.exit(f"a state of {given.instances} instances is to be read in {MOST_SECONDS:g} s")


if __name__ == "__main__":
    main()
