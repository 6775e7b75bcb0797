"""One of several nodes leads; when it goes, in whatever way, another one takes over and nothing is lost."""

import contextlib
import json
import os
import signal
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.framework.ha.conftest import Nodes, StartNodes, quickest
from tests.support.waiting import eventually

pytestmark = pytest.mark.xdist_group("zookeeper")
APP = {"cmd": "sleep 1000", "cpus": 0.01, "mem": 1, "portDefinitions": []}


@pytest.fixture
def group() -> str:
    """For the apps of one run of a test: a second run finds none of the first."""
    return f"/run-{uuid.uuid4().hex[:6]}"


def test_a_killed_leader_is_replaced_in_under_ten_seconds_while_apps_are_deployed(pair: Nodes, group: str) -> None:
    nodes = pair
    leader, (standby,) = nodes.leader(), nodes.standbys()
    leader.deploy({"id": f"{group}/steady", **APP, "instances": 5})
    steady = set(nodes.running())
    acknowledged: list[str] = []
    stop = threading.Event()

    def deploy() -> None:
        """As a client behind a load balancer that knows the standby alone."""
        number = 0
        while not stop.is_set():
            number += 1
            body = {"id": f"{group}/killed-{number}", **APP, "instances": 2}
            try:
                answer = standby.request("POST", "/v2/apps", json=body)
            except requests.RequestException:
                continue
            if answer.status_code == 201:
                acknowledged.append(f"{group}/killed-{number}")
            else:
                assert answer.status_code in (502, 503), answer.text
                assert answer.status_code != 503 or "Retry-After" in answer.headers
                time.sleep(0.1)

    with ThreadPoolExecutor(1) as thread:
        deploying = thread.submit(deploy)
        try:
            eventually(lambda: len(acknowledged) >= 5, timeout=60)
            killed = time.monotonic()
            leader.kill()
            before = len(acknowledged)
            assert nodes.leader() is standby
            took = time.monotonic() - killed
            eventually(lambda: len(acknowledged) >= before + 3, timeout=60)
        finally:
            stop.set()
        deploying.result()
    standby.settled()
    assert {app["id"] for app in standby.get("/v2/apps")["apps"]} >= {f"{group}/steady", *acknowledged}
    running = nodes.running()
    assert steady <= set(running), "a task that was wanted was killed"
    for app_id in acknowledged:
        assert list(running.values()).count(app_id.strip("/").replace("/", "_")) == 2

    def again() -> float:
        leader = nodes.whole().leader()
        killed = time.monotonic()
        leader.kill()
        nodes.leader(other_than=leader)
        return time.monotonic() - killed

    assert quickest(again, 10, took) < 10  # of these the session's five, and ZooKeeper's tick of two, must pass


def test_a_paused_leader_finds_itself_replaced_and_its_late_change_is_refused(pair: Nodes, group: str) -> None:
    nodes = pair
    old = nodes.leader()
    old.deploy({"id": f"{group}/paused", **APP, "instances": 2})
    tasks = set(nodes.running())
    assert old.process is not None
    os.kill(old.process.pid, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(1) as thread:
            # The request is in the paused node's socket before another one leads.
            path = f"/v2/apps{group}/paused?force=true"
            late = thread.submit(old.request, "PUT", path, timeout=120, json={"instances": 9})
            new = nodes.leader(other_than=old)
            os.kill(old.process.pid, signal.SIGCONT)
            answer = late.result()
    finally:
        os.kill(old.process.pid, signal.SIGCONT)
    # Refused, or handed on to the node that leads now: never written by the one that was deposed.
    assert answer.status_code in (200, 503), answer.text
    eventually(lambda: old.get("/v2/leader") == new.get("/v2/leader"), timeout=60)
    eventually(lambda: old.health()["healthy"], what="it stands by")
    assert old.process.poll() is None
    new.settled()
    assert new.app(f"{group}/paused")["instances"] == (9 if answer.ok else 2)
    assert tasks <= set(nodes.running())


def test_a_leader_that_is_asked_to_hands_over_at_once_and_no_task_ends(pair: Nodes, group: str) -> None:
    nodes = pair
    leader, (standby,) = nodes.leader(), nodes.standbys()
    leader.deploy({"id": f"{group}/asked", **APP, "instances": 3})
    tasks = set(nodes.running())
    framework_id = leader.get("/v2/info")["frameworkId"]
    assert standby.request("DELETE", "/v2/leader").json() == {"message": "Leadership abdicated"}
    assert nodes.leader(other_than=leader) is standby
    for node in nodes.all:
        eventually(
            lambda node=node: node.get("/v2/leader")["leader"] == standby.url.removeprefix("http://"), timeout=30
        )
        info = node.get("/v2/info")
        assert info["frameworkId"] == framework_id and info["leader"] == standby.url.removeprefix("http://")
        assert node.request("GET", "/v2/apps").headers["X-Marathon-Leader"] == standby.url
    assert set(nodes.running()) == tasks and len(nodes.mesos.get("/frameworks")["frameworks"]) == 1


def test_a_stopped_leader_makes_way_at_once(pair: Nodes) -> None:
    def handover() -> float:
        leader = pair.whole().leader()
        started = time.monotonic()
        assert leader.stop() == 0
        pair.leader(other_than=leader)
        return time.monotonic() - started

    assert quickest(handover, below=5) < 5  # no session has to run out


def test_a_node_alone_leads_again_after_it_gave_leadership_up(start_nodes: StartNodes) -> None:
    (node,) = start_nodes(1).all
    node.deploy({"id": "/web", **APP})
    node.change("DELETE", "/v2/leader")
    eventually(lambda: "gives up leadership" in node.log.read_text(), timeout=60)
    eventually(lambda: node.app("/web")["tasksRunning"] == 1 and node.health()["healthy"], timeout=60)


def test_event_streams_move_to_the_new_leader(pair: Nodes, group: str) -> None:
    nodes = pair
    leader, (standby,) = nodes.leader(), nodes.standbys()
    numbers: list[int] = []
    deployed: list[str] = []  # apps of which a success was told
    stop = threading.Event()

    def listen() -> None:
        """As an EventSource does: it comes back with the last id that it saw, always to the same node."""
        while not stop.is_set():
            headers = {"Last-Event-ID": str(numbers[-1])} if numbers else {}
            url = f"{standby.url}/v2/events?plan-format=light"
            with contextlib.suppress(requests.RequestException):
                with requests.get(url, headers=headers, stream=True, timeout=5) as stream:
                    kind = ""
                    for line in stream.iter_lines(chunk_size=1, decode_unicode=True):
                        name, _, value = line.partition(": ")
                        if name == "id":
                            number = int(value)
                        elif name == "event":
                            kind = value
                        elif name == "data":
                            numbers.append(number)
                            if kind == "deployment_success":
                                steps = json.loads(value)["plan"]["steps"]
                                deployed.extend(action["app"] for step in steps for action in step["actions"])
                        if stop.is_set():
                            return

    with ThreadPoolExecutor(1) as thread:
        listening = thread.submit(listen)
        try:
            eventually(lambda: numbers, timeout=60)
            leader.deploy({"id": f"{group}/one", **APP})
            eventually(lambda: f"{group}/one" in deployed, timeout=60)
            leader.change("DELETE", "/v2/leader")
            assert nodes.leader(other_than=leader) is standby
            standby.deploy({"id": f"{group}/two", **APP})
            eventually(lambda: f"{group}/two" in deployed, timeout=60)
        finally:
            stop.set()
        standby.deploy({"id": f"{group}/three", **APP})  # something for the listener to wake up by
        listening.result(timeout=60)
    assert numbers == sorted(set(numbers)), "an event came twice, or out of order"


def test_changes_from_many_clients_are_each_kept_over_several_changes_of_the_leader(pair: Nodes, group: str) -> None:
    nodes = pair
    acknowledged: list[str] = []
    stop = threading.Event()

    def client(number: int) -> None:
        count = 0
        while not stop.is_set():
            count += 1
            app_id = f"{group}/client-{number}/app-{count}"
            try:
                answer = nodes.all[number].request("POST", "/v2/apps", json={"id": app_id, **APP, "instances": 0})
            except requests.RequestException:
                continue
            if answer.status_code == 201:
                acknowledged.append(app_id)
            else:
                time.sleep(0.05)

    with ThreadPoolExecutor(2) as threads:
        clients = [threads.submit(client, number) for number in range(2)]
        try:
            for _ in range(2):
                before = len(acknowledged)
                eventually(lambda before=before: len(acknowledged) >= before + 5, timeout=60)
                leader = nodes.leader()
                leader.request("DELETE", "/v2/leader")
                nodes.leader(other_than=leader)
        finally:
            stop.set()
        for each in clients:
            each.result(60)
    kept = {app["id"] for app in nodes.leader().get("/v2/apps")["apps"]}
    assert set(acknowledged) <= kept, set(acknowledged) - kept
