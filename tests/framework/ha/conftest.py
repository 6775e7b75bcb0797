"""Several framework daemons on one Mesos and one ZooKeeper ensemble, each a process of its own."""

import contextlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.framework import Framework
from tests.support.mesos import Mesos, MesosFactory, running_embedded_mesos
from tests.support.waiting import eventually
from tests.support.zookeeper import Ensemble


@dataclass
class Nodes:
    """`all` run unless a test ended them; they have one address in ZooKeeper and one framework name."""

    all: list[Framework]
    zk: str
    mesos: Mesos

    @property
    def alive(self) -> list[Framework]:
        return [node for node in self.all if node.process is not None]

    def leader(self, timeout: float = 60.0, other_than: Framework | None = None) -> Framework:
        """The node that leads and is subscribed; waits for it."""

        def found() -> Framework | None:
            for node in self.alive:
                if node is not other_than:  # which may be paused
                    with contextlib.suppress(requests.RequestException, KeyError):
                        leads = node.get("/v2/leader")["leader"] == node.url.removeprefix("http://")
                        if leads and node.health()["parts"]["mesos"]["why"].startswith("subscribed"):
                            return node
            return None

        logs = ", ".join(str(node.log) for node in self.all)
        return eventually(found, timeout=timeout, interval=0.05, what=f"a leader; see {logs}")

    def standbys(self) -> list[Framework]:
        """Those that know the leader and are not it; all others, once they do."""

        def found() -> tuple[Framework, ...] | None:
            """The leader, and then the others."""
            leader = self.leader()
            name = leader.url.removeprefix("http://")
            others = [node for node in self.alive if node is not leader]
            return (leader, *others) if all(node.get("/v2/leader") == {"leader": name} for node in others) else None

        _, *others = eventually(found, timeout=90)
        return others

    def running(self) -> dict[str, str]:
        """Task id -> app id, of what the master says runs."""
        tasks = self.mesos.get("/tasks?limit=10000")["tasks"]
        return {task["id"]: task["id"].partition(".")[0] for task in tasks if task["state"] == "TASK_RUNNING"}

    def whole(self) -> "Nodes":
        """Starts those that do not run; all know the leader then."""
        for node in self.all:
            if node.process is None:
                node.launch()

        def all_there() -> bool:
            for node in self.all:
                node.launch_again()
            return all("leader" in node.get("/v2/leader") for node in self.all)

        eventually(all_there, timeout=90, what=f"all nodes serve; see {', '.join(str(node.log) for node in self.all)}")
        self.standbys()
        return self


def quickest(measure: Callable[[], float], below: float, *already: float) -> float:
    """Seconds that something needs: the least of up to five times, as a busy machine may stretch any single one. `already`: measured."""
    times = list(already)
    while len(times) < 5 and min(times, default=below) >= below:
        times.append(measure())
    print(f"took {', '.join(f'{seconds:.1f} s' for seconds in times)}")
    return min(times)


StartNodes = Callable[..., Nodes]
MESOS = {"agents": 2, "simulate": True, "resources": "cpus:100;mem:100000;ports:[31000-31999]"}


@contextlib.contextmanager
def running_nodes(directory: Path, count: int, mesos: Mesos, zk: str, **flags: Any) -> Iterator[Nodes]:
    own = {
        "zk": zk,
        "framework_name": f"test-{uuid.uuid4().hex[:6]}",
        "drain_seconds": 0,
        "min_revive_offers_interval": 0.1,
        **flags,
    }
    nodes = [Framework(directory / f"node-{number}", mesos.address, own) for number in range(count)]
    try:
        nodes[0].start(timeout=60)
        yield Nodes(nodes, zk, mesos).whole()
    finally:
        for node in nodes:
            if node.process is not None:
                node.kill()


@pytest.fixture
def start_nodes(ensemble: Ensemble, embedded_mesos: MesosFactory, tmp_path: Path) -> Iterator[StartNodes]:
    """`start_nodes(2, drain_seconds=1)`: so many daemons with these flags; the first of them leads."""
    with contextlib.ExitStack() as stack:

        def start(count: int, **flags: Any) -> Nodes:
            running = running_nodes(tmp_path, count, embedded_mesos(**MESOS), ensemble.address(), **flags)
            return stack.enter_context(running)

        yield start


@pytest.fixture(scope="module")
def shared_pair(shared_ensemble: Ensemble, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    directory = tmp_path_factory.mktemp("pair")
    with (
        running_embedded_mesos(directory / "mesos", **MESOS) as mesos,
        running_nodes(directory, 2, mesos, shared_ensemble.whole().address()) as nodes,
    ):
        yield nodes


@pytest.fixture
def pair(ensemble: Ensemble, shared_pair: Nodes) -> Nodes:
    """Two daemons, both up, one of which leads; with what the tests before have deployed."""
    return shared_pair.whole()
