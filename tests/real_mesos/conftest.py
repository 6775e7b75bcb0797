"""The clusters that stories are told on, two agents and a framework each: the embedded Mesos, and Apache Mesos 1.11."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.framework import Framework, running_framework
from tests.support.mesos import Mesos, running_embedded_mesos, running_real_mesos
from tests.support.processes import free_ports

PATIENCE = 60.0
KINDS = [pytest.param(kind, marks=pytest.mark.xdist_group(f"stories-{kind}")) for kind in ("embedded", "real")]


@dataclass
class Cluster:
    mesos: Mesos
    framework: Framework

    def tasks(self, prefix: str) -> dict[str, str]:
        """What Mesos itself says runs: task id -> agent id."""
        frameworks = self.mesos.get("/state")["frameworks"]
        tasks = [task for one in frameworks for task in one["tasks"]]
        return {task["id"]: task["slave_id"] for task in tasks if task["id"].startswith(prefix)}


@pytest.fixture(scope="package", params=KINDS)
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp(request.param)
    first, last = free_ports(200)
    resources = f"cpus:2;mem:2048;disk:2048;ports:[{first}-{last}]"
    running = (
        running_real_mesos(directory, agents=2, resources=resources, allocation_interval="100ms")
        if request.param == "real"
        else running_embedded_mesos(directory, agents=2, resources=resources, allocation_interval=0.1)
    )
    with running as mesos, running_framework(directory / "framework", mesos.address) as framework:
        yield Cluster(mesos, framework)


@pytest.fixture
def framework(cluster: Cluster) -> Iterator[Framework]:
    if cluster.framework.process is None or cluster.framework.process.poll() is not None:
        cluster.framework.start(PATIENCE)  # a story that kills it ended before it was there again
    yield cluster.framework
    for app in cluster.framework.get("/v2/apps")["apps"]:
        cluster.framework.change("DELETE", f"/v2/apps{app['id']}?force=true")
    for pod in cluster.framework.get("/v2/pods"):
        cluster.framework.change("DELETE", f"/v2/pods{pod['id']}?force=true")
    cluster.framework.settled(PATIENCE)
