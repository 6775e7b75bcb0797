"""How fast the embedded Mesos offers and launches: simulated agents, one framework over the real protocol.

`python -m bench.mesos_allocation [--agents 200] [--tasks 10000] [--rounds 20]`
"""

import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import click
import orjson
from rich.console import Console
from rich.table import Table

from tests.support.mesos import running_embedded_mesos
from tests.support.scheduler import framework_info, ranges, scalar

Json = dict[str, Any]

TASKS_AN_ACCEPT = 50
ACKNOWLEDGERS = 16
RESOURCES = "cpus:64;mem:65536;disk:65536;ports:[31000-32000]"


class Framework:
    """As small a scheduler as can be: what is measured is the master."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = f"{url}/api/v1/scheduler"
        self.headers = {"Content-Type": "application/json"}
        self.framework_id: Json = {}
        self.offers: asyncio.Queue[list[Json]] = asyncio.Queue()
        self.updates: asyncio.Queue[Json] = asyncio.Queue()
        self.states: Counter[str] = Counter()
        self.running_at: list[float] = []

    async def subscribe(self) -> asyncio.Task[None]:
        call = {"type": "SUBSCRIBE", "subscribe": {"framework_info": framework_info()}}
        response = await self.session.post(self.url, data=orjson.dumps(call), headers=self.headers)
        self.headers = self.headers | {"Mesos-Stream-Id": response.headers["Mesos-Stream-Id"]}
        ready = asyncio.Event()
        reader = asyncio.create_task(self._read(response, ready))
        await ready.wait()
        return reader

    async def _read(self, response: aiohttp.ClientResponse, ready: asyncio.Event) -> None:
        while True:
            length = await response.content.readuntil(b"\n")
            event = orjson.loads(await response.content.readexactly(int(length)))
            match event["type"]:
                case "SUBSCRIBED":
                    self.framework_id = event["subscribed"]["framework_id"]
                    ready.set()
                case "OFFERS":
                    self.offers.put_nowait(event["offers"]["offers"])
                case "UPDATE":
                    status = event["update"]["status"]
                    self.states[status["state"]] += 1
                    if status["state"] == "TASK_RUNNING":
                        self.running_at.append(time.perf_counter())
                    self.updates.put_nowait(status)

    async def call(self, kind: str, **content: Any) -> None:
        call = {"type": kind, "framework_id": self.framework_id, **content}
        async with self.session.post(self.url, data=orjson.dumps(call), headers=self.headers) as response:
            assert response.status == 202, await response.text()

    async def acknowledge_all(self) -> None:
        while True:
            status = await self.updates.get()
            fields = {name: status[name] for name in ("task_id", "agent_id", "uuid")}
            await self.call("ACKNOWLEDGE", acknowledge=fields)

    async def launch(self, offer: Json, numbers: range) -> None:
        infos = [_task(offer, number) for number in numbers]
        operations = [{"type": "LAUNCH", "launch": {"task_infos": infos}}]
        filters = {"refuse_seconds": 0.0}
        await self.call("ACCEPT", accept={"offer_ids": [offer["id"]], "operations": operations, "filters": filters})


def _task(offer: Json, number: int) -> Json:
    allocated = {"allocation_info": offer["allocation_info"]}
    port = 31000 + number % 1000
    return {
        "name": f"app-{number % 100}",
        "task_id": {"value": f"task-{number}"},
        "agent_id": offer["agent_id"],
        "resources": [
            scalar("cpus", 0.1, **allocated),
            scalar("mem", 32.0, **allocated),
            ranges("ports", (port, port), **allocated),
        ],
        "command": {"shell": True, "value": "run forever"},
        "labels": {"labels": [{"key": "HAPROXY_0_VHOST", "value": f"app-{number % 100}.example"}]},
        "discovery": {
            "visibility": "FRAMEWORK",
            "name": f"app-{number % 100}",
            "ports": {"ports": [{"number": port, "name": "http", "protocol": "tcp"}]},
        },
    }


@contextlib.asynccontextmanager
async def subscribed(url: str) -> AsyncIterator[Framework]:
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=1 << 22) as session:
        framework = Framework(session, url)
        reader = await framework.subscribe()
        yield framework
        await framework.call("TEARDOWN")
        reader.cancel()


async def offer_rate(url: str, agents: int, rounds: int) -> float:
    """Offers a second: all are declined, and asked for again by REVIVE, over and over."""
    async with subscribed(url) as framework:
        start, seen = time.perf_counter(), 0
        for _ in range(rounds):
            offers: list[Json] = []
            while len(offers) < agents:
                offers += await framework.offers.get()
            seen += len(offers)
            await framework.call("DECLINE", decline={"offer_ids": [offer["id"] for offer in offers]})
            await framework.call("REVIVE")
        return seen / (time.perf_counter() - start)


async def launch_rate(url: str, tasks: int) -> tuple[float, float]:
    """Seconds from the first ACCEPT until all tasks run; updates a second, each acknowledged."""
    async with subscribed(url) as framework:
        workers = [asyncio.create_task(framework.acknowledge_all()) for _ in range(ACKNOWLEDGERS)]
        start, launched = time.perf_counter(), 0
        while launched < tasks:
            for offer in await framework.offers.get():
                numbers = range(launched, min(tasks, launched + TASKS_AN_ACCEPT))
                if numbers:
                    await framework.launch(offer, numbers)
                    launched = numbers.stop
        while framework.states["TASK_RUNNING"] < tasks or not framework.updates.empty():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        seconds = framework.running_at[-1] - start
        for worker in workers:
            worker.cancel()
        assert framework.states.keys() == {"TASK_STARTING", "TASK_RUNNING"}, framework.states
        return seconds, sum(framework.states.values()) / seconds


def _resident_megabytes(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def _cpu_seconds(pid: int) -> float:
    """What the process has used so far, in user and system time."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(agents: int, tasks: int, rounds: int) -> None:
    table = Table(title=f"The embedded Mesos: {agents} simulated agents, {tasks} tasks")
    table.add_column("What")
    table.add_column("Measured", justify="right")
    with tempfile.TemporaryDirectory() as directory:
        start = time.perf_counter()
        with running_embedded_mesos(Path(directory), agents=agents, simulate=True, resources=RESOURCES) as mesos:
            table.add_row("start, all agents registered", f"{time.perf_counter() - start:.2f} s")
            table.add_row("offers", f"{await offer_rate(mesos.url, agents, rounds):,.0f} /s")
            before = _cpu_seconds(mesos.process.pid)
            seconds, updates = await launch_rate(mesos.url, tasks)
            used = _cpu_seconds(mesos.process.pid) - before
            table.add_row(f"first ACCEPT to {tasks:,} TASK_RUNNING", f"{seconds:.2f} s")
            table.add_row("updates, each acknowledged", f"{updates:,.0f} /s")
            table.add_row("CPU time of the Mesos for a task's launch", f"{used / tasks * 1e3:.2f} ms")
            start = time.perf_counter()
            size = len(orjson.dumps(mesos.get("/state")))
            table.add_row(f"/state ({size / 2**20:.1f} MB)", f"{time.perf_counter() - start:.2f} s")
            table.add_row("memory of the process", f"{_resident_megabytes(mesos.process.pid):.0f} MB")
    Console(file=sys.stdout).print(table)


@click.command(help=__doc__)
@click.option("--agents", default=200, show_default=True)
@click.option("--tasks", default=10_000, show_default=True)
@click.option("--rounds", default=20, show_default=True, help="of declining all offers and asking for them again")
def main(agents: int, tasks: int, rounds: int) -> None:
    asyncio.run(measure(agents, tasks, rounds))


if __name__ == "__main__":
    main()
