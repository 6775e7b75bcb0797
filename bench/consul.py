"""The embedded Consul beside the real 1.8.7: N services × 5 instances, a blocking query on each service, one change a second.

`python -m bench.consul [--services N …] [--changes N]`

The wake-up runs from the moment before the change is sent to the answer of the query that waits for it. CPU is the server's own, from
/proc; "idle" is what the waiting alone costs. A change is the status of one TTL check.
"""

import argparse
import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from rich.console import Console
from rich.table import Table

from tests.support.consul import OwnConsul, running_own_embedded_consul, running_real_consul

INSTANCES = 5
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Result:
    registered: float  # services' instances a second
    wakes: list[float]  # seconds
    idle: float  # share of a CPU
    cpu: float  # seconds a change
    memory: int  # KiB, resident
    spurious: int  # answers of queries for services that had not changed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--changes", type=int, default=20)
    arguments = parser.parse_args()
    columns = ("services × 5", "Consul", "registered/s", "wake p50 ms", "p99 ms", "CPU idle %", "CPU ms a change")
    table = Table(*columns, "memory MiB", "spurious", box=None)
    for services in arguments.services:
        for kind in ("embedded", "real"):
            with running(kind) as server:
                result = asyncio.run(measure(server, services, arguments.changes))
            ordered = sorted(result.wakes)
            table.add_row(
                f"{services:,}",
                kind,
                f"{result.registered:,.0f}",
                f"{statistics.median(ordered) * 1000:.1f}",
                f"{ordered[int(len(ordered) * 0.99)] * 1000:.1f}",
                f"{result.idle * 100:.1f}",
                f"{result.cpu * 1000:.1f}",
                f"{result.memory / 1024:.0f}",
                str(result.spurious),
            )
    Console(width=140).print(table)


@contextmanager
def running(kind: str) -> Iterator[OwnConsul]:
    with tempfile.TemporaryDirectory() as directory:
        if kind == "embedded":
            with running_own_embedded_consul(Path(directory), http_max_conns_per_client=0) as server:
                yield server
        else:
            hcl = "limits { http_max_conns_per_client = 15000 }"
            with running_real_consul(Path(directory), hcl=hcl) as server:
                yield server


async def measure(server: OwnConsul, services: int, changes: int) -> Result:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
        registered = await register(session, server, services)
        async with watching(session, server, services) as woken:
            await asyncio.sleep(2)
            idle = await cpu_share(server, 5.0)
            before, extra = cpu_seconds(server.pid), len(woken)
            wakes = []
            for change in range(changes):
                began = time.monotonic()
                wakes.append(await flip(session, server, random.randrange(services), change, woken))
                await asyncio.sleep(max(0.0, began + 1 - time.monotonic()))
            spent = cpu_seconds(server.pid) - before
            spurious = len(woken) - extra - changes
        return Result(registered, wakes, idle, spent / changes, memory(server.pid), spurious)


async def register(session: aiohttp.ClientSession, server: OwnConsul, services: int) -> float:
    began, slots = time.monotonic(), asyncio.Semaphore(16)

    async def one(service: int, instance: int) -> None:
        check = {"TTL": "24h", "Status": "passing"}
        body = {"Name": f"s{service}", "ID": f"s{service}-{instance}", "Address": "10.0.0.1", "Port": 20000 + instance}
        async with (
            slots,
            session.put(f"{server.url}/v1/agent/service/register", json={**body, "Check": check}) as answer,
        ):
            answer.raise_for_status()

    await asyncio.gather(*(one(service, instance) for service in range(services) for instance in range(INSTANCES)))
    rate = services * INSTANCES / (time.monotonic() - began)
    while len(await names(session, server)) < services + 1:  # noqa: ASYNC110  the real one brings them to the catalog later
        await asyncio.sleep(0.1)
    return rate


async def names(session: aiohttp.ClientSession, server: OwnConsul) -> dict[str, list[str]]:
    async with session.get(f"{server.url}/v1/catalog/services") as answer:
        found: dict[str, list[str]] = await answer.json()
        return found


@asynccontextmanager
async def watching(
    session: aiohttp.ClientSession, server: OwnConsul, services: int
) -> AsyncIterator[list[tuple[int, float]]]:
    """A query for each service, for ever; the list gets (service, time) for each answer after the first."""
    woken: list[tuple[int, float]] = []
    ready = asyncio.Semaphore(0)

    async def follow(service: int) -> None:
        url, index = f"{server.url}/v1/health/service/s{service}?passing=1&wait=5m", "0"
        while True:
            async with session.get(f"{url}&index={index}") as answer:
                await answer.read()
                if index == "0":
                    ready.release()
                else:
                    woken.append((service, time.monotonic()))
                index = answer.headers["X-Consul-Index"]

    tasks = [asyncio.create_task(follow(service)) for service in range(services)]
    for _ in tasks:
        await ready.acquire()
    try:
        yield woken
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def flip(
    session: aiohttp.ClientSession, server: OwnConsul, service: int, change: int, woken: list[tuple[int, float]]
) -> float:
    """Changes the status of one instance; how long until the query of its service was answered."""
    seen, began = len(woken), time.monotonic()
    status = {"Status": "warning" if change % 2 else "critical", "Output": str(change)}
    url = f"{server.url}/v1/agent/check/update/service:s{service}-{change % INSTANCES}"
    async with session.put(url, json=status) as answer:
        answer.raise_for_status()
    while True:
        for which, when in woken[seen:]:
            if which == service:
                return when - began
        await asyncio.sleep(0.001)


async def cpu_share(server: OwnConsul, seconds: float) -> float:
    before = cpu_seconds(server.pid)
    await asyncio.sleep(seconds)
    return (cpu_seconds(server.pid) - before) / seconds


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


if __name__ == "__main__":
    main()
