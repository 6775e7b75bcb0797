"""An agent goes out of reach and comes back: each app's own strategy says whether its instances are waited for or replaced."""

from pathlib import Path

import requests

from tests.support.framework import running_framework
from tests.support.mesos import MesosFactory
from tests.support.waiting import eventually

APP = {"cmd": "sleep 1000", "cpus": 0.01, "mem": 1, "instances": 4, "constraints": [["hostname", "GROUP_BY"]]}


def test_an_app_that_waits_keeps_its_instances_and_one_that_does_not_gets_others_and_none_too_many(
    embedded_mesos: MesosFactory, tmp_path: Path
) -> None:
    mesos = embedded_mesos(simulate=True, agents=2, agent_ping_timeout=0.5, max_agent_ping_timeouts=2)
    with running_framework(tmp_path, mesos.address) as framework:
        patient = {"inactiveAfterSeconds": 1000, "expungeAfterSeconds": 2000}
        framework.deploy({"id": "/patient", **APP, "unreachableStrategy": patient})
        framework.deploy({"id": "/hasty", **APP})
        waited_for = {task["id"] for task in framework.tasks("/patient")}
        replaced = {task["id"] for task in framework.tasks("/hasty")}
        lost = mesos.get("/slaves")["slaves"][0]

        requests.post(f"{mesos.url}/{lost['pid'].partition('@')[0]}/simulate/partition", timeout=60).raise_for_status()

        def is_coped_with() -> bool:
            patient, hasty = framework.tasks("/patient", state=None), framework.tasks("/hasty")
            away = {task["id"] for task in patient if task["state"] == "TASK_UNREACHABLE"}
            elsewhere = [task["id"] for task in hasty if task["slaveId"] != lost["id"]]
            return len(away) == 2 and {t["id"] for t in patient} == waited_for and len(elsewhere) == len(hasty) == 4

        eventually(is_coped_with, timeout=60, what="none is counted on the lost agent, and all run")
        others = {task["id"] for task in framework.tasks("/hasty")}
        assert len(others & replaced) == 2

        requests.post(f"{mesos.url}/{lost['pid'].partition('@')[0]}/simulate/return", timeout=60).raise_for_status()
        eventually(lambda: {task["id"] for task in framework.tasks("/patient")} == waited_for, timeout=60)

        def running() -> set[str]:
            return {task["id"] for task in mesos.get("/tasks?limit=1000")["tasks"] if task["state"] == "TASK_RUNNING"}

        eventually(lambda: running() == waited_for | others, timeout=60, what="those that were replaced are ended")
        eventually(lambda: {task["id"] for task in framework.tasks("/hasty")} == others)
