"""What the API's tests run on: a cluster in memory, and Apache Mesos 1.11 behind the framework's own scheduler.

In memory all of them; on Mesos those that are marked `on_mesos` too, and with DROMOS_TEST_MESOS=real (`make real-mesos`) all of them and
nothing else.
"""

import inspect
import os
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support import memory_cluster
from tests.support.memory_cluster import Cluster, Framework, running_framework
from tests.support.mesos import Mesos, running_real_mesos
from tests.support.mesos_cluster import MesosCluster

REAL = pytest.param("real", marks=pytest.mark.xdist_group("api-on-mesos"))
PLENTY = "cpus:1000;mem:1000000;disk:1000000;ports:[20000-31999]"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    needs_cluster = inspect.iscoroutinefunction(metafunc.function)
    if needs_cluster and os.environ.get("DROMOS_TEST_MESOS") == "real":
        metafunc.parametrize("cluster", [REAL], indirect=True)
    elif metafunc.definition.get_closest_marker("on_mesos"):
        metafunc.parametrize("cluster", ["memory", REAL], indirect=True)


@pytest.fixture(autouse=True)
def cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What every framework of the test runs on."""
    if getattr(request, "param", "memory") == "memory":
        monkeypatch.setattr(memory_cluster.default, "cluster", Cluster)
    else:
        address = request.getfixturevalue("shared_mesos").address
        monkeypatch.setattr(memory_cluster.default, "cluster", lambda engine: MesosCluster(engine, address))


@pytest.fixture(scope="package")
def shared_mesos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesos]:
    directory = tmp_path_factory.mktemp("api-on-mesos")
    with running_real_mesos(
        directory, agents=2, resources=PLENTY, hostname="agents.example", allocation_interval="50ms"
    ) as mesos:
        yield mesos


@pytest.fixture
async def framework() -> AsyncIterator[Framework]:
    async with running_framework() as running:
        yield running
