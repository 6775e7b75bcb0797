"""What the registrator's tests share: the daemon itself, run against real neighbours."""

import contextlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.consul import ConsulServer
from tests.support.docker import Dockerd
from tests.support.mesos import Mesos
from tests.support.processes import free_ports
from tests.support.registrator import Registrator, registrator_in_a_thread, running_registrator


@pytest.fixture
def registrator(tmp_path: Path) -> Iterator[Callable[..., Registrator]]:
    """A factory: `registrator(sources=["mesos"], mesos=[url], consul=url)`; all of them end with the test.

    They run in threads. With `process=True` it is the daemon, which gets the settings as flags, and has a log."""
    with contextlib.ExitStack() as stack:

        def start(*, process: bool = False, **settings: Any) -> Registrator:
            one = running_registrator(tmp_path, **settings) if process else registrator_in_a_thread(**settings)
            return stack.enter_context(one)

        yield start


@dataclass(frozen=True)
class Neighbours:
    mesos: Mesos
    consul: ConsulServer
    ports: range  # those that Mesos gives to tasks


@pytest.fixture(params=["embedded", "real"])
def neighbours(request: pytest.FixtureRequest) -> Neighbours:
    """The embedded Mesos with the embedded Consul, and the real ones."""
    start_mesos = request.getfixturevalue(f"{request.param}_mesos")
    first, last = free_ports(50)
    resources = f"cpus:4;mem:4096;disk:4096;ports:[{first}-{last}]"
    consul = request.getfixturevalue(f"{request.param}_consul")
    return Neighbours(start_mesos(resources=resources), consul, range(first, last + 1))


Run = Callable[..., Any]
SERVE = ["httpd", "-f", "-p", "80", "-h", "/www"]


@pytest.fixture
def run(dockerd: Dockerd, busybox: str) -> Iterator[Run]:
    """Runs a container that ends with the test; its ports are published on ports that Docker chooses."""
    with contextlib.ExitStack() as stack:

        def start(*, command: list[str] | None = None, **options: Any) -> Any:
            container = dockerd.client.containers.run(
                busybox,
                command or SERVE,
                detach=True,
                name=options.pop("name", f"c-{uuid.uuid4().hex[:8]}"),
                labels={"dromos-test": "1", **options.pop("labels", {})},
                **options,
            )
            stack.callback(remove, container)
            container.reload()
            return container

        yield start


def remove(container: Any) -> None:
    with contextlib.suppress(Exception):
        container.remove(force=True)


@pytest.fixture
def docker_registrator(dockerd: Dockerd, registrator: Callable[..., Registrator]) -> Callable[..., Registrator]:
    return lambda **settings: registrator(process=True, sources=["docker"], docker_host=dockerd.url, **settings)
