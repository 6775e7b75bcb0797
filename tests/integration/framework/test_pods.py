"""Pods: task groups that live and die as one."""

from typing import Any

from tests.support.framework import Framework
from tests.support.mesos import Mesos
from tests.support.waiting import eventually

POD: dict[str, Any] = {
    "id": "/shop/pair",
    "containers": [
        {
            "name": "web",
            "resources": {"cpus": 0.1, "mem": 32},
            "exec": {"command": {"shell": "sleep 1000"}},
            "endpoints": [{"name": "http", "hostPort": 0, "protocol": ["tcp"]}],
        },
        {"name": "side", "resources": {"cpus": 0.1, "mem": 32}, "exec": {"command": {"shell": "sleep 1000"}}},
    ],
    "networks": [{"mode": "host"}],
    "scaling": {"kind": "fixed", "instances": 2},
}


def test_a_pod_is_created_scaled_and_removed(framework: Framework, mesos: Mesos) -> None:
    def tasks() -> list[str]:
        frameworks = mesos.get("/state")["frameworks"]
        return sorted(task["name"] for f in frameworks for task in f["tasks"] if task["state"] == "TASK_RUNNING")

    framework.change("POST", "/v2/pods", POD)
    framework.settled()
    eventually(lambda: tasks() == ["side", "side", "web", "web"], timeout=60)
    status = framework.get("/v2/pods/shop/pair::status")
    assert status["status"] == "STABLE"
    assert len(status["instances"]) == 2
    hosts = {
        c["endpoints"][0]["allocatedHostPort"]
        for i in status["instances"]
        for c in i["containers"]
        if c["name"] == "web"
    }
    assert all(31000 <= port <= 31999 for port in hosts)

    framework.change("PUT", "/v2/pods/shop/pair", {**POD, "scaling": {"kind": "fixed", "instances": 1}})
    framework.settled()
    eventually(lambda: tasks() == ["side", "web"], timeout=60)

    framework.kill()
    framework.start()
    assert len(framework.get("/v2/pods/shop/pair::status")["instances"]) == 1

    framework.change("DELETE", "/v2/pods/shop/pair")
    eventually(lambda: tasks() == [], timeout=60)
    framework.settled()


def test_a_pod_whose_container_fails_is_replaced_as_a_whole(framework: Framework, mesos: Mesos) -> None:
    fails = {**POD["containers"][1], "exec": {"command": {"shell": "sleep 1; exit 3"}}}
    scaling, backoff = {"kind": "fixed", "instances": 1}, {"backoff": {"backoff": 1}}
    pod = {**POD, "containers": [POD["containers"][0], fails], "scaling": scaling, "scheduling": backoff}
    framework.change("POST", "/v2/pods", pod)

    def ended() -> dict[str, dict[str, str]]:
        """Instance -> its tasks that have ended: name -> state."""
        found: dict[str, dict[str, str]] = {}
        for task in [t for f in mesos.get("/state")["frameworks"] for t in f["completed_tasks"]]:
            found.setdefault(task["id"].rsplit(".", 2)[0], {})[task["name"]] = task["state"]
        return found

    whole = {"web": "TASK_KILLED", "side": "TASK_FAILED"}
    eventually(lambda: list(ended().values()).count(whole) >= 2, timeout=60, what="one has gone, and another one")

    def the_last() -> dict[str, Any] | None:
        """Of those that are over for both: a third one may be about to go."""
        last = framework.get("/v2/pods/shop/pair::status")["terminationHistory"][0]
        return dict(last) if last["instanceID"] in ended() else None

    last = eventually(the_last, timeout=60)
    assert last["startedAt"] <= last["terminatedAt"]
    states = {c["containerId"].split(".")[-2]: c["lastKnownState"] for c in last["containers"]}
    assert states.keys() == whole.keys() and states["side"] == "TASK_FAILED"
