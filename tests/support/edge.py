"""An edge for tests: the daemon as an operator runs it, on free ports, with its Nginx ended at the end."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from nginx import process
from nginx.layout import Layout
from tests.support.processes import free_port
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class EdgeDaemon:
    """`dromos edge` with state below `state_dir`."""

    state_dir: Path
    consul: str
    flags: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    status_port: int = field(default_factory=free_port)
    daemon_port: int = field(default_factory=free_port)
    daemon: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def layout(self) -> Layout:
        return Layout(self.state_dir)

    @property
    def log(self) -> str:
        return (self.state_dir / "daemon.log").read_text()

    def start(self, *, ready: bool = True, timeout: float = 20.0) -> None:
        self.state_dir.mkdir(parents=True, exist_ok=True)
        command = [
            *(sys.executable, "-m", "nginx.daemon", "--state-dir", str(self.state_dir), "--consul", self.consul),
            *("--port", str(self.port), "--status-port", str(self.status_port), "--daemon-port", str(self.daemon_port)),
            *self.flags,
        ]
        with (self.state_dir / "daemon.log").open("ab") as log:
            self.daemon = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, cwd=ROOT, env=os.environ
            )
        if ready:
            try:
                eventually(lambda: self.health()[0] == 200, timeout)
            except AssertionError as error:
                raise AssertionError(f"the edge is not ready: {error}\n{self.log[-3000:]}") from None

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Ends the daemon; Nginx runs on."""
        if self.daemon:
            self.daemon.send_signal(number)
            self.daemon.wait(timeout=15)
            self.daemon = None

    def stop(self) -> None:
        """Ends the daemon and its Nginx."""
        if self.daemon:
            self.kill()
        process.stop(self.state_dir, grace=1.0)

    def get(self, path: str = "/", host: str = "", **more: Any) -> requests.Response:
        headers = {**({"Host": host} if host else {}), **more.pop("headers", {})}
        return requests.get(f"{self.url}{path}", headers=headers, timeout=10, allow_redirects=False, **more)

    def health(self) -> tuple[int, dict[str, Any]]:
        answer = requests.get(f"http://127.0.0.1:{self.daemon_port}/health", timeout=5)
        return answer.status_code, answer.json()

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = requests.get(f"http://127.0.0.1:{self.daemon_port}/status", timeout=5).json()
        return found

    def metrics(self) -> str:
        return requests.get(f"http://127.0.0.1:{self.status_port}/metrics", timeout=5).text

    def nginx_status(self) -> dict[str, Any]:
        """What Nginx itself says, daemon or no daemon."""
        found: dict[str, Any] = requests.get(f"http://127.0.0.1:{self.status_port}/status", timeout=5).json()
        return found


@contextlib.contextmanager
def running_edge(state_dir: Path, consul: str, *flags: str) -> Iterator[EdgeDaemon]:
    edge = EdgeDaemon(state_dir, consul, flags)
    try:
        edge.start()
        yield edge
    finally:
        edge.stop()
