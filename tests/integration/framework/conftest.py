"""What the framework's tests run on: a master with three agents, simulated or real, and one framework for all tests."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.framework import Framework, running_framework
from tests.support.mesos import Mesos, running_embedded_mesos, running_real_mesos
from tests.support.waiting import eventually

RESOURCES = "cpus:4;mem:4096;disk:4096;ports:[31000-31999]"
ATTRIBUTES = "rack:a"
ALIVE = ("TASK_STAGING", "TASK_STARTING", "TASK_RUNNING", "TASK_KILLING")


def _simulated(directory: Path) -> AbstractContextManager[Mesos]:
    return running_embedded_mesos(
        directory, agents=3, simulate=True, resources=RESOURCES, attributes=ATTRIBUTES, allocation_interval=0.2
    )


def _real(directory: Path) -> AbstractContextManager[Mesos]:
    return running_real_mesos(
        directory, agents=3, resources=RESOURCES, attributes=ATTRIBUTES, allocation_interval="200ms"
    )


@dataclass(frozen=True)
class Running:
    mesos: Mesos
    framework: Framework

    def clear(self) -> None:
        """Takes away all that a test declared, whatever became of it."""
        if self.framework.process is not None and self.framework.process.poll() is not None:
            self.framework.kill()  # it has ended by itself
        if self.framework.process is None:
            self.framework.start()
        for kind, found in (("apps", self.framework.get("/v2/apps")["apps"]), ("pods", self.framework.get("/v2/pods"))):
            for one in found:
                self.framework.change("DELETE", f"/v2/{kind}{one['id']}?force=true")
        self.framework.settled(60)
        eventually(lambda: not living(self.mesos), timeout=60)


@pytest.fixture(
    scope="package",
    params=[
        pytest.param(_simulated, id="simulated", marks=pytest.mark.xdist_group("framework-simulated")),
        pytest.param(_real, id="real", marks=pytest.mark.xdist_group("framework-real")),
    ],
)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory: Path = tmp_path_factory.mktemp("framework")
    with (
        request.param(directory / "mesos") as mesos,
        running_framework(directory / "framework", mesos.address) as daemon,
    ):
        yield Running(mesos, daemon)


@pytest.fixture
def framework(running: Running) -> Iterator[Framework]:
    """Shared, with nothing declared in it."""
    yield running.framework
    running.clear()


@pytest.fixture
def mesos(running: Running) -> Mesos:
    return running.mesos


MesosTasks = Callable[[], dict[str, str]]


@pytest.fixture
def mesos_tasks(mesos: Mesos) -> MesosTasks:
    """The tasks that Mesos knows and that have not ended: task id -> state."""
    return lambda: living(mesos)


def living(mesos: Mesos) -> dict[str, str]:
    """Mesos lists one that has ended among the others until the framework's word of it has arrived."""
    tasks = [task for framework in mesos.get("/state")["frameworks"] for task in framework["tasks"]]
    return {task["id"]: task["state"] for task in tasks if task["state"] in ALIVE}
