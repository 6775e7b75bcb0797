"""The registrator on a free port, in tests: as a process of its own, or, at a fraction of the cost, in a thread."""

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import uvloop

from registrator.daemon import run
from registrator.settings import RegistratorSettings
from tests.support.loops import running_in_a_thread
from tests.support.processes import Process, free_port, running
from tests.support.waiting import eventually


@dataclass
class Registrator:
    url: str

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = requests.get(f"{self.url}/status", timeout=30).json()
        return found

    def health(self) -> requests.Response:
        return requests.get(f"{self.url}/health", timeout=30)

    def metric(self, name: str, **labels: str) -> float:
        """One sample of /metrics; 0 where it is not there yet."""
        shown = "{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}" if labels else ""
        for line in requests.get(f"{self.url}/metrics", timeout=30).text.splitlines():
            if line.startswith(f"{name}{shown} "):
                return float(line.rpartition(" ")[2])
        return 0.0

    def writes(self) -> int:
        """The writes that Consul has taken, heartbeats aside."""
        kinds = ("register", "maintenance", "drop_check", "deregister")
        return int(sum(self.metric("dromos_registrator_writes_total", kind=kind) for kind in kinds))


@dataclass
class RegistratorProcess(Registrator):
    process: Process
    log: Path


@contextlib.contextmanager
def running_registrator(
    directory: Path, *, ready: bool = True, port: int = 0, **settings: object
) -> Iterator[RegistratorProcess]:
    """`settings` are its flags: `sources=["mesos"]`, `tcp_check_interval=1`. With `ready`, waits until it is healthy."""
    port = port or free_port()
    command = [sys.executable, "-m", "registrator.daemon", "--port", str(port)]
    for name, value in settings.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            command.append(flag if value else f"--no-{flag[2:]}")
        elif isinstance(value, list | tuple):
            for item in value:
                command += [flag, str(item)]
        else:
            command += [flag, str(value)]
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / f"registrator-{port}.log"
    with running(command, log=log, env={"DROMOS_CONFIG": ""}) as process:
        daemon = RegistratorProcess(f"http://127.0.0.1:{port}", process, log)
        expected = (200,) if ready else (200, 503)
        try:
            eventually(lambda: process.poll() is not None or daemon.health().status_code in expected, 60, 0.02)
            assert process.poll() is None, "it has ended"
        except AssertionError as error:
            raise AssertionError(f"the registrator did not come up: {error}\n{log.read_text()[-3000:]}") from None
        yield daemon


@contextlib.contextmanager
def registrator_in_a_thread(*, ready: bool = True, **settings: object) -> Iterator[Registrator]:
    """As `running_registrator`, for tests that look at what it does and not at its process. `settings` are those of its class."""
    given = RegistratorSettings.model_validate({"port": free_port(), **settings})
    daemon = Registrator(f"http://127.0.0.1:{given.port}")
    loop, stop = uvloop.new_event_loop(), asyncio.Event()
    failures: list[BaseException] = []

    async def serve() -> None:
        try:
            await run(given, stop)
        except BaseException as error:
            failures.append(error)

    with running_in_a_thread(loop, serve(), stop, "registrator"):
        expected = (200,) if ready else (200, 503)
        eventually(lambda: failures or daemon.health().status_code in expected, 60, 0.02, "the registrator is up")
        if not failures:
            yield daemon
    if failures:
        raise failures[0]
