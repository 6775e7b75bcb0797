"""The master dies, and ZooKeeper names another one: the framework goes there as who it was, and its tasks never notice."""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from tests.support.framework import Framework
from tests.support.mesos import Mesos, running_embedded_mesos
from tests.support.waiting import eventually
from tests.support.zookeeper import Ensemble

pytestmark = pytest.mark.xdist_group("zookeeper")
APP = {"cmd": "sleep 1000", "cpus": 0.01, "mem": 1}


@pytest.fixture
def zookeeper(ensemble: Ensemble) -> Iterator[KazooClient]:
    client = KazooClient(ensemble.hosts, timeout=40)
    client.start(timeout=60)
    yield client
    client.stop()
    client.close()


def announce(client: KazooClient, path: str, mesos: Mesos, number: int) -> str:
    """As a master does."""
    info = {"address": {"ip": mesos.host, "hostname": "localhost", "port": mesos.port}, "id": "x", "version": "1.11.0"}
    return str(client.create(f"{path}/json.info_{number:010}", json.dumps(info).encode(), makepath=True))


def tasks_of(mesos: Mesos) -> set[str]:
    return {task["id"] for task in mesos.get("/tasks")["tasks"] if task["state"] == "TASK_RUNNING"}


def test_the_next_master_finds_the_same_framework_with_the_same_tasks(
    zookeeper: KazooClient, ensemble: Ensemble, tmp_path: Path
) -> None:
    address = ensemble.address()
    path = address.removeprefix(f"zk://{ensemble.hosts}")
    framework = Framework(tmp_path / "framework", address, {"drain_seconds": 0, "min_revive_offers_interval": 0.1})
    with contextlib.ExitStack() as ends:
        first = ends.enter_context(running_embedded_mesos(tmp_path / "mesos"))
        entry = announce(zookeeper, path, first, 7)
        ends.callback(lambda: framework.process and framework.kill())
        framework.start(60)
        framework.deploy({"id": "/web", **APP, "instances": 3})
        tasks, framework_id = tasks_of(first), framework.get("/v2/info")["frameworkId"]
        assert len(tasks) == 3

        os.kill(first.process.pid, signal.SIGKILL)
        zookeeper.delete(entry)
        eventually(lambda: not framework.health()["parts"]["mesos"]["healthy"], timeout=60)
        framework.change("POST", "/v2/apps", {"id": "/meanwhile", **APP})

        second = ends.enter_context(running_embedded_mesos(tmp_path / "mesos"))
        announce(zookeeper, path, second, 8)
        framework.settled()
        assert second.port != first.port
        there = f"subscribed to {second.address}"
        eventually(lambda: framework.health()["parts"]["mesos"]["why"] == there, timeout=60)
        assert framework.get("/v2/info")["frameworkId"] == framework_id
        [known] = second.get("/frameworks")["frameworks"]
        assert known["id"] == framework_id
        assert {task["id"] for task in framework.tasks("/web")} == tasks
        assert tasks_of(second) == tasks | {task["id"] for task in framework.tasks("/meanwhile")}
        assert len(framework.tasks("/meanwhile")) == 1
