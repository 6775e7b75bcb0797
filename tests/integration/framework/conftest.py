"""The masters that the framework's tests run on. Each has agents that are not shared with another test."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support.framework import Framework, running_framework
from tests.support.mesos import Mesos, running_embedded_mesos, running_real_mesos

RESOURCES = "cpus:4;mem:4096;disk:4096;ports:[31000-31999]"
ATTRIBUTES = "rack:a"


def _simulated(directory: Path) -> AbstractContextManager[Mesos]:
    return running_embedded_mesos(
        directory, agents=3, simulate=True, resources=RESOURCES, attributes=ATTRIBUTES, allocation_interval=0.2
    )


def _real(directory: Path) -> AbstractContextManager[Mesos]:
    return running_real_mesos(
        directory, agents=3, resources=RESOURCES, attributes=ATTRIBUTES, allocation_interval="200ms"
    )


@pytest.fixture(params=[_simulated, _real], ids=["simulated", "real"])
def mesos(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Mesos]:
    with request.param(tmp_path / "mesos") as server:
        yield server


@pytest.fixture
def framework(mesos: Mesos, tmp_path: Path) -> Iterator[Framework]:
    with running_framework(tmp_path / "framework", mesos.address) as daemon:
        yield daemon


MesosTasks = Callable[[], dict[str, str]]


@pytest.fixture
def mesos_tasks(mesos: Mesos) -> MesosTasks:
    """The tasks that Mesos knows and that have not ended: task id -> state."""

    def tasks() -> dict[str, str]:
        frameworks = mesos.get("/state")["frameworks"]
        return {task["id"]: task["state"] for framework in frameworks for task in framework["tasks"]}

    return tasks
