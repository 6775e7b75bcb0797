"""The servers that the contract holds for. All are reached over HTTP alone: a test cannot tell which one it has.

`simulated`  the embedded Mesos with simulated agents
`processes`  the embedded Mesos whose tasks are processes
`real`       Apache Mesos 1.11.0

Each server runs for the whole session. A test brings its own framework and role, and removes them at its end.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from tests.support.mesos import Mesos, running_embedded_mesos, running_real_mesos

AGENTS = 3
INTERVAL = 0.2  # seconds between allocations; the default of 1 s would only make the tests slower
RESOURCES = "cpus:4;mem:4096;disk:4096;ports:[31000-31999]"


ATTRIBUTES = "rack:a1;disks:4;zones:[1-2]"


def _embedded(directory: Path, *, simulate: bool) -> AbstractContextManager[Mesos]:
    return running_embedded_mesos(
        directory,
        agents=AGENTS,
        simulate=simulate,
        resources=RESOURCES,
        attributes=ATTRIBUTES,
        allocation_interval=INTERVAL,
        update_retry=2.0,
    )


def _real(directory: Path) -> AbstractContextManager[Mesos]:
    return running_real_mesos(
        directory,
        agents=AGENTS,
        resources=RESOURCES,
        attributes=ATTRIBUTES,
        allocation_interval=f"{INTERVAL * 1000:.0f}ms",
    )


SERVERS: dict[str, Callable[[Path], AbstractContextManager[Mesos]]] = {
    "simulated": partial(_embedded, simulate=True),
    "processes": partial(_embedded, simulate=False),
    "real": _real,
}


@pytest.fixture(params=SERVERS)
def own_mesos(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Mesos]:
    """A running Mesos with three agents, for a test that leaves it in a state that others would trip over."""
    with SERVERS[request.param](tmp_path) as server:
        yield server


@pytest.fixture(scope="package", params=SERVERS)
def mesos(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesos]:
    """A running Mesos with three agents, which other tests have used before."""
    with SERVERS[request.param](tmp_path_factory.mktemp(request.param)) as server:
        yield server
