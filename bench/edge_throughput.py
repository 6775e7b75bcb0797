"""Requests per second through the edge, beside a static nginx.conf and HAProxy on the same machine, and what a change costs meanwhile.

`python -m bench.edge_throughput [--seconds S] [--connections N] [--requests N]`

First table: `wrk` with keep-alive connections against an upstream Nginx that answers from memory; the static file sets the same
headers as the edge. Each way is measured in turn, several times, and the best counts: the machine has other things to do. CPU is the
proxy's own, from the kernel's scheduler statistics, which hardly depend on the neighbours. Goal: 90 % of the static file's requests/s.
Second table: clients that never retry, while 100 endpoints come and go and 16 routes are added; failed requests of all.
"""

import argparse
import asyncio
import contextlib
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import requests
from rich.console import Console
from rich.table import Table

from daemonkit import logs
from nginx import haproxy_process, process
from nginx.model import Instance
from tests.support.backends import backends
from tests.support.load import LoadResult, load
from tests.support.processes import free_port, running
from tests.support.rig import rig
from tests.support.waiting import eventually

ROUNDS = 4
STATIC_WAY = "static nginx.conf"
STATIC = """daemon off; pid {directory}/static.pid; error_log {directory}/static.log; worker_processes auto; worker_rlimit_nofile 8192;
events {{ worker_connections 4096; multi_accept on; }}
http {{
  access_log off; keepalive_requests 100000; server_tokens off;
  client_body_temp_path {directory}/b; proxy_temp_path {directory}/p; fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u;
  scgi_temp_path {directory}/s;
  upstream web {{ {servers} keepalive 512; keepalive_requests 100000; }}
  map $http_upgrade $upgraded {{ default upgrade; "" ""; }}
  server {{
    listen 127.0.0.1:{port} default_server;
    location / {{
      proxy_pass http://web;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Connection $upgraded;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Port $server_port;
      proxy_set_header X-Request-ID $request_id;
    }}
  }}
}}
"""
ORIGIN = """daemon off; pid {directory}/origin.pid; error_log {directory}/origin.log; worker_processes 1; worker_rlimit_nofile 8192;
events {{ worker_connections 4096; multi_accept on; }}
http {{ access_log off; keepalive_requests 100000000;
  client_body_temp_path {directory}/b; proxy_temp_path {directory}/p; fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u;
  scgi_temp_path {directory}/s;
  server {{ {listens} location / {{ return 200 "hello from the origin, which is quick\\n"; }} }} }}
"""


@contextlib.contextmanager
def nginx(directory: Path, template: str, port: int, **values: object) -> Iterator[int]:
    """Its master's pid."""
    directory.mkdir(exist_ok=True)
    config = directory / "nginx.conf"
    config.write_text(template.format(directory=directory, port=port, **values))
    command = ["nginx", "-p", f"{directory}/", "-c", str(config), "-e", str(directory / "error.log")]
    with running(command, log=directory / "out.log") as master:
        eventually(lambda: _rate(port, 0.0) is None, 10.0)
        yield master.pid


def family(pid: int) -> list[int]:
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def cpu(pids: list[int]) -> float:
    """Seconds that those processes have run, all threads."""
    found = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += int((task / "schedstat").read_text().split()[0])
    return found / 1e9


def _rate(port: int, seconds: float, connections: int = 64) -> float | None:
    """Requests per second as wrk counts them; None for a single request that was only to be answered."""
    if not seconds:
        assert requests.get(f"http://127.0.0.1:{port}/", timeout=2).status_code < 500
        return None
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds:.0f}s",
        "-H",
        "Host: web.test",
        f"http://127.0.0.1:{port}/",
    ]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in text, text
    return float(re.findall(r"Requests/sec:\s+([\d.]+)", text)[0])


async def throughput(directory: Path, seconds: float, connections: int) -> dict[str, tuple[float, float]]:
    """Way -> (requests per second, CPU seconds a request), both the best of all rounds."""
    ports = [free_port() for _ in range(4)]
    static_port = free_port()
    shown = [Instance(f"web-{port}", "web", "127.0.0.1", port, meta={"HAPROXY_0_VHOST": "web.test"}) for port in ports]
    servers = " ".join(f"server 127.0.0.1:{port};" for port in ports)
    listens = " ".join(f"listen 127.0.0.1:{port};" for port in ports)
    best: dict[str, tuple[float, float]] = {}
    with (
        nginx(directory / "origin", ORIGIN, ports[0], listens=listens),
        nginx(directory / "static", STATIC, static_port, servers=servers) as static,
    ):
        async with contextlib.AsyncExitStack() as stack:
            found = {STATIC_WAY: (static_port, lambda: family(static))}
            for target in ("nginx-lua", "nginx", "haproxy"):
                edge = await stack.enter_async_context(
                    rig(directory / target, target, workers="auto", log_requests=False, trusted=())
                )
                await edge.show(*shown)
                layout = edge.layout
                found[target] = (edge.port, lambda layout=layout: process.ours(layout) or haproxy_process.ours(layout))
            for _ in range(ROUNDS):
                for name, (port, pids) in found.items():
                    before = cpu(pids())
                    rate = await asyncio.to_thread(_rate, port, seconds, connections) or 0.0
                    used = (cpu(pids()) - before) / (rate * seconds)
                    last = best.get(name, (0.0, 1.0))
                    best[name] = (max(last[0], rate), min(last[1], used))
    return best


async def changes(directory: Path, target: str, count: int) -> tuple[int, int, int, int]:
    """(requests, failed, clean closes, reloads) while 100 endpoints come and go and 16 routes are added."""
    names = [f"b{number}" for number in range(5)]
    async with (
        rig(directory, target, workers="auto", soft_close=0.3, log_requests=False) as edge,
        backends("stays", *names) as servers,
    ):
        stays, *others = servers
        base = shown(stays.port)
        await edge.show(base)
        extra: list[Instance] = []
        reloads = edge.reloads
        async with load(
            f"http://127.0.0.1:{edge.port}/", connections=8, headers={"Host": "web.test"}, keep_bodies=False
        ) as result:
            for step in range(100):
                await edge.show(base, shown(others[step % 5].port), *extra)
                await _answered(result, count * (step + 0.5) / 100)
                if step % 6 == 0 and len(extra) < 16:
                    extra.append(shown(stays.port, f"extra-{step}"))
                await edge.show(base, *extra)
                await _answered(result, count * (step + 1) / 100)
        return result.requests, result.failed, result.clean_closes, edge.reloads - reloads


def shown(port: int, service: str = "web") -> Instance:
    return Instance(f"{service}-{port}", service, "127.0.0.1", port, meta={"HAPROXY_0_VHOST": f"{service}.test"})


async def _answered(result: LoadResult, count: float) -> None:
    while result.requests < count:  # noqa: ASYNC110  the load counts, it does not tell
        await asyncio.sleep(0.005)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--requests", type=int, default=100_000)
    arguments = parser.parse_args()
    logs.configure(daemon="bench", level="error")
    console = Console(width=120)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        found = asyncio.run(throughput(directory, arguments.seconds, arguments.connections))
        title = "through the edge (goal: nginx-lua at least 90 % of static)"
        table = Table("way", "requests/s", "of static", "CPU µs a request", title=title, min_width=80)
        for way, (rate, used) in found.items():
            table.add_row(way, f"{rate:,.0f}", f"{100 * rate / found[STATIC_WAY][0]:.0f} %", f"{used * 1e6:.1f}")
        console.print(table)
        table = Table(
            "target",
            "requests",
            "failed",
            "clean closes",
            "reloads",
            "seconds",
            title="100 endpoint and 16 route changes",
        )
        for target in ("nginx-lua", "haproxy", "nginx"):
            began = time.monotonic()
            sent, failed, closes, reloads = asyncio.run(
                changes(directory / f"changes-{target}", target, arguments.requests)
            )
            row = (f"{sent:,}", str(failed), str(closes), str(reloads), f"{time.monotonic() - began:.0f}")
            table.add_row(target, *row)
        console.print(table)


if __name__ == "__main__":
    main()
