"""Pods: task groups that live and die as one."""

from pathlib import Path

from tests.support.framework import running_framework
from tests.support.mesos import Mesos
from tests.support.waiting import eventually

POD = {
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


def test_a_pod_is_created_scaled_and_removed(simulated_mesos: Mesos, tmp_path: Path) -> None:
    def tasks() -> list[str]:
        frameworks = simulated_mesos.get("/state")["frameworks"]
        return sorted(task["name"] for f in frameworks for task in f["tasks"] if task["state"] == "TASK_RUNNING")

    with running_framework(tmp_path / "framework", simulated_mesos.address) as framework:
        framework.change("POST", "/v2/pods", POD)
        framework.settled()
        assert tasks() == ["side", "side", "web", "web"]
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
        assert tasks() == ["side", "web"]

        framework.kill()
        framework.start()
        assert len(framework.get("/v2/pods/shop/pair::status")["instances"]) == 1

        framework.change("DELETE", "/v2/pods/shop/pair")
        eventually(lambda: tasks() == [], timeout=20)
        framework.settled()
