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
from tests.support.mesos import Mesos, MesosFactory
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
                        health = node.health()
                        if health["healthy"] and health["parts"]["engine"]["why"] == "leads":
                            return node
            return None

        logs = ", ".join(str(node.log) for node in self.all)
        return eventually(found, timeout=timeout, interval=0.05, what=f"a leader; see {logs}")

    def standbys(self) -> list[Framework]:
        """Those that know the leader and are not it; all others, once they do."""
        leader = self.leader()

        def found() -> list[Framework]:
            others = [node for node in self.alive if node is not leader]
            name = leader.url.removeprefix("http://")
            assert all(node.get("/v2/leader") == {"leader": name} for node in others)
            return others

        return eventually(found, timeout=60) if len(self.alive) > 1 else []

    def running(self) -> dict[str, str]:
        """Task id -> app id, of what the master says runs."""
        tasks = self.mesos.get("/tasks?limit=10000")["tasks"]
        return {task["id"]: task["id"].partition(".")[0] for task in tasks if task["state"] == "TASK_RUNNING"}


StartNodes = Callable[..., Nodes]


@pytest.fixture
def start_nodes(ensemble: Ensemble, embedded_mesos: MesosFactory, tmp_path: Path) -> Iterator[StartNodes]:
    """`start_nodes(2, drain_seconds=1)`: so many daemons with these flags; the first of them leads."""
    made: list[Framework] = []

    def start(count: int, *, zk: str | None = None, mesos: Mesos | None = None, **flags: Any) -> Nodes:
        mesos = mesos or embedded_mesos(agents=2, simulate=True, resources="cpus:100;mem:100000;ports:[31000-31999]")
        address = zk or ensemble.address()
        own = {
            "zk": address,
            "framework_name": f"test-{uuid.uuid4().hex[:6]}",
            "drain_seconds": 0,
            "min_revive_offers_interval": 0.1,
            **flags,
        }
        nodes = [Framework(tmp_path / f"node-{len(made) + n}", mesos.address, own) for n in range(count)]
        made.extend(nodes)
        nodes[0].start(timeout=60)
        for node in nodes[1:]:
            node.launch()
        group = Nodes(nodes, address, mesos)
        group.standbys()
        return group

    try:
        yield start
    finally:
        for node in made:
            if node.process is not None:
                node.kill()
