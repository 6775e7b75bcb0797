"""What keeps the state from harm: no fresh registration over known tasks, one writer at a time, nothing promised that is not kept."""

import asyncio
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from dromos.cli import cli
from framework.engine import records
from framework.model.instance import Agent, Condition, Instance, Task
from framework.store.base import Write
from framework.store.zookeeper import ZooKeeperStore
from framework.store.zookeeper_client import make_client, parse_address
from tests.framework.ha.conftest import StartNodes
from tests.support.framework import Framework, running_framework
from tests.support.mesos import MesosFactory
from tests.support.waiting import eventually
from tests.support.zookeeper import Ensemble

pytestmark = pytest.mark.xdist_group("zookeeper")
APP = {"cmd": "sleep 1000", "cpus": 0.01, "mem": 1}


def test_known_instances_without_a_framework_id_stop_the_start(ensemble: Ensemble, tmp_path: Path) -> None:
    zk = ensemble.address()
    place = parse_address(zk)
    agent = Agent("a1", "host")
    instance = Instance(
        "i1", "/web", "v1", "v1", "*", agent, (Task("i1._app.1"),), Condition.RUNNING, provisioned_at=1.0
    )

    async def write() -> None:
        client = make_client(place, session_timeout=5)
        store = ZooKeeperStore(client, place.path, backups=tmp_path, patience=60.0, start_timeout=60.0)
        await store.open()
        await store.claim("test:1")
        await store.commit([Write(records.INSTANCES, "i1", records.encode(records.INSTANCES, instance))])
        await store.close()

    asyncio.run(write())
    node = Framework(tmp_path / "node", "127.0.0.1:1", {"zk": zk})
    node.launch()
    assert node.process is not None
    try:
        assert node.process.wait(120) == 1
    finally:
        node.kill()
    (line,) = [line for line in node.log.read_text().splitlines() if line.startswith("error: ")]
    assert "1 instances but no framework id" in line and "--new-framework-id" in line


def test_without_a_majority_of_zookeeper_nothing_is_promised_and_nothing_stops(
    start_nodes: StartNodes, ensemble: Ensemble
) -> None:
    nodes = start_nodes(1, zk_timeout=1, zk_session_timeout=20)
    (node,) = nodes.all
    node.deploy({"id": "/web", **APP, "instances": 3})
    tasks = set(nodes.running())
    for member in ensemble.members[:2]:
        member.kill()
    answer = node.request("PUT", "/v2/apps/web", json={"instances": 9})
    assert answer.status_code == 503 and "Retry-After" in answer.headers
    eventually(lambda: "stands by" in node.log.read_text(), timeout=60)
    eventually(lambda: node.request("GET", "/v2/apps").status_code == 503, timeout=60)
    assert node.process is not None and node.process.poll() is None
    assert set(nodes.running()) == tasks
    ensemble.whole()
    assert nodes.leader() is node
    node.settled(60)
    # It was not promised, and was not refused either: one of the two, and then it is true.
    assert node.app("/web")["instances"] in (3, 9)
    assert tasks <= set(nodes.running())


def test_a_restore_under_a_running_leader_is_taken_up_at_once(start_nodes: StartNodes, tmp_path: Path) -> None:
    nodes = start_nodes(1)
    (node,) = nodes.all
    node.deploy({"id": "/kept", **APP})
    kept = set(nodes.running())
    saved = CliRunner().invoke(cli, ["backup", str(tmp_path / "b"), "--zk", nodes.zk])
    assert saved.exit_code == 0, saved.output
    node.deploy({"id": "/later", **APP})
    directory = str(tmp_path / "restoring")
    done = CliRunner().invoke(
        cli, ["restore", str(tmp_path / "b"), "--zk", nodes.zk, "--state-dir", directory, "--yes"]
    )
    assert done.exit_code == 0, done.output

    def restored() -> bool:
        return [app["id"] for app in node.get("/v2/apps")["apps"]] == ["/kept"] and node.health()["healthy"]

    eventually(restored, timeout=60)
    # The task that the restored state knows goes on; the one that it does not know is ended.
    eventually(lambda: set(nodes.running()) == kept, timeout=60)


def test_of_two_processes_on_one_state_file_the_first_ends_and_says_why(
    embedded_mesos: MesosFactory, tmp_path: Path
) -> None:
    mesos = embedded_mesos(simulate=True)
    with running_framework(tmp_path / "one", mesos.address) as first:
        first.deploy({"id": "/web", **APP})
        tasks = first.tasks("/web")
        flags = {**first.flags, "state_dir": first.directory / "state"}
        second = Framework(tmp_path / "two", mesos.address, flags)
        second.start(60)
        try:
            with pytest.raises((requests.RequestException, AssertionError)):
                first.change("PUT", "/v2/apps/web", {"instances": 2})
            assert first.process is not None and first.process.wait(60) == 1
            assert "one process at a time runs on a state file" in first.log.read_text()
            eventually(lambda: second.app("/web")["tasks"] and second.tasks("/web") == tasks, timeout=60)
        finally:
            second.kill()
