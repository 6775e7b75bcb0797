"""The framework as a process, on the embedded Mesos and on Apache Mesos 1.11: what an operator does, and what is to come of it."""

import time
from pathlib import Path

import pytest

from tests.integration.framework.conftest import MesosTasks
from tests.support.framework import Framework
from tests.support.mesos import Mesos, operator, running_embedded_mesos
from tests.support.processes import free_port
from tests.support.waiting import eventually

APP = {"id": "/shop/web", "cmd": "sleep 1000", "cpus": 0.1, "mem": 32, "instances": 3}


def test_an_app_is_created_scaled_updated_and_removed(framework: Framework, mesos_tasks: MesosTasks) -> None:
    framework.deploy(APP)
    assert len(framework.tasks("/shop/web")) == 3
    assert {task["id"] for task in framework.tasks("/shop/web")} == set(mesos_tasks())

    framework.deploy({"id": "/shop/web", "instances": 5})
    before = {task["id"] for task in framework.tasks("/shop/web")}
    assert len(before) == 5

    framework.deploy({"id": "/shop/web", "instances": 2})
    after = {task["id"] for task in framework.tasks("/shop/web")}
    assert len(after) == 2
    assert after < before, "scaling down restarts nothing"

    framework.deploy({"id": "/shop/web", "cmd": "sleep 2000"})
    updated = {task["id"] for task in framework.tasks("/shop/web")}
    assert len(updated) == 2
    assert not updated & after, "a new command restarts all"
    assert set(mesos_tasks()) == updated

    framework.change("DELETE", "/v2/apps/shop/web")
    framework.settled()
    assert mesos_tasks() == {}
    assert framework.request("GET", "/v2/apps/shop/web").status_code == 404


def test_a_task_that_dies_is_replaced_and_its_failure_is_told(framework: Framework) -> None:
    framework.deploy({**APP, "id": "/dies", "cmd": "sleep 1; exit 3", "instances": 1, "backoffSeconds": 1})
    failure = eventually(lambda: framework.app("/dies").get("lastTaskFailure"), timeout=60)
    assert failure["state"] in ("TASK_FAILED", "TASK_FINISHED")
    eventually(lambda: {task["id"] for task in framework.tasks("/dies")} - {failure["taskId"]}, timeout=60)


@pytest.mark.parametrize("crash", ["kill -9", "SIGTERM"])
def test_a_restarted_framework_adopts_its_tasks(framework: Framework, mesos_tasks: MesosTasks, crash: str) -> None:
    framework.deploy(APP)
    tasks, id_before = set(mesos_tasks()), framework.get("/v2/info")["frameworkId"]
    if crash == "kill -9":
        framework.kill()
    else:
        assert framework.stop() == 0
    framework.start()
    assert framework.get("/v2/info")["frameworkId"] == id_before
    assert {task["id"] for task in framework.tasks("/shop/web")} == tasks
    framework.deploy({"id": "/shop/web", "instances": 4})
    assert tasks < set(mesos_tasks()), "none of the adopted tasks was touched"


def test_a_crash_in_the_middle_of_a_deployment_loses_neither_the_change_nor_a_task(
    framework: Framework, mesos_tasks: MesosTasks
) -> None:
    framework.deploy(APP)
    framework.change("PUT", "/v2/apps/shop/web", {"cmd": "sleep 3000", "instances": 6})
    framework.kill()
    framework.start()
    framework.settled()
    assert framework.app("/shop/web")["cmd"] == "sleep 3000"
    running = framework.tasks("/shop/web")
    assert len(running) == 6
    assert {task["version"] for task in running} == {framework.app("/shop/web")["version"]}
    eventually(lambda: set(mesos_tasks()) == {task["id"] for task in running}, what="no task besides those known")


def test_tasks_that_died_while_the_framework_was_away_are_replaced(framework: Framework, mesos: Mesos) -> None:
    framework.deploy({**APP, "cmd": "sleep 4", "instances": 2, "backoffSeconds": 0})
    old = {task["id"] for task in framework.tasks("/shop/web")}
    framework.kill()

    def all_ended() -> bool:
        frameworks = mesos.get("/state")["frameworks"]
        states = {task["id"]: task["state"] for f in frameworks for task in f["tasks"] + f["completed_tasks"]}
        return all(states.get(task) in (None, "TASK_FINISHED") for task in old)

    eventually(all_ended, timeout=60)
    framework.start()
    eventually(lambda: not old & {task["id"] for task in framework.tasks("/shop/web")}, timeout=60)


def test_an_app_that_fits_nowhere_says_why_and_starves_nobody(framework: Framework) -> None:
    framework.change("POST", "/v2/apps", {**APP, "id": "/huge", "cpus": 100})
    framework.change("POST", "/v2/apps", {**APP, "id": "/picky", "constraints": [["rack", "IS", "z"]]})
    framework.change("POST", "/v2/apps", {**APP, "id": "/modest"})
    eventually(lambda: len(framework.tasks("/modest")) == 3, timeout=60)

    def reasons() -> dict[str, set[str]]:
        return {
            item["app"]["id"]: {
                reject["reason"]
                for reject in item["processedOffersSummary"]["rejectSummaryLaunchAttempt"]
                if reject["declined"]
            }
            for item in framework.get("/v2/queue")["queue"]
        }

    eventually(lambda: reasons() == {"/huge": {"InsufficientCpus"}, "/picky": {"UnfulfilledConstraint"}}, timeout=60)


def test_a_second_change_waits_for_the_first_or_forces_its_way(framework: Framework) -> None:
    framework.change("POST", "/v2/apps", {**APP, "id": "/huge", "cpus": 100})
    refused = framework.request("PUT", "/v2/apps/huge", json={"cpus": 0.1})
    assert refused.status_code == 409
    deployment = framework.deployments()[0]["id"]
    assert refused.json()["deployments"] == [{"id": deployment}]
    framework.change("PUT", "/v2/apps/huge?force=true", {"cpus": 0.1})
    framework.settled()
    assert len(framework.tasks("/huge")) == 3


def test_killed_tasks_are_replaced_or_scaled_away(framework: Framework) -> None:
    framework.deploy(APP)
    first, second, _ = (task["id"] for task in framework.tasks("/shop/web"))
    framework.change("DELETE", f"/v2/apps/shop/web/tasks/{first}")
    eventually(
        lambda: len(framework.tasks("/shop/web")) == 3 and first not in {t["id"] for t in framework.tasks("/shop/web")},
        timeout=20,
    )
    framework.change("DELETE", f"/v2/apps/shop/web/tasks/{second}?scale=true")
    framework.settled()
    assert framework.app("/shop/web")["instances"] == 2
    assert second not in {task["id"] for task in framework.tasks("/shop/web")}


def test_a_rolled_back_deployment_leaves_the_old_tasks_alone(framework: Framework) -> None:
    framework.deploy(APP)
    before = {task["id"] for task in framework.tasks("/shop/web")}
    answer = framework.change("PUT", "/v2/apps/shop/web", {"cmd": "sleep 5000", "cpus": 100})
    framework.change("DELETE", f"/v2/deployments/{answer['deploymentId']}")
    framework.settled()
    assert framework.app("/shop/web")["cpus"] == 0.1
    assert {task["id"] for task in framework.tasks("/shop/web")} == before


def test_a_master_that_is_away_costs_time_and_nothing_else(tmp_path: Path) -> None:
    framework = Framework(tmp_path / "framework", f"127.0.0.1:{free_port()}")
    framework.launch()
    try:
        health = eventually(framework.health, timeout=60)
        assert not health["healthy"]
        assert not health["parts"]["mesos"]["healthy"]
        framework.change("POST", "/v2/apps", APP)
        port = framework.master.rpartition(":")[2]
        with running_embedded_mesos(tmp_path / "mesos", simulate=True, port=int(port)):
            framework.settled(90)
            assert len(framework.tasks("/shop/web")) == 3
    finally:
        framework.kill()


def test_an_app_of_another_role_gets_offers_of_that_role(framework: Framework, mesos_tasks: MesosTasks) -> None:
    framework.deploy({**APP, "id": "/prod/web", "role": "prod", "instances": 2})
    framework.deploy({**APP, "id": "/web", "instances": 1})
    assert sorted(task["role"] for task in framework.get("/v2/tasks")["tasks"]) == ["*", "prod", "prod"]
    assert len(mesos_tasks()) == 3


def test_a_persistent_volume_outlives_its_task_and_goes_with_its_app(framework: Framework, mesos: Mesos) -> None:
    database = {
        **APP,
        "id": "/prod/db",
        "role": "prod",
        "instances": 1,
        "container": {
            "type": "MESOS",
            "volumes": [{"containerPath": "data", "mode": "RW", "persistent": {"size": 64}}],
        },
    }

    def reserved() -> float:
        """MB of disk that are reserved for the role, on all agents."""
        return sum(
            float(a["reserved_resources"].get("prod", {}).get("disk", 0)) for a in mesos.get("/slaves")["slaves"]
        )

    framework.deploy(database)
    [before] = framework.tasks("/prod/db")
    assert [volume["containerPath"] for volume in before["localVolumes"]] == ["data"]
    assert reserved() == 64

    framework.deploy({"id": "/prod/db", "cmd": "sleep 2000"})
    [after] = framework.tasks("/prod/db")
    assert (after["slaveId"], after["localVolumes"]) == (before["slaveId"], before["localVolumes"])
    assert after["id"] != before["id"]
    assert reserved() == 64

    framework.change("DELETE", "/v2/apps/prod/db")
    framework.settled()
    eventually(lambda: reserved() == 0, timeout=60, what="the volume is given back")


async def test_a_machine_that_is_to_go_is_given_back_when_asked_for(framework: Framework, mesos: Mesos) -> None:
    framework.deploy(APP)
    machine = {"hostname": mesos.get("/slaves")["slaves"][0]["hostname"], "ip": "127.0.0.1"}
    start = {"nanoseconds": (int(time.time()) + 3600) * 1_000_000_000}
    windows = [{"machine_ids": [machine], "unavailability": {"start": start}}]
    await operator(mesos, "UPDATE_MAINTENANCE_SCHEDULE", schedule={"windows": windows})

    def answered() -> bool:
        [draining] = mesos.get("/maintenance/status")["draining_machines"]
        return {status["status"] for status in draining["statuses"]} == {"ACCEPT"}

    try:
        eventually(answered, timeout=60, what="the framework says that it will be gone by then")
        assert len(framework.tasks("/shop/web")) == 3, "its time has not come"
    finally:
        await operator(mesos, "UPDATE_MAINTENANCE_SCHEDULE", schedule={"windows": []})


def test_a_canary_waits_for_its_go_and_another_one_goes_back(framework: Framework, mesos_tasks: MesosTasks) -> None:
    labels = {"DROMOS_DEPLOY_STRATEGY": "canary", "DROMOS_DEPLOY_SHARE": "34%"}
    framework.deploy({**APP, "labels": labels})
    before = set(mesos_tasks())

    def try_out(command: str) -> str:
        deployment = framework.change("PUT", "/v2/apps/shop/web", {"cmd": command})["deploymentId"]

        def waits() -> bool:
            [action] = framework.deployments()[0]["currentActions"]
            return bool(action["rollout"]["state"] == "waiting for go")

        eventually(waits, timeout=60, what="the canary is there")
        return str(deployment)

    def three_run(kept: set[str], count: int) -> bool:
        """Once what was killed has ended too: three, `count` of them among `kept`."""
        now = set(mesos_tasks())
        return len(now) == 3 and len(now & kept) == count

    refused = try_out("sleep 2000")
    eventually(lambda: three_run(before, 1), timeout=60, what="two of three are of the new version")
    framework.change("DELETE", f"/v2/deployments/{refused}")
    framework.settled(60)
    eventually(lambda: len(mesos_tasks()) == 3, timeout=60)
    back = set(mesos_tasks())
    assert back & before, "the one that was left of the old version was not restarted"

    accepted = try_out("sleep 3000")
    framework.change("POST", f"/v2/deployments/{accepted}/go")
    framework.settled(60)
    eventually(lambda: three_run(back, 0), timeout=60)
    assert {task["version"] for task in framework.tasks("/shop/web")} == {framework.app("/shop/web")["version"]}
