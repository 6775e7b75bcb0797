"""The framework's daemon for tests, as a process of its own, used over its API."""

import contextlib
import os
import signal
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tests.support.processes import Process, free_port, start
from tests.support.waiting import eventually

Json = dict[str, Any]


@dataclass
class Framework:
    """`directory` holds its state and log. Flags are the daemon's: `drain_seconds=0` is `--drain-seconds 0`."""

    directory: Path
    master: str
    flags: dict[str, object] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.directory / "framework.log"

    # --- life

    def launch(self) -> None:
        """Starts the process and does not wait for it."""
        self.directory.mkdir(parents=True, exist_ok=True)
        given = {"master": self.master, "http_port": self.port, "state_dir": self.directory / "state", **self.flags}
        command = [sys.executable, "-m", "framework.daemon"]
        for name, value in given.items():
            command += ["--" + name.replace("_", "-"), *([] if value is True else [str(value)])]
        self.process = start(command, self.log)

    def start(self, timeout: float = 60.0) -> None:
        """Starts it and waits until it is subscribed."""
        self.launch()

        def healthy() -> bool:
            self.launch_again()
            return bool(self.health()["healthy"])

        eventually(healthy, timeout=timeout, what=f"{self.url} healthy; see {self.log}")

    def launch_again(self) -> None:
        """Where its process has ended because of what it starts beside: it would find its port free now, or ZooKeeper answering."""
        if self.process is not None and self.process.poll() is not None:
            *_, last = self.log.read_text().splitlines() or [""]
            if "cannot listen" in last or "does not answer" in last:
                self.launch()

    def kill(self) -> None:
        """As a crash: SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self, timeout: float = 60.0) -> int:
        return self._end(signal.SIGTERM, timeout)

    def _end(self, number: signal.Signals, timeout: float = 60.0) -> int:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)
        try:
            return self.process.wait(timeout)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    # --- the API

    def request(self, method: str, path: str, *, timeout: float = 60.0, **more: Any) -> requests.Response:
        return requests.request(method, self.url + path, timeout=timeout, **more)

    def get(self, path: str) -> Any:
        response = self.request("GET", path)
        response.raise_for_status()
        return response.json()

    def change(self, method: str, path: str, body: Any = None) -> Any:
        """A request that is to succeed; the answer's JSON."""
        response = self.request(method, path, json=body)
        assert response.ok, f"{method} {path}: {response.status_code} {response.text}"
        return response.json() if response.content else None

    def health(self) -> Json:
        found: Json = self.request("GET", "/health").json()
        return found

    def app(self, app_id: str) -> Json:
        found: Json = self.get(f"/v2/apps/{app_id.lstrip('/')}")["app"]
        return found

    def tasks(self, app_id: str, state: str | None = "TASK_RUNNING") -> list[Json]:
        return [task for task in self.app(app_id)["tasks"] if state in (None, task["state"])]

    def deployments(self) -> list[Json]:
        found: list[Json] = self.get("/v2/deployments")
        return found

    def deploy(self, app: Json, timeout: float = 60.0) -> None:
        """Creates or updates an app and waits for the end of its deployment; asks again while nobody leads."""

        def answered() -> list[requests.Response]:
            response = self.request("PUT", f"/v2/apps/{app['id'].lstrip('/')}?force=true", json=app)
            return [response] if response.status_code not in (502, 503) else []

        [answer] = eventually(answered, timeout)
        assert answer.ok, f"{app['id']}: {answer.status_code} {answer.text}"
        self.settled(timeout)

    def settled(self, timeout: float = 60.0) -> None:
        def no_deployments() -> bool:
            assert self.process is not None and self.process.poll() is None, f"the framework ended; see {self.log}"
            return not self.deployments()

        eventually(no_deployments, timeout=timeout, what=f"no deployment left; see {self.log}")


@contextlib.contextmanager
def running_framework(directory: Path, master: str, **flags: object) -> Iterator[Framework]:
    """A framework of a role and name of its own, subscribed. Its process ends with the block; what it runs on Mesos does not."""
    own = {"framework_name": f"test-{uuid.uuid4().hex[:6]}", "drain_seconds": 0, "min_revive_offers_interval": 0.1}
    framework = Framework(directory, master, {**own, **flags})
    framework.start()
    try:
        yield framework
    finally:
        if framework.process is not None:
            framework.kill()
