"""The whole platform as an operator runs it: `dromos up` on free ports, used through its command line, its API and its edge."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import requests

from tests.support import cli
from tests.support.consul import running_real_consul
from tests.support.load import LoadResult, load_in_thread
from tests.support.mesos import running_real_mesos
from tests.support.processes import free_ports
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
DROMOS = (sys.executable, "-m", "dromos")
PORTS = ("api", "mesos", "consul", "edge", "edge-status", "edge-daemon", "autoscale", "registrator")


@dataclass
class Platform:
    state_dir: Path
    up_flags: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(
        default_factory=lambda: dict(zip(PORTS, itertools.count(free_ports(len(PORTS))[0]), strict=False))
    )
    task_port_range: tuple[int, int] = field(default_factory=lambda: free_ports(100))

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['api']}"

    @property
    def edge_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['edge']}"

    def up(self, *flags: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        port_flags = [part for name, port in self.ports.items() for part in (f"--{name}-port", str(port))]
        patience = ("--start-timeout", "150s")
        return self.run("up", "--detach", *port_flags, *patience, *self.up_flags, *flags, timeout=timeout)

    def down(self) -> subprocess.CompletedProcess[str]:
        return self.run("down", "--state-dir", str(self.state_dir))

    def run(self, *args: str, stdin: str | None = None, timeout: float = 200) -> subprocess.CompletedProcess[str]:
        """`dromos ARGS`, in an interpreter of its own."""
        return subprocess.run(
            [*DROMOS, *args],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **self._environment()},
            cwd=ROOT,
            check=False,
        )

    def here(self, *args: str, stdin: str = "") -> cli.Done:
        """`dromos ARGS`, in this process."""
        with mock.patch.dict(os.environ, self._environment()):
            return cli.dromos(self.api_url, *args, stdin=stdin)

    def _environment(self) -> dict[str, str]:
        first, last = self.task_port_range
        return {
            "DROMOS_API_URL": self.api_url,
            "DROMOS_STATE_DIR": str(self.state_dir),
            "DROMOS_MESOS_RESOURCES": f"cpus:8;mem:8192;disk:8192;ports:[{first}-{last}]",
            "COLUMNS": "200",
            **self.environment,
        }

    def ok(self, *args: str, stdin: str = "") -> str:
        done = self.here(*args, stdin=stdin)
        assert done.code == 0, f"dromos {' '.join(args)} -> {done.code}\n{done.out}{done.err}"
        return done.out

    def json(self, *args: str) -> Any:
        return json.loads(self.ok("--json", *args))

    def deploy(self, app: dict[str, Any], *flags: str) -> None:
        self.ok("deploy", "-", *flags, stdin=json.dumps(app))

    def get(self, path: str) -> Any:
        response = requests.get(self.api_url + path, timeout=30)
        response.raise_for_status()
        return response.json()

    def tasks(self, app_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get(f"/v2/apps{app_id}/tasks")["tasks"]
        return found

    def edge(self, host: str, path: str = "/") -> requests.Response:
        return requests.get(self.edge_url + path, headers={"Host": host}, timeout=30)

    @contextlib.contextmanager
    def under_load(self, host: str, *, rate: float) -> Iterator[LoadResult]:
        """Keep-alive clients at the edge, that do not retry; the block begins when they have been answered for a while."""
        with load_in_thread(self.edge_url, rate=rate, headers={"Host": host}) as load:
            eventually(lambda: load.requests >= 20, what="the load has begun")
            yield load

    def answers(self, host: str, asked: int = 12) -> set[str]:
        """The different bodies of `asked` requests that were answered with 200."""
        responses = [self.edge(host) for _ in range(asked)]
        return {response.text for response in responses if response.status_code == 200}

    def daemon_pid(self, name: str) -> int:
        return int(json.loads((self.state_dir / "run" / f"{name}.json").read_text())["pid"])

    def kill_daemon(self, name: str) -> int:
        """kill -9; the pid that it had."""
        pid = self.daemon_pid(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_until_healthy(self, timeout: float = 60) -> None:
        eventually(lambda: self.here("status").code == 0, timeout, interval=0.2, what="all daemons are healthy")

    def logs(self) -> str:
        """The end of every daemon's log, for a failure's report."""
        parts = []
        for path in sorted((self.state_dir / "logs").glob("*.log")):
            parts.append(f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-40:]))
        return "\n".join(parts)


@contextlib.contextmanager
def platform(state_dir: Path, *up_flags: str, **environment: str) -> Iterator[Platform]:
    """A platform that is up inside the block, and gone without a trace after it."""
    one = Platform(state_dir, ("--no-sample", "--embedded-consul", *up_flags), environment)
    try:
        done = one.up()
        assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{one.logs()}"
        yield one
    finally:
        done = one.down()
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"


@contextlib.contextmanager
def real_neighbours(directory: Path) -> Iterator[tuple[str, ...]]:
    """An Apache Mesos and a Consul; the flags of `dromos up` that name them."""
    first, last = free_ports(100)
    resources = f"cpus:8;mem:8192;disk:8192;ports:[{first}-{last}]"
    with running_real_mesos(directory, resources=resources) as mesos, running_real_consul(directory) as consul:
        yield "--mesos-master", mesos.address, "--consul-addr", f"127.0.0.1:{consul.port}"


def kill_task(task_id: str) -> None:
    """kill -9 of all its processes."""
    pids = pids_of_task(task_id)
    assert pids, f"no process of {task_id}"
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # with the one before it
            os.kill(pid, signal.SIGKILL)


def pids_of_task(task_id: str) -> list[int]:
    """The processes that have this MESOS_TASK_ID in their environment: the task's own, in a container or not."""
    wanted = f"MESOS_TASK_ID={task_id}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if wanted in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found
