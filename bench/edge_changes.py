"""From a change in Consul to the traffic: the first request to a new endpoint, the last one to a removed one.

`python -m bench.edge_changes [--services N …] [--changes N] [--targets nginx-lua haproxy nginx]`

N services with 5 endpoints each in a real Consul 1.8.7; one more service is watched by a client that asks every millisecond. A change is
the registration of an endpoint and then its deregistration. "new" runs from before the request to Consul is sent to the first answer of
the new endpoint; "gone" to the moment at which the last request was sent that the removed endpoint answered. "heard" is when a bare
blocking query hears of the new endpoint: whoever listens, it is not sooner. CPU is what Consul, the daemon and the proxy take for a
change (the proxy's with the client's requests meanwhile), from the kernel's scheduler statistics: where the machine has other things to do,
the percentiles show that, and these hardly. Memory is that of all processes of the proxy (proportional set size), then of the edge daemon.
Plain Nginx sees fewer changes, and none past 1,000 services, where each of its reloads takes seconds.
"""

import argparse
import asyncio
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import requests
from rich.console import Console
from rich.table import Table

from bench.edge_throughput import cpu
from nginx import haproxy_process, process
from tests.support.backends import Backend, backends
from tests.support.consul import ConsulServer, OwnConsul, running_real_consul
from tests.support.edge import EdgeDaemon, register, running_edge
from tests.support.waiting import eventually, eventually_async

INSTANCES = 5
MOST_OPERATIONS = 64  # that Consul takes in a transaction
LIMITS = "limits { http_max_conns_per_client = 18000 }"  # those of an edge that has just ended count for a while
HOST = "probe.test"
PAUSE = 0.001  # seconds between the client's requests: one without any pause takes a core from those it measures
QUIET_ANSWERS, QUIET_SECONDS = 50, 0.15  # in a row and in time without an answer of the removed endpoint: it is gone
MOST_PLAIN = 1000  # services
PLAIN_SHARE = 5  # of the changes, plain Nginx sees one in so many: each is a reload


@dataclass
class Probe:
    """Asks the edge again and again, and remembers who answered when."""

    edge: EdgeDaemon
    seen: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # name -> (sent, answered)
    failed: int = 0
    requests: int = 0
    _stop: bool = False

    async def run(self) -> None:
        request = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
        writer: asyncio.StreamWriter | None = None
        while not self._stop:
            sent = time.monotonic()
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.edge.port)
                writer.write(request)
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length: ")[2].split("\r\n")[0])
                body = (await reader.readexactly(length)).decode()
                name = body if head.startswith("http/1.1 200") else "error"
                if "connection: close" in head:
                    writer.close()
                    writer = None
            except (OSError, EOFError, ValueError):
                self.failed += 1
                writer = None
                continue
            self.failed += name == "error"
            self.requests += 1
            self.seen.setdefault(name, []).append((sent, time.monotonic()))
            await asyncio.sleep(PAUSE)
        if writer:
            writer.close()

    def stop(self) -> None:
        self._stop = True

    def answers_since(self, moment: float) -> int:
        """How many requests were sent, and answered, since then."""
        return sum(sent > moment for answers in self.seen.values() for sent, _ in answers)


@dataclass
class Watch:
    """A bare blocking query for the service that changes: what Consul takes, whoever listens."""

    url: str
    seen: dict[int, float] = field(default_factory=dict)  # number of instances -> when it was first told

    async def run(self) -> None:
        index = "0"
        async with aiohttp.ClientSession() as session:
            while True:
                params = {"index": index, "wait": "60s", "stale": ""}
                async with session.get(f"{self.url}/v1/health/service/probe", params=params) as answer:
                    count, index = len(await answer.json()), answer.headers["X-Consul-Index"]
                    self.seen.setdefault(count, time.monotonic())


@dataclass
class Measured:
    new: list[float]
    gone: list[float]
    first: float  # seconds from the daemon's start until all endpoints are there
    proxy_memory: int  # KiB
    daemon_memory: int
    reloads: int
    failed: int
    requests: int
    cpu: tuple[float, ...]  # milliseconds of Consul's, the daemon's and the proxy's for each change
    heard: list[float]  # until a bare watch heard of it


async def fill(consul: ConsulServer, count: int) -> None:
    """Registers so many services, spread over nodes, by transactions: an agent's own registrations take longer the more it has."""
    operations = []
    nodes: set[str] = set()
    for number in range(count):
        name = f"service-{number:05d}"
        for instance in range(INSTANCES):
            node, address = f"node-{number % 100}", f"127.{1 + number // 250 % 250}.{number % 250}.{1 + instance}"
            nodes.add(node)
            meta = {"dromos-app": f"/group/{name}", "HAPROXY_0_VHOST": f"{name}.example.org"}
            service = {
                "ID": f"{name}-{instance}",
                "Service": name,
                "Address": address,
                "Port": 31000 + instance,
                "Meta": meta,
            }
            operations.append({"Service": {"Verb": "set", "Node": node, "Service": service}})
    async with aiohttp.ClientSession() as session:
        for node in sorted(nodes):
            body = {"Node": node, "Address": "127.0.0.1"}
            async with session.put(f"{consul.url}/v1/catalog/register", json=body) as answer:
                answer.raise_for_status()
        for first in range(0, len(operations), MOST_OPERATIONS):
            async with session.put(f"{consul.url}/v1/txn", json=operations[first : first + MOST_OPERATIONS]) as answer:
                answer.raise_for_status()


async def measure(consul: OwnConsul, target: str, services: int, changes: int, directory: Path) -> Measured:
    flags = [
        "--target",
        target,
        "--consul-connections",
        str(services + 100),
        "--no-access-log",
        "--reload-interval",
        "0.2",
    ]
    async with backends("stays", "changes") as (stays, changing):
        lasting = register(consul, stays, "probe", HAPROXY_0_VHOST=HOST)
        began = time.monotonic()
        with running_edge(directory, consul.url, *flags) as edge:
            await asyncio.to_thread(
                eventually, lambda: told(edge, "dromos_edge_services") >= services + 1, 120.0, 0.2, "all services known"
            )
            await asyncio.to_thread(eventually, lambda: edge.get("/", HOST).status_code == 200, 60.0, 0.05, "routed")
            first = time.monotonic() - began
            reloads = await settled(edge)
            probe = Probe(edge)
            asking = asyncio.create_task(probe.run())
            new, gone, heard = [], [], []
            watch = Watch(consul.url)
            watching = asyncio.create_task(watch.run())
            assert edge.daemon
            proxy = process.ours(edge.layout) or haproxy_process.ours(edge.layout)
            parts = ([consul.pid], [edge.daemon.pid], [] if target == "nginx" else proxy)  # whose workers do not stay
            before = [cpu(pids) for pids in parts]
            for _ in range(changes):
                one, other = await change(consul, probe, changing, watch)
                new.append(one)
                gone.append(other)
                heard.append(watch.seen[2])
            used = [cpu(pids) - earlier for pids, earlier in zip(parts, before, strict=True)]
            probe.stop()
            watching.cancel()
            await asyncio.gather(asking, watching, return_exceptions=True)
            consul.deregister(lasting)
            return Measured(
                new,
                gone,
                first,
                sum(map(memory, process.ours(edge.layout) or haproxy_process.ours(edge.layout))),
                memory(edge.daemon.pid),
                told(edge, "dromos_edge_reloads_total") - reloads,
                probe.failed,
                probe.requests,
                tuple(1000 * seconds / (2 * changes) for seconds in used),
                heard,
            )


def told(edge: EdgeDaemon, name: str) -> int:
    """A number of the daemon's own."""
    text = requests.get(f"http://127.0.0.1:{edge.daemon_port}/metrics", timeout=30).text
    return int(next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} ")))


async def settled(edge: EdgeDaemon) -> int:
    """How many reloads there have been, once no more come."""
    last, since = -1, time.monotonic()
    while time.monotonic() - since < 3.0:
        await asyncio.sleep(0.2)
        now = told(edge, "dromos_edge_reloads_total")
        if now != last:
            last, since = now, time.monotonic()
    return last


async def change(consul: ConsulServer, probe: Probe, changing: Backend, watch: Watch) -> tuple[float, float]:
    probe.seen.clear()
    watch.seen.clear()
    before = time.monotonic()
    id = await asyncio.to_thread(register, consul, changing, "probe", HAPROXY_0_VHOST=HOST)
    await eventually_async(lambda: "changes" in probe.seen, 30.0, 0.002)
    new = probe.seen["changes"][0][1] - before
    await eventually_async(lambda: 2 in watch.seen, 30.0, 0.002)
    watch.seen[2] -= before
    await asyncio.sleep(0.1)
    before = time.monotonic()
    await asyncio.to_thread(consul.deregister, id)

    def is_quiet() -> bool:
        last = max(before, probe.seen["changes"][-1][1])
        return time.monotonic() - last > QUIET_SECONDS and probe.answers_since(last) > QUIET_ANSWERS

    await eventually_async(is_quiet, 30.0, 0.01)
    return new, max(0.0, probe.seen["changes"][-1][0] - before)


def memory(pid: int) -> int:
    """Proportional set size in KiB: shared memory is counted once over all processes."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def percentile(values: list[float], share: float) -> str:
    ordered = sorted(values)
    return f"{1000 * ordered[min(len(ordered) - 1, int(len(ordered) * share))]:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--services", type=int, nargs="+", default=[10, 100, 1000, 5000])
    parser.add_argument("--changes", type=int, default=40)
    parser.add_argument("--targets", nargs="+", default=["nginx-lua", "haproxy", "nginx"])
    arguments = parser.parse_args()
    table = Table(title="change in Consul → traffic, ms (goal: p99 under 100 ms at 1000 services with nginx-lua)")
    columns = ("services × 5", "target", "start s", "heard p50", "p99", "new p50", "p99", "gone p50", "p99", "reloads")
    for column in (*columns, "failed", "CPU ms: Consul", "daemon", "proxy", "MiB: proxy", "daemon"):
        table.add_column(column, justify="left" if column == "target" else "right")
    for services in arguments.services:
        with tempfile.TemporaryDirectory() as directory, running_real_consul(Path(directory), hcl=LIMITS) as consul:
            asyncio.run(fill(consul, services))
            for target in arguments.targets:
                if target == "nginx" and services > MOST_PLAIN:
                    continue
                changes = max(1, arguments.changes // (PLAIN_SHARE if target == "nginx" else 1))
                found = asyncio.run(measure(consul, target, services, changes, Path(directory) / target))
                times = [
                    percentile(values, share)
                    for values in (found.heard, found.new, found.gone)
                    for share in (0.5, 0.99)
                ]
                table.add_row(
                    str(services),
                    target,
                    f"{found.first:.1f}",
                    *times,
                    str(found.reloads),
                    f"{found.failed} of {found.requests}",
                    *(f"{spent:.1f}" for spent in found.cpu),
                    f"{found.proxy_memory / 1024:.0f}",
                    f"{found.daemon_memory / 1024:.0f}",
                )
                _, _, new, new_p99, gone, gone_p99 = times
                shown = f"p50 and p99 in ms: new {new}, {new_p99}, gone {gone}, {gone_p99}"
                print(f"{services} × 5, {target}: {shown}", flush=True)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
