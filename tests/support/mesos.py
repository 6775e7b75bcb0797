"""Mesos for tests: the embedded one and a real Apache Mesos, each as a process of its own on a free port.

Both are reached over HTTP alone, so a test that takes a `Mesos` runs on either:

    def test_something(embedded_mesos):
        mesos = embedded_mesos(agents=2, simulate=True)
        ... mesos.url, mesos.address ...

A factory may be called several times in a test; all its servers end with the test. What they wrote is in `mesos.log`.
"""

import contextlib
import itertools
import os
import signal
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from daemonkit.errors import OperatorError
from embedded.mesos.agent_settings import AgentSettings
from embedded.mesos.cleanup import clean
from tests.real_mesos.build import built_mesos
from tests.support.processes import REPOSITORY, Process, free_port, running
from tests.support.waiting import eventually

REAL_MESOS = REPOSITORY / "tests" / "real_mesos"
RESOURCES = "cpus:4;mem:4096;disk:4096;ports:[31000-31999]"
START_TIMEOUT = 90.0


@dataclass(frozen=True)
class Mesos:
    """A running master with its agents."""

    host: str
    port: int
    log: Path
    process: Process
    real: bool
    simulated: bool = False  # tasks are entries, not processes

    @property
    def address(self) -> str:
        """`HOST:PORT`, as frameworks take it."""
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def get(self, path: str, timeout: float = 60.0) -> dict[str, Any]:
        """The JSON that a read endpoint answers."""
        with urllib.request.urlopen(self.url + path, timeout=timeout) as response:
            answer = orjson.loads(response.read())
        assert isinstance(answer, dict)
        return answer


async def operator(mesos: Mesos, kind: str, **content: Any) -> Any:
    """An /api/v1 call that is to succeed: the content of its answer, or None where there is none."""
    call = {"type": kind, **({kind.lower(): content} if content else {})}
    async with aiohttp.ClientSession() as session, session.post(f"{mesos.url}/api/v1", json=call) as response:
        text = await response.text()
        assert response.status == 200, f"{kind}: {response.status} {text}"
        return orjson.loads(text)[kind.lower()] if text else None


MesosFactory = Callable[..., Mesos]


@contextlib.contextmanager
def running_embedded_mesos(
    directory: Path,
    *,
    agents: int = 1,
    simulate: bool = False,
    resources: str = RESOURCES,
    ready: bool = True,
    **settings: object,
) -> Iterator[Mesos]:
    """`dromos mesos` as a process, all its agents active unless `ready` is False. Further `settings` are its flags:
    `start_lag=0.1` is `--start-lag 0.1`.

    State is below `directory`, so a second call with the same one restarts the same Mesos (give it the same `port`), if it is within the
    first: at the end of each block the tasks that it left running are ended.
    """
    port = settings.pop("port", None) or free_port()
    flags = {"port": port, "agents": agents, "state_dir": directory, **settings}
    command = [sys.executable, "-m", "embedded.mesos.daemon", "--host", "127.0.0.1"]
    if resources:
        flags["resources"] = resources
    for name, value in flags.items():
        command += ["--" + name.replace("_", "-"), str(value)]
    if simulate:
        command.append("--simulate")
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / f"mesos-{port}.log"
    try:
        with running(command, log=log) as process:
            mesos = Mesos("127.0.0.1", int(str(port)), log, process, real=False, simulated=simulate)
            if ready:
                _wait_until_ready(mesos, agents)
            yield mesos
    finally:
        if not simulate:
            _end_tasks(directory, AgentSettings.model_validate({"docker_url": settings.get("docker_url")}))


def _end_tasks(directory: Path, settings: AgentSettings) -> None:
    """In a thread of its own: the caller may have an event loop."""
    with contextlib.suppress(OperatorError), ThreadPoolExecutor(1) as thread:  # another one may run there
        thread.submit(clean, directory, settings).result()


@contextlib.contextmanager
def running_real_mesos(
    directory: Path, *, agents: int = 1, resources: str = RESOURCES, port: int | None = None, **flags: object
) -> Iterator[Mesos]:
    """Apache Mesos 1.11.0, master and agents in one process. Further `flags` are Mesos flags: `attributes="rack:1"`."""
    libraries = built_mesos()
    port = port or free_port()
    directory.mkdir(parents=True, exist_ok=True)
    environment = {
        "LD_LIBRARY_PATH": str(libraries),
        "LIBPROCESS_IP": "127.0.0.1",
        "LIBPROCESS_PORT": str(port),
        "MESOS_LAUNCHER_DIR": str(REAL_MESOS / "helpers"),
        "MESOS_LAUNCHER": "posix",
        "MESOS_SYSTEMD_ENABLE_SUPPORT": "false",
        "MESOS_CONTAINERIZERS": "mesos",
        "MESOS_REGISTRY": "in_memory",
        "MESOS_HOSTNAME": "127.0.0.1",
        "MESOS_ISOLATION": "posix/cpu,posix/mem",
        "MESOS_RESOURCES": resources,
        **{f"MESOS_{name.upper()}": str(value) for name, value in flags.items()},
    }
    # The helpers' paths of containers run long; the agent's own limit is that of a UNIX socket.
    with tempfile.TemporaryDirectory(prefix="mesos-", ignore_cleanup_errors=True) as work:
        command = [sys.executable, str(REAL_MESOS / "local_master.py"), str(libraries), work, str(agents)]
        log = directory / f"real-mesos-{port}.log"
        try:
            with running(command, log=log, env=environment) as process:
                mesos = Mesos("127.0.0.1", port, log, process, real=True)
                _wait_until_ready(mesos, agents)
                yield mesos
        finally:
            _end_containers(work)


def _end_containers(work: str) -> None:
    """Those that were about to start when their agent ended run on."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if work.encode() in (process / "environ").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)


def _wait_until_ready(mesos: Mesos, agents: int) -> None:
    def ready() -> bool:
        if mesos.process.poll() is not None:
            return True
        return sum(agent["active"] for agent in mesos.get("/slaves")["slaves"]) == agents

    came_up = False
    with contextlib.suppress(AssertionError):
        came_up = eventually(ready, timeout=START_TIMEOUT, interval=0.02)
    if mesos.process.poll() is not None or not came_up:
        last = mesos.log.read_text(errors="replace").splitlines()[-15:]
        kind = "Apache Mesos" if mesos.real else "the embedded Mesos"
        raise AssertionError(f"{kind} did not come up on {mesos.address}; the end of {mesos.log}:\n" + "\n".join(last))


@pytest.fixture
def real_mesos(tmp_path: Path) -> Iterator[MesosFactory]:
    """A factory of real masters with agents: `real_mesos(agents=2, resources="cpus:1;mem:128", roles=…)`."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(running_real_mesos(tmp_path, **settings))


@pytest.fixture
def embedded_mesos(tmp_path: Path) -> Iterator[MesosFactory]:
    """A factory of embedded masters with agents: `embedded_mesos(agents=2, simulate=True, start_lag=0.1)`."""
    with contextlib.ExitStack() as stack:
        count = itertools.count()

        def start(*, directory: Path | None = None, **settings: Any) -> Mesos:
            where = directory or tmp_path / f"mesos-{next(count)}"
            return stack.enter_context(running_embedded_mesos(where, **settings))

        yield start
