"""Containers of a real Docker daemon become services of a real Consul by registrator's conventions."""

import asyncio
import contextlib
import json
import uuid
from typing import Any

import pytest

from tests.registrator.conftest import remove
from tests.support.consul import ConsulServer
from tests.support.mesos_apps import HTTP, launch_app
from tests.support.processes import free_port
from tests.support.proxy import Faults, Proxy
from tests.support.scheduler import scheduling
from tests.support.waiting import eventually, eventually_async


def services(consul: ConsulServer, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = consul.http.get(f"catalog/service/{name}").json()
    return found


def host_port(container: Any, port: str = "80/tcp") -> int:
    return int(container.ports[port][0]["HostPort"])


def test_a_published_container_is_registered_under_its_image_s_name(
    dockerd, real_consul, docker_registrator, run
) -> None:
    docker_registrator(consul=real_consul.url)
    container = run(ports={"80/tcp": ("127.0.0.1", None)})

    found = eventually(lambda: services(real_consul, "busybox"))[0]

    assert found["ServiceID"] == f"{dockerd.client.info()['Name']}:{container.name}:80"
    assert (found["ServiceAddress"], found["ServicePort"]) == ("127.0.0.1", host_port(container))
    assert found["ServiceMeta"]["dromos-container"] == container.id
    assert "dromos-app" not in found["ServiceMeta"]
    eventually(lambda: real_consul.healthy("busybox"), what="Consul's own TCP check passes")


def test_labels_win_over_the_environment_and_what_is_said_of_the_port_over_both(
    real_consul, docker_registrator, run
) -> None:
    docker_registrator(consul=real_consul.url)
    run(
        ports={"80/tcp": ("127.0.0.1", None), "81/tcp": ("127.0.0.1", None)},
        environment={
            "SERVICE_NAME": "from-env",
            "SERVICE_81_NAME": "admin",
            "SERVICE_REGION": "north",
            "SERVICE_TAGS": "a",
        },
        labels={"SERVICE_NAME": "from-label", "SERVICE_TAGS": "b,c\\,d", "SERVICE_81_TAGS": "secret"},
    )

    public = eventually(lambda: services(real_consul, "from-label-80"))[0]
    admin = eventually(lambda: services(real_consul, "admin"))[0]

    assert public["ServiceTags"] == ["b", "c,d"]
    assert admin["ServiceTags"] == ["secret"]
    assert public["ServiceMeta"]["region"] == "north"


def test_what_is_not_published_or_asks_to_be_ignored_is_left_out_and_status_says_why(
    real_consul, docker_registrator, run
) -> None:
    daemon = docker_registrator(consul=real_consul.url)
    hidden = run(environment={"SERVICE_IGNORE": "yes", "SERVICE_NAME": "hidden"}, ports={"80/tcp": None})
    unpublished = run(environment={"SERVICE_NAME": "unpublished"}, ports={})

    def left_out() -> dict[str, list[str]]:
        return {item["id"]: item["left_out"] for item in daemon.status()["instances"]}

    eventually(
        lambda: left_out() == {hidden.id: ["port 0: it asks not to be registered"], unpublished.id: ["it has no port"]}
    )
    assert {"hidden", "unpublished"}.isdisjoint(real_consul.http.get("catalog/services").json())


def test_a_container_drains_when_it_is_told_to_stop_and_is_removed_when_it_has_ended(
    real_consul, docker_registrator, run
) -> None:
    docker_registrator(consul=real_consul.url)
    # It ends some time after SIGTERM, as one that finishes its requests first.
    finish = "while ! test -e /tmp/end; do sleep 0.05; done; exit"
    container = run(command=["sh", "-c", f"trap '{finish}' TERM; httpd -f -p 80 & wait"], ports={"80/tcp": None})
    eventually(lambda: real_consul.healthy("busybox"))

    container.client.api.kill(container.id, "SIGTERM")

    def maintenance() -> str | None:
        checks = real_consul.http.get("health/checks/busybox").json()
        return next((check["Notes"] for check in checks if check["CheckID"].startswith("_service_maintenance")), None)

    assert eventually(maintenance) == "dromos: draining"
    container.exec_run(["touch", "/tmp/end"])
    eventually(lambda: not services(real_consul, "busybox"))


def test_a_container_that_does_not_end_although_it_was_told_to_is_in_rotation_again_after_the_hold(
    real_consul, docker_registrator, run
) -> None:
    daemon = docker_registrator(consul=real_consul.url, stopping_hold=2)
    container = run(
        command=["sh", "-c", "trap '' TERM; httpd -f -p 80 & while true; do wait; done"], ports={"80/tcp": None}
    )
    eventually(lambda: real_consul.healthy("busybox"))

    def turned() -> list[str]:
        said = (json.loads(line)["event"] for line in daemon.log.read_text().splitlines())
        return [event for event in said if event in ("drains", "is in rotation")]

    def told_to_stop() -> bool:
        """It is told again where the daemon slept longer than the hold."""
        container.client.api.kill(container.id, "SIGTERM")
        return eventually(lambda: "drains" in turned(), 10)

    eventually(told_to_stop, 60)
    eventually(lambda: turned()[-2:] == ["drains", "is in rotation"])
    eventually(lambda: real_consul.healthy("busybox"), what="in rotation again")


def test_a_container_that_is_started_again_is_registered_again(real_consul, docker_registrator, run) -> None:
    docker_registrator(consul=real_consul.url)
    container = run(ports={"80/tcp": None})
    eventually(lambda: real_consul.healthy("busybox"))
    container.kill()
    eventually(lambda: not services(real_consul, "busybox"))
    container.start()
    eventually(lambda: real_consul.healthy("busybox"))


def test_on_success_leaves_a_failed_container_registered_until_it_is_removed(
    real_consul, docker_registrator, run
) -> None:
    daemon = docker_registrator(consul=real_consul.url, deregister="on-success")
    command = "httpd -f -p 80 & while ! test -e /tmp/end; do sleep 0.05; done; exit $(cat /tmp/end)"
    failing, ending = (run(command=["sh", "-c", command], ports={"80/tcp": None}) for _ in range(2))
    eventually(lambda: len(real_consul.healthy("busybox")) == 2)
    failing.exec_run(["sh", "-c", "echo 3 > /tmp/.end; mv /tmp/.end /tmp/end"])
    ending.exec_run(["sh", "-c", "echo 0 > /tmp/.end; mv /tmp/.end /tmp/end"])
    eventually(lambda: len(services(real_consul, "busybox")) == 1)
    assert services(real_consul, "busybox")[0]["ServiceMeta"]["dromos-container"] == failing.id
    eventually(lambda: not real_consul.healthy("busybox"), what="Consul's own check has found that it is dead")
    failed = {"id": failing.id, "phase": "failed", "verdict": "hold"}
    eventually(lambda: any(failed.items() <= item.items() for item in daemon.status()["instances"]))
    failing.remove()
    eventually(lambda: not services(real_consul, "busybox"))


def test_docker_s_healthcheck_is_shown_in_consul(real_consul, docker_registrator, run) -> None:
    docker_registrator(consul=real_consul.url)
    second = 1_000_000_000
    container = run(
        ports={"80/tcp": None},
        healthcheck={
            "test": ["CMD", "sh", "-c", "! test -f /tmp/ill"],
            "interval": second,
            "timeout": 60 * second,
            "retries": 1,
        },
    )

    def docker_check() -> dict[str, str]:
        checks = real_consul.http.get("health/checks/busybox").json()
        return {check["CheckID"].rpartition(":")[2]: check["Status"] for check in checks}

    eventually(lambda: docker_check() == {"docker": "passing", "tcp": "passing"})
    container.exec_run(["touch", "/tmp/ill"])
    eventually(lambda: docker_check()["docker"] == "critical")
    assert not real_consul.healthy("busybox")
    container.exec_run(["rm", "/tmp/ill"])
    eventually(lambda: real_consul.healthy("busybox"))


def test_a_container_on_the_host_s_network_is_reached_at_the_host(
    dockerd, busybox, real_consul, docker_registrator, request
) -> None:
    port = free_port()
    docker_registrator(consul=real_consul.url)
    api = dockerd.client.api
    id = api.create_container(
        busybox,
        ["httpd", "-f", "-p", f"127.0.0.1:{port}"],
        ports=[(port, "tcp")],
        host_config=api.create_host_config(network_mode="host"),
    )["Id"]
    request.addfinalizer(lambda: api.remove_container(id, force=True))
    api.start(id)

    found = eventually(lambda: services(real_consul, "busybox"))[0]

    assert (found["ServiceAddress"], found["ServicePort"]) == ("127.0.0.1", port)
    eventually(lambda: real_consul.healthy("busybox"))


def test_internal_prefers_the_container_s_own_address_on_the_preferred_network(
    dockerd, real_consul, docker_registrator, run
) -> None:
    with contextlib.ExitStack() as stack:
        first, second = (dockerd.client.networks.create(f"dromos-test-{uuid.uuid4().hex[:8]}") for _ in range(2))
        stack.callback(first.remove)
        stack.callback(second.remove)
        docker_registrator(consul=real_consul.url, internal=True, network=[second.name])
        container = run(network=first.name, ports={"80/tcp": None})
        stack.callback(remove, container)
        second.connect(container)
        container.reload()
        address = container.attrs["NetworkSettings"]["Networks"][second.name]["IPAddress"]

        eventually(lambda: [s["ServiceAddress"] for s in services(real_consul, "busybox")] == [address])

        assert services(real_consul, "busybox")[0]["ServicePort"] == 80
        eventually(lambda: real_consul.healthy("busybox"))


def test_service_checks_that_a_container_asks_for_become_consul_s_own(real_consul, docker_registrator, run) -> None:
    docker_registrator(consul=real_consul.url)
    run(
        ports={"80/tcp": None},
        command=["sh", "-c", "echo fine > /www/health; httpd -f -p 80 -h /www"],
        environment={"SERVICE_CHECK_HTTP": "/health", "SERVICE_CHECK_INTERVAL": "1s", "SERVICE_CHECK_TIMEOUT": "2s"},
    )
    found = eventually(lambda: real_consul.healthy("busybox"))[0]
    check = next(check for check in found["Checks"] if check["ServiceID"])
    assert check["CheckID"].endswith(":asked")
    assert "HTTP GET" in check["Output"]
    assert "200 OK" in check["Output"]


def test_a_ttl_check_gets_its_heartbeat(real_consul, docker_registrator, run) -> None:
    daemon = docker_registrator(consul=real_consul.url)
    run(ports={"80/tcp": None}, environment={"SERVICE_CHECK_TTL": "1s"})
    eventually(lambda: real_consul.healthy("busybox"))
    eventually(lambda: daemon.metric("dromos_registrator_writes_total", kind="heartbeat") >= 8)  # in more than 2 s
    eventually(lambda: real_consul.http.get("health/checks/busybox").json()[0]["Status"] == "passing")


def test_services_of_another_owner_are_left_alone(real_consul, docker_registrator, run) -> None:
    first = docker_registrator(consul=real_consul.url, owner="first")
    run(ports={"80/tcp": None}, environment={"SERVICE_CHECK_TTL": "30s"})
    eventually(lambda: real_consul.healthy("busybox"))
    second = docker_registrator(consul=real_consul.url, owner="second")

    conflict = eventually(lambda: second.status()["conflicts"])

    assert list(conflict.values()) == ["another owner has it: first"]
    assert second.writes() == 0
    assert second.metric("dromos_registrator_writes_total", kind="heartbeat") == 0
    eventually(lambda: first.writes() == 1)


@pytest.fixture
def beside_mesos(dockerd, real_mesos, real_consul, registrator):
    """The Mesos that the registrator follows besides Docker."""
    mesos = real_mesos()
    registrator(
        process=True,
        sources=["mesos"],
        mesos=[mesos.url],
        docker=True,
        docker_host=dockerd.url,
        consul=real_consul.url,
    )
    return mesos


def test_beside_mesos_only_containers_that_ask_are_registered(beside_mesos, real_consul, run) -> None:
    run(ports={"80/tcp": None})
    run(ports={"80/tcp": None}, environment={"SERVICE_NAME": "asks"})
    eventually(lambda: services(real_consul, "asks"))
    assert not services(real_consul, "busybox")


async def test_a_container_of_a_mesos_task_is_no_second_service_and_its_end_is_the_task_s(
    beside_mesos, real_consul, run
) -> None:
    async with scheduling(beside_mesos.url) as scheduler:
        task = await launch_app(scheduler, "/shop/web", HTTP)
        environment = {"MESOS_TASK_ID": task, "SERVICE_TAGS": "from-the-image"}
        container = await asyncio.to_thread(run, ports={"80/tcp": None}, environment=environment)
        await eventually_async(
            lambda: [s["ServiceTags"] for s in services(real_consul, "shop.web")] == [["from-the-image"]],
            what="what the image says is added",
        )
        assert services(real_consul, "shop.web")[0]["ServicePort"] >= 31000, "where it is reached is for Mesos to say"
        assert not services(real_consul, "busybox")
        # Mesos does not know of it: the container is the first to show the end.
        await asyncio.to_thread(container.kill)
        await eventually_async(lambda: not services(real_consul, "shop.web"))


def test_a_docker_daemon_that_goes_away_takes_nothing_away(dockerd, real_consul, registrator, run) -> None:
    socket_path = dockerd.url.removeprefix("unix://")
    with Proxy(socket_path).running() as proxy:
        daemon = registrator(
            process=True, sources=["docker"], docker_host=f"tcp://127.0.0.1:{proxy.port}", consul=real_consul.url
        )
        first = run(ports={"80/tcp": None})
        eventually(lambda: services(real_consul, "busybox"))
        proxy.set(Faults(refuse=True))
        eventually(lambda: daemon.health().status_code == 503)
        second = run(ports={"80/tcp": None})
        remove(first)
        assert len(services(real_consul, "busybox")) == 1
        proxy.set()
        eventually(
            lambda: [s["ServiceMeta"]["dromos-container"] for s in services(real_consul, "busybox")] == [second.id]
        )
