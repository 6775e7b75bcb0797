"""What a Marathon API tells, alone and beside a Mesos master, becomes services of a real Consul."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.consul import ConsulServer
from tests.support.marathon import VERSION, Marathon
from tests.support.mesos_apps import HTTP, launch_app
from tests.support.processes import free_port
from tests.support.registrator import Registrator
from tests.support.scheduler import scheduling
from tests.support.waiting import eventually, eventually_async

Start = Callable[..., Registrator]
HEALTHY = [{"alive": True}]
UNHEALTHY = [{"alive": False}]
HTTP_CHECK = {"protocol": "HTTP", "path": "/health", "portIndex": 0, "intervalSeconds": 2, "timeoutSeconds": 3}


@pytest.fixture
def marathon() -> Iterator[Marathon]:
    with Marathon().serving() as api:
        yield api


@pytest.fixture
def start(registrator: Start, marathon: Marathon, real_consul: ConsulServer) -> Start:
    """A registrator that looks at the Marathon API alone, unless told otherwise."""
    defaults = {"sources": ["framework"], "marathon": [marathon.url], "consul": real_consul.url, "confirm_after": 0.2}
    return lambda **settings: registrator(**{**defaults, **settings})


def services(consul: ConsulServer, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = consul.http.get(f"catalog/service/{name}").json()
    return found


def maintenance(consul: ConsulServer, name: str) -> list[str]:
    checks = consul.http.get(f"health/checks/{name}").json()
    return [check["Notes"] for check in checks if check["CheckID"].startswith("_service_maintenance")]


def test_a_task_without_health_checks_is_registered_when_it_runs(marathon, start, real_consul) -> None:
    start()
    eventually(lambda: marathon.listeners)
    marathon.put_app(
        "/shop/web", labels={"HAPROXY_0_VHOST": "shop.example", "consul": "shop"}, env={"SERVICE_TAGS": "x"}
    )
    task = marathon.put_task("/shop/web", ports=[31001], version=VERSION)
    marathon.announce("status_update_event", taskId=task, taskStatus="TASK_RUNNING")

    found = eventually(lambda: services(real_consul, "shop"))[0]

    assert found["ServiceID"] == f"{task}_shop_31001"
    assert found["ServiceTags"] == ["x"]
    assert found["ServiceMeta"]["dromos-version"] == VERSION
    assert found["ServiceMeta"]["HAPROXY_0_VHOST"] == "shop.example"


def test_only_healthy_tasks_are_registered(marathon, start, real_consul) -> None:
    marathon.put_app("/web", healthChecks=[HTTP_CHECK])
    well = marathon.put_task("/web", ports=[31001], healthCheckResults=HEALTHY)
    ill = marathon.put_task("/web", ports=[31002], healthCheckResults=UNHEALTHY)
    young = marathon.put_task("/web", ports=[31003], healthCheckResults=[])
    daemon = start()

    def ports() -> set[int]:
        return {found["ServicePort"] for found in services(real_consul, "web")}

    eventually(lambda: ports() == {31001})
    verdicts = {item["id"]: (item["verdict"], item["why"]) for item in daemon.status()["instances"]}
    assert verdicts == {
        well: ("wanted", "runs and is healthy"),
        ill: ("remove", "is unhealthy"),
        young: ("hold", "has not passed its health checks yet"),
    }

    marathon.put_task("/web", well, healthCheckResults=UNHEALTHY)
    marathon.put_task("/web", ill, healthCheckResults=HEALTHY)
    marathon.announce("health_status_changed_event", appId="/web")
    eventually(lambda: ports() == {31002})

    # After a restart of the framework results are missing: unknown is not unhealthy.
    marathon.put_task("/web", ill, healthCheckResults=[])
    marathon.put_task("/web", young, healthCheckResults=HEALTHY)
    marathon.announce("health_status_changed_event", appId="/web")
    eventually(lambda: ports() == {31002, 31003})


def test_health_checks_become_consul_s_own_so_that_the_dead_leave_without_us(marathon, start, real_consul) -> None:
    marathon.put_app("/web", healthChecks=[HTTP_CHECK])
    marathon.put_task("/web", ports=[free_port()], healthCheckResults=HEALTHY)
    start()
    eventually(lambda: services(real_consul, "web"))
    checks = {c["CheckID"].rpartition(":")[2]: c for c in real_consul.http.get("agent/checks").json().values()}
    assert checks["0"]["Type"] == "http"
    assert checks["tcp"]["Type"] == "tcp"
    eventually(lambda: not real_consul.healthy("web"), what="nobody listens there, so Consul takes it out of rotation")


def test_a_command_health_check_is_a_ttl_check_that_is_kept_alive(marathon, start, real_consul) -> None:
    marathon.put_app("/web", healthChecks=[{"protocol": "COMMAND", "command": {"value": "true"}}])
    task = marathon.put_task("/web", ports=[31001], healthCheckResults=HEALTHY)
    daemon = start(ttl=60, ttl_refresh=0.2, tcp_check_interval=0)
    eventually(lambda: real_consul.healthy("web"))
    eventually(lambda: daemon.metric("dromos_registrator_writes_total", kind="heartbeat") >= 3)
    ((id, check),) = real_consul.http.get("agent/checks").json().items()
    assert (id.rpartition(":")[2], check["Type"], check["Output"]) == ("task", "ttl", "healthy")
    marathon.put_task("/web", task, healthCheckResults=UNHEALTHY)
    marathon.announce("health_status_changed_event", appId="/web")
    eventually(lambda: not services(real_consul, "web"))


def test_a_draining_task_is_put_into_maintenance_and_removed_when_killed(marathon, start, real_consul) -> None:
    marathon.put_app("/web")
    task = marathon.put_task("/web", ports=[31001])
    start()
    eventually(lambda: services(real_consul, "web"))

    marathon.put_task("/web", task, draining=True)
    marathon.announce("instance_draining_event", instanceId="i", runSpecId="/web", taskIds=[task])
    eventually(lambda: maintenance(real_consul, "web") == ["dromos: draining"])

    marathon.drop_task("/web", task)
    marathon.announce("status_update_event", taskId=task, taskStatus="TASK_KILLED")
    eventually(lambda: not services(real_consul, "web"))


def test_a_drain_that_is_called_off_puts_the_task_back(marathon, start, real_consul) -> None:
    marathon.put_app("/web")
    task = marathon.put_task("/web", ports=[31001], draining=True)
    start()
    marathon.put_task("/web", task, draining=False)
    marathon.announce("instance_changed_event")
    eventually(lambda: services(real_consul, "web"))
    marathon.put_task("/web", task, draining=True)
    marathon.announce("instance_draining_event", taskId=task)
    eventually(lambda: maintenance(real_consul, "web"))
    marathon.put_task("/web", task, draining=False)
    marathon.announce("instance_changed_event")
    eventually(lambda: services(real_consul, "web") and not maintenance(real_consul, "web"))


def test_an_operator_s_maintenance_mode_is_not_lifted(marathon, start, real_consul) -> None:
    marathon.put_app("/web")
    task = marathon.put_task("/web", ports=[31001])
    daemon = start(verify=0.1, resync=0.2)
    id = eventually(lambda: services(real_consul, "web"))[0]["ServiceID"]
    real_consul.http.put(f"agent/service/maintenance/{id}", enable="true", reason="disk swap")
    eventually(lambda: maintenance(real_consul, "web") == ["disk swap"])
    looks = daemon.metric("dromos_registrator_reconcile_seconds_count")
    eventually(lambda: daemon.metric("dromos_registrator_reconcile_seconds_count") > looks + 3)
    assert maintenance(real_consul, "web") == ["disk swap"]
    assert task


def test_a_framework_that_fails_or_turns_up_empty_takes_nothing_away(marathon, start, real_consul) -> None:
    marathon.put_app("/web")
    for port in (31001, 31002):
        marathon.put_task("/web", ports=[port])
    daemon = start(empty_hold=3600)
    eventually(lambda: len(services(real_consul, "web")) == 2)

    marathon.status = 503
    marathon.announce("status_update_event")
    eventually(lambda: "503" in daemon.health().json()["parts"]["framework"]["why"])
    assert daemon.health().status_code == 503

    apps, marathon.apps, marathon.status = marathon.apps, {}, 200
    waiting = eventually(lambda: daemon.status()["removals_waiting"])
    assert len(waiting) == 2
    assert len(services(real_consul, "web")) == 2

    marathon.apps = apps
    marathon.announce("status_update_event")
    eventually(lambda: not daemon.status()["removals_waiting"])
    assert daemon.writes() == 2


def test_the_last_task_s_service_goes_after_the_hold_when_the_framework_stays_empty(
    marathon, start, real_consul
) -> None:
    marathon.put_app("/web")
    task = marathon.put_task("/web", ports=[31001])
    start(empty_hold=0.5)
    eventually(lambda: services(real_consul, "web"))
    marathon.drop_task("/web", task)
    marathon.announce("app_terminated_event", appId="/web")
    eventually(lambda: not services(real_consul, "web"))


def test_tasks_of_an_earlier_version_keep_that_version_s_labels(marathon, start, real_consul) -> None:
    old, new = "2024-01-01T00:00:00.000Z", "2024-02-01T00:00:00.000Z"
    app = marathon.put_app("/web", labels={"consul": "old-name"}, version=old)
    marathon.versions["/web", old] = {**app, "tasks": []}
    marathon.put_app("/web", labels={"consul": "new-name"}, version=new, versionInfo={"lastConfigChangeAt": new})
    marathon.put_task("/web", ports=[31001], version=old)
    marathon.put_task("/web", ports=[31002], version=new)
    start(resync=0.2)
    eventually(lambda: services(real_consul, "old-name") and services(real_consul, "new-name"))
    eventually(lambda: marathon.asked.count("/v2/apps") > 5)
    assert marathon.asked.count(f"/v2/apps/web/versions/{old}") == 1


def test_container_networks_are_reached_at_the_container_itself(marathon, start, real_consul) -> None:
    marathon.put_app(
        "/web",
        networks=[{"mode": "container", "name": "weave"}],
        portDefinitions=[],
        container={"portMappings": [{"containerPort": 8080, "name": "http"}, {"containerPort": 9090, "hostPort": 0}]},
    )
    marathon.put_task("/web", ports=[31007], ipAddresses=[{"ipAddress": "10.32.0.7", "protocol": "IPv4"}])
    start()
    eventually(lambda: services(real_consul, "web-http") and services(real_consul, "web-1"))
    at = [
        (s["ServiceAddress"], s["ServicePort"]) for name in ("web-http", "web-1") for s in services(real_consul, name)
    ]
    assert at == [("10.32.0.7", 8080), ("127.0.0.1", 31007)]


async def test_beside_mesos_the_framework_adds_health_version_and_draining(
    marathon, start, real_consul, real_mesos
) -> None:
    mesos = real_mesos()
    async with scheduling(mesos.url) as scheduler:
        marathon.framework_id = scheduler.framework_id
        daemon = start(sources=["mesos", "framework"], mesos=[mesos.url])
        app = f"/web-{uuid.uuid4().hex[:6]}"
        task = await launch_app(scheduler, app, HTTP)
        await eventually_async(lambda: [i["id"] for i in daemon.status()["instances"]] == [task])
        assert not services(real_consul, app.strip("/")), "nobody has said yet whether it is healthy"

        marathon.put_app(app, healthChecks=[HTTP_CHECK])
        marathon.put_task(app, task, ports=[1], healthCheckResults=HEALTHY)
        marathon.announce("health_status_changed_event")
        found = (await eventually_async(lambda: services(real_consul, app.strip("/"))))[0]
        assert found["ServicePort"] >= 31000, "where it runs is for Mesos to say"
        assert found["ServiceMeta"]["dromos-version"] == VERSION

        marathon.put_task(app, task, draining=True)
        marathon.announce("instance_draining_event", taskId=task)
        await eventually_async(lambda: maintenance(real_consul, app.strip("/")))

        await scheduler.kill(task)
        await scheduler.update(task, "TASK_KILLED")
        await eventually_async(lambda: not services(real_consul, app.strip("/")))
        await eventually_async(lambda: daemon.writes() == 3, what="registered, put into maintenance, removed")


async def test_a_task_that_the_framework_never_speaks_of_is_registered_on_mesos_word_after_the_grace(
    marathon, start, real_consul, real_mesos
) -> None:
    mesos = real_mesos()
    marathon.status = 503
    start(sources=["mesos", "framework"], mesos=[mesos.url], framework_grace=1, ready=False)
    async with scheduling(mesos.url) as scheduler:
        await launch_app(scheduler, "/orphan", HTTP)
        await eventually_async(lambda: services(real_consul, "orphan"))


def test_the_event_alone_is_enough_where_the_tasks_do_not_say_that_they_drain(marathon, start, real_consul) -> None:
    marathon.put_app("/web")
    task = marathon.put_task("/web", ports=[31001])
    start(resync=0.2)
    eventually(lambda: services(real_consul, "web"))
    marathon.announce("instance_draining_event", taskIds=[task], drainSeconds=60)
    eventually(lambda: maintenance(real_consul, "web"))
    looks = marathon.asked.count("/v2/apps")
    eventually(lambda: marathon.asked.count("/v2/apps") > looks + 3)
    assert maintenance(real_consul, "web")


def test_pods_are_registered_by_their_endpoints(marathon, start, real_consul) -> None:
    container = {"name": "web", "containerId": "pod.1.web", "status": "TASK_RUNNING"}
    endpoint = {"name": "http", "allocatedHostPort": 31001}
    instance = {"agentHostname": "127.0.0.1", "containers": [{**container, "endpoints": [endpoint]}]}
    spec = {"containers": [{"name": "web", "endpoints": [{"name": "http", "hostPort": 0}]}]}
    marathon.pods = [{"id": "/pod", "spec": spec, "instances": [instance]}]
    start()
    assert eventually(lambda: services(real_consul, "pod"))[0]["ServiceID"] == "pod.1.web_pod_31001"
