"""Dromos' own framework, Mesos, registrator and Consul together: every instance that serves is in rotation, no other is."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.consul import ConsulServer
from tests.support.framework import Framework, running_framework
from tests.support.registrator import Registrator, running_registrator
from tests.support.waiting import eventually

SERVER = "echo up > index.html; exec busybox httpd -f -p 127.0.0.1:$PORT0"  # it serves at once
Start = Callable[..., Registrator]


@pytest.fixture
def framework(neighbours, tmp_path: Path) -> Iterator[Framework]:
    with running_framework(tmp_path / "framework", neighbours.mesos.address, drain_seconds=4) as one:
        yield one


@pytest.fixture
def settings(neighbours, framework: Framework) -> dict[str, Any]:
    return {"mesos": [neighbours.mesos.url], "marathon": [framework.url], "consul": neighbours.consul.url}


def app(**fields: Any) -> dict[str, Any]:
    return {"id": "/shop/web", "cmd": SERVER, "cpus": 0.1, "mem": 32, "instances": 2, **fields}


def tasks_in(consul: ConsulServer, *, healthy: bool = True) -> set[str]:
    entries = consul.healthy("shop.web") if healthy else consul.http.get("health/service/shop.web").json()
    return {entry["Service"]["Meta"]["dromos-task"] for entry in entries}


def running_tasks(framework: Framework) -> set[str]:
    return {task["id"] for task in framework.tasks("/shop/web")}


CHECK = {"protocol": "HTTP", "path": "/", "intervalSeconds": 1, "gracePeriodSeconds": 30}


def test_an_app_is_in_rotation_from_its_deployment_through_the_loss_of_a_process_and_an_update_to_its_drain(
    neighbours, framework, settings, registrator
) -> None:
    consul = neighbours.consul
    daemon = registrator(**settings)
    framework.deploy(app(healthChecks=[CHECK]))
    eventually(lambda: tasks_in(consul) == running_tasks(framework), 60)
    version = framework.app("/shop/web")["version"]
    found = consul.http.get("catalog/service/shop.web").json()
    assert {entry["ServiceMeta"]["dromos-version"] for entry in found} == {version}
    assert {entry["ServiceMeta"]["dromos-app"] for entry in found} == {"/shop/web"}
    eventually(lambda: daemon.writes() == 2)

    lose_a_process(consul, framework)
    update(consul, framework)

    def writes() -> dict[str, float]:
        kinds = ("register", "maintenance", "deregister")
        return {kind: daemon.metric("dromos_registrator_writes_total", kind=kind) for kind in kinds}

    before = writes()
    framework.change("DELETE", "/v2/apps/shop/web")
    eventually(lambda: not tasks_in(consul), 60, 0.02, "out of rotation")
    eventually(lambda: not tasks_in(consul, healthy=False), 60)
    # Only what still runs drains: what has ended goes without.
    wanted = {**before, "maintenance": before["maintenance"] + 2, "deregister": before["deregister"] + 2}
    eventually(lambda: writes() == wanted, what="two drain, two go")


def lose_a_process(consul: ConsulServer, framework: Framework) -> None:
    """It is out of rotation at once, and its successor is in."""
    victim = sorted(tasks_in(consul))[0]
    framework.change("DELETE", f"/v2/apps/shop/web/tasks/{victim}")
    eventually(lambda: victim not in tasks_in(consul), 60, 0.02)
    eventually(lambda: len(tasks_in(consul)) == 2 and victim not in tasks_in(consul, healthy=False), 60)


def update(consul: ConsulServer, framework: Framework) -> None:
    """The service is never without an instance."""
    old = tasks_in(consul)
    # No health checks: nobody but Consul's own connect says when a new instance serves.
    framework.change("PUT", "/v2/apps/shop/web", app(env={"VERSION": "2"}, healthChecks=[]))
    counts = []

    def only_new_ones() -> bool:
        there = tasks_in(consul)
        counts.append(len(there))
        return len(there) == 2 and there.isdisjoint(old)

    eventually(only_new_ones, 60)
    assert min(counts) >= 1
    eventually(lambda: tasks_in(consul, healthy=False).isdisjoint(old), 60)


def test_neighbours_and_the_registrator_may_die_and_all_of_it_converges(
    neighbours, framework, settings, tmp_path: Path
) -> None:
    consul = neighbours.consul
    with running_registrator(tmp_path / "one", **settings):
        framework.deploy(app())
        eventually(lambda: len(tasks_in(consul)) == 2, 60)
    assert len(tasks_in(consul)) == 2, "a registrator that is gone takes nothing away"

    framework.deploy(app(instances=3))
    before = tasks_in(consul)
    with running_registrator(tmp_path / "two", **settings) as daemon:
        eventually(lambda: len(tasks_in(consul)) == 3, 60)
        eventually(lambda: daemon.writes() == 1)
        assert before < tasks_in(consul)

        framework.kill()
        eventually(lambda: daemon.health().status_code == 503)
        assert len(tasks_in(consul)) == 3
        framework.start()
        eventually(lambda: daemon.health().status_code == 200, 60)
        assert daemon.writes() == 1


def test_a_version_that_waits_for_its_go_gets_no_traffic_whoever_is_away_or_starts_anew(
    neighbours, framework, settings, tmp_path: Path
) -> None:
    consul = neighbours.consul
    blue_green = {"DROMOS_DEPLOY_STRATEGY": "blue-green", "DROMOS_DRAIN_SECONDS": "60"}
    settings |= {"framework_grace": 0.5, "verify": 0.5}
    with running_registrator(tmp_path / "one", **settings):
        framework.deploy(app(labels=blue_green))
        eventually(lambda: tasks_in(consul) == running_tasks(framework), 60)
        old = tasks_in(consul)
        deployment = framework.change("PUT", "/v2/apps/shop/web", {"env": {"VERSION": "2"}})["deploymentId"]
        eventually(lambda: len(tasks_in(consul, healthy=False)) == 4, 60, what="the new ones are there, and held")
        new = tasks_in(consul, healthy=False) - old
        assert maintenance_of(consul) == dict.fromkeys(new, "dromos: held")
        eventually(lambda: framework.deployments()[0]["currentActions"][0]["rollout"]["state"] == "waiting for go", 60)
        framework.kill()
    with running_registrator(tmp_path / "two", ready=False, **settings) as daemon:
        # It has Mesos' word alone, and for longer than it waits for the framework's.

        def verdicts() -> dict[str, str]:
            return {one["id"]: one["verdict"] for one in daemon.status()["instances"]}

        eventually(lambda: verdicts() == dict.fromkeys(new, "held") | dict.fromkeys(old, "new only"), 60)
        assert (tasks_in(consul), maintenance_of(consul)) == (old, dict.fromkeys(new, "dromos: held"))
        for task in new:  # as if nobody had ever seen them: they come back held
            [service] = [s for s in services_in(consul) if s["Meta"]["dromos-task"] == task]
            consul.http.put(f"agent/service/deregister/{service['ID']}")
        eventually(lambda: maintenance_of(consul) == dict.fromkeys(new, "dromos: held"), 60)
        framework.start()
        eventually(lambda: daemon.health().status_code == 200, 60)
        assert (tasks_in(consul), maintenance_of(consul)) == (old, dict.fromkeys(new, "dromos: held"))
        framework.change("POST", f"/v2/deployments/{deployment}/go?force=true")
        eventually(lambda: tasks_in(consul) == new, 50, what="the traffic has moved before the old ones are killed")
        framework.kill()
    with running_registrator(tmp_path / "three", ready=False, **settings) as daemon:
        eventually(lambda: len(daemon.status()["instances"]) >= 2, 60)
        assert new <= tasks_in(consul, healthy=False)
        assert tasks_in(consul) == new, "what has been released stays so"


def services_in(consul: ConsulServer) -> list[dict[str, Any]]:
    found = consul.http.get("agent/services").json().values()
    return [service for service in found if service["Service"] == "shop.web"]


def maintenance_of(consul: ConsulServer) -> dict[str, str]:
    """Task id -> why it is in maintenance mode."""
    task_of = {service["ID"]: service["Meta"]["dromos-task"] for service in services_in(consul)}
    checks = consul.http.get("agent/checks").json().values()
    return {
        task_of[check["ServiceID"]]: check["Notes"]
        for check in checks
        if check["CheckID"].startswith("_service_maintenance:") and check["ServiceID"] in task_of
    }
