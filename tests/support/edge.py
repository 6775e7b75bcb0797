"""An edge for tests: the daemon as an operator runs it, on free ports, with its Nginx ended at the end."""

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from nginx import haproxy_process, process
from nginx.layout import Layout
from tests.support.backends import Backend
from tests.support.consul import ConsulServer
from tests.support.processes import Process, finished, free_port, start
from tests.support.waiting import eventually, eventually_async


@dataclass
class EdgeDaemon:
    """`dromos edge` with state below `state_dir`."""

    state_dir: Path
    consul: str
    flags: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    status_port: int = field(default_factory=free_port)
    daemon_port: int = field(default_factory=free_port)
    daemon: Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def layout(self) -> Layout:
        return Layout(self.state_dir)

    def master(self) -> object:
        """The master process of the proxy that runs, None if there is none."""
        return process.running(self.layout) or haproxy_process.settled(self.layout)

    @property
    def log(self) -> str:
        return (self.state_dir / "daemon.log").read_text()

    def start(self, *, ready: bool = True, timeout: float = 60.0) -> None:
        self.state_dir.mkdir(parents=True, exist_ok=True)
        command = [
            *(sys.executable, "-m", "nginx.daemon", "--state-dir", str(self.state_dir), "--consul", self.consul),
            *("--port", str(self.port), "--status-port", str(self.status_port), "--daemon-port", str(self.daemon_port)),
            *self.flags,
        ]
        self.daemon = start(command, self.state_dir / "daemon.log")
        if ready:
            try:
                eventually(lambda: self.health()[0] == 200, timeout)
            except AssertionError as error:
                raise AssertionError(f"the edge is not ready: {error}\n{self.log[-3000:]}") from None

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Ends the daemon; Nginx runs on."""
        if self.daemon:
            self.daemon.send_signal(number)
            self.daemon.wait(timeout=60)
            self.daemon = None

    def stop(self) -> None:
        """Ends the daemon and its Nginx."""
        if self.daemon:
            self.kill()
        process.stop(self.state_dir, grace=1.0)

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """`dromos edge … WORDS` against this daemon."""
        flags = ("--state-dir", str(self.state_dir), "--daemon-port", str(self.daemon_port))
        return finished([sys.executable, "-m", "nginx.daemon", *flags, *words])

    def get(self, path: str = "/", host: str = "", **more: Any) -> requests.Response:
        headers = {**({"Host": host} if host else {}), **more.pop("headers", {})}
        return requests.get(f"{self.url}{path}", headers=headers, timeout=60, allow_redirects=False, **more)

    def health(self) -> tuple[int, dict[str, Any]]:
        answer = requests.get(f"http://127.0.0.1:{self.daemon_port}/health", timeout=30)
        return answer.status_code, answer.json()

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = requests.get(f"http://127.0.0.1:{self.daemon_port}/status", timeout=30).json()
        return found

    def metrics(self) -> str:
        return requests.get(f"http://127.0.0.1:{self.status_port}/metrics", timeout=30).text

    def nginx_status(self) -> dict[str, Any]:
        """What Nginx itself says, daemon or no daemon."""
        found: dict[str, Any] = requests.get(f"http://127.0.0.1:{self.status_port}/status", timeout=30).json()
        return found


@contextlib.contextmanager
def running_edge(state_dir: Path, consul: str, *flags: str) -> Iterator[EdgeDaemon]:
    edge = EdgeDaemon(state_dir, consul, flags)
    try:
        edge.start()
        yield edge
    finally:
        edge.stop()


def register(consul: ConsulServer, backend: Backend, service: str, *, status: str = "passing", **meta: str) -> str:
    """A task of an app as the registrator writes it."""
    labels = {key.replace("__", "-"): value for key, value in meta.items()}
    app = labels.pop("app", f"/{service}")
    return consul.register(
        service,
        id=f"{service}-{backend.port}",
        port=backend.port,
        address=backend.host,
        status=status,
        Meta={"dromos-app": app, "dromos-port-index": "0", **labels},
    )


async def ask(edge: EdgeDaemon, path: str = "/", host: str = "", **more: object) -> requests.Response:
    """Without blocking the loop that the backends run in."""
    return await asyncio.to_thread(edge.get, path, host, **more)


async def answers(edge: EdgeDaemon, path: str = "/", host: str = "", count: int = 8) -> set[str]:
    """Who answers a few requests in turn."""
    found = set()
    for _ in range(count):
        answer = await ask(edge, path, host)
        found.add(answer.text if answer.status_code == 200 else str(answer.status_code))
    return found


async def becomes(edge: EdgeDaemon, expected: set[str], path: str = "/", host: str = "", timeout: float = 60.0) -> None:
    async def check() -> bool:
        return await answers(edge, path, host) == expected

    await eventually_async(check, timeout, what=f"{host}{path} answered by {expected}")
