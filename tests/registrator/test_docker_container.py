"""From `docker inspect` to an instance: the right address on every kind of network."""

from typing import Any

import pytest

from registrator.model import Health, Port
from registrator.naming import Naming, address_of
from registrator.sources.docker_container import (
    Host,
    has_failed,
    image_name,
    instance_of,
    is_of_interest,
    key_of_container,
)

DRIVERS = {
    "n-bridge": "bridge",
    "n-macvlan": "macvlan",
    "n-ipvlan": "ipvlan",
    "n-overlay": "overlay",
    "n-weave": "weaveworks/net-plugin",
    "n-host": "host",
}
HOST = Host("box", "192.0.2.1", DRIVERS)


def container(
    *,
    mode: str = "bridge",
    networks: dict[str, tuple[str, str, str]] | None = None,
    published: dict[str, Any] | None = None,
    exposed: tuple[str, ...] = ("80/tcp",),
    **more: Any,
) -> dict[str, Any]:
    """`networks` is name -> (network id, IPv4, IPv6)."""
    found = {"bridge": ("n-bridge", "172.17.0.2", "")} if networks is None else networks
    return {
        "Id": "abc123",
        "Name": "/front",
        "Config": {
            "Image": "registry:5000/team/web:1.2",
            "Env": more.pop("env", []),
            "Labels": more.pop("labels", None),
            "ExposedPorts": {port: {} for port in exposed},
        },
        "HostConfig": {"NetworkMode": mode},
        "NetworkSettings": {
            "Ports": dict.fromkeys(exposed) if published is None else published,
            "Networks": {
                name: {"NetworkID": id, "IPAddress": ipv4, "GlobalIPv6Address": ipv6}
                for name, (id, ipv4, ipv6) in found.items()
            },
        },
        "State": {"Running": True, "Status": "running", **more.pop("state", {})},
    }


def binding(ip: str = "0.0.0.0", port: str = "32768") -> dict[str, Any]:
    return {"80/tcp": [{"HostIp": ip, "HostPort": port}]}


BOTH = {"80/tcp": [{"HostIp": "::", "HostPort": "6000"}, {"HostIp": "0.0.0.0", "HostPort": "4000"}]}
MACVLAN = {"lan": ("n-macvlan", "10.0.0.7", "fd00::7")}
TWO = {"a": ("n-bridge", "172.18.0.2", ""), "b": ("n-overlay", "10.0.9.2", "")}


@pytest.mark.parametrize(
    ("inspected", "host", "internal", "address"),
    [
        (container(published=binding()), HOST, False, ("192.0.2.1", 32768)),
        (container(published=binding("127.0.0.1")), HOST, False, ("127.0.0.1", 32768)),
        (container(published=binding("::")), HOST, False, ("192.0.2.1", 32768)),
        (container(published=BOTH), HOST, False, ("192.0.2.1", 4000)),
        (container(published=BOTH), Host("box", "2001:db8::1", DRIVERS, ipv6=True), False, ("2001:db8::1", 6000)),
        (container(), HOST, False, None),
        (container(), HOST, True, ("172.17.0.2", 80)),
        (container(mode="host", networks={"host": ("n-host", "", "")}), HOST, False, ("192.0.2.1", 80)),
        (container(mode="host", networks={"host": ("n-host", "", "")}), HOST, True, ("192.0.2.1", 80)),
        (container(mode="none", networks={}), HOST, False, None),
        (container(mode="lan", networks=MACVLAN), HOST, False, ("10.0.0.7", 80)),
        (container(mode="lan", networks=MACVLAN), Host("box", "x", DRIVERS, ipv6=True), False, ("fd00::7", 80)),
        (container(mode="l3", networks={"l3": ("n-ipvlan", "10.0.0.8", "")}), HOST, False, ("10.0.0.8", 80)),
        (container(mode="w", networks={"w": ("n-weave", "10.32.0.3", "")}), HOST, False, ("10.32.0.3", 80)),
        (container(mode="mine", networks={"mine": ("n-bridge", "172.18.0.2", "")}), HOST, False, None),
        (container(mode="a", networks=TWO), HOST, False, ("10.0.9.2", 80)),
        (container(mode="a", networks=TWO), Host("box", "x", DRIVERS, ("a",)), True, ("172.18.0.2", 80)),
        (container(mode="a", networks=TWO), Host("box", "x", DRIVERS, ("gone", "b")), True, ("10.0.9.2", 80)),
        (container(mode="w", networks={"w": ("n-bridge", "", "fd00::9")}), HOST, True, ("fd00::9", 80)),
    ],
)
def test_the_address_on_every_network(
    inspected: dict[str, Any], host: Host, internal: bool, address: tuple[str, int] | None
) -> None:
    (port,) = instance_of(inspected, host).ports
    assert address_of(port, Naming(internal=internal)) == address


def test_a_container_on_another_s_network_is_reached_through_that() -> None:
    inner = container(mode="container:outer", networks={}, exposed=(), published={})
    outer = container(published=binding())
    (port,) = instance_of(inner, HOST, outer).ports
    assert address_of(port, Naming()) == ("192.0.2.1", 32768)


def test_ports_are_in_the_order_of_their_numbers_and_one_number_counts_once() -> None:
    ports = instance_of(container(exposed=("8080/tcp", "53/udp", "53/tcp")), HOST).ports
    assert [(port.index, port.own_port, port.protocol) for port in ports] == [
        (0, 53, "tcp"),
        (0, 53, "udp"),
        (1, 8080, "tcp"),
    ]
    assert isinstance(ports[0], Port)


def test_a_container_of_a_mesos_agent_is_that_task() -> None:
    env = ["MESOS_TASK_ID=web.1", "MARATHON_APP_ID=/web", "MARATHON_APP_VERSION=v1", "SERVICE_TAGS=a=b", "PATH=/bin"]
    found = instance_of(container(env=env), HOST)
    assert (found.key, found.kind, found.app, found.version) == ("web.1", "task", "/web", "v1")
    assert found.env == {"SERVICE_TAGS": "a=b"}
    assert key_of_container(container()) == "abc123"


def test_a_task_s_variables_say_how_its_app_is_deployed() -> None:
    variable = "MARATHON_APP_LABEL_DROMOS_DEPLOY_STRATEGY=blue-green"
    task = instance_of(container(env=["MESOS_TASK_ID=web.1", variable]), HOST)
    assert task.labels == {"DROMOS_DEPLOY_STRATEGY": "blue-green"}
    assert instance_of(container(env=[variable]), HOST).labels == {}, "it is nobody's task"


@pytest.mark.parametrize(
    ("env", "labels", "asks"),
    [
        ([], {}, False),
        (["SERVICE_NAME=x"], {}, True),
        (["SERVICE_80_NAME=x"], {}, True),
        ([], {"SERVICE_NAME": "x"}, True),
        ([], {"consul": ""}, True),
        (["SERVICE_TAGS=x"], {}, False),
        (["MESOS_TASK_ID=x"], {}, True),
    ],
)
def test_which_containers_ask(env: list[str], labels: dict[str, str], asks: bool) -> None:
    inspected = container(env=env, labels=labels)
    assert is_of_interest(inspected, all_containers=False) is asks
    assert is_of_interest(inspected, all_containers=True)


@pytest.mark.parametrize(
    ("state", "health", "draining"),
    [
        ({}, Health.UNCHECKED, False),
        ({"Health": {"Status": "none"}}, Health.UNCHECKED, False),
        ({"Health": {"Status": "starting"}}, Health.UNKNOWN, False),
        ({"Health": {"Status": "healthy"}}, Health.HEALTHY, False),
        ({"Health": {"Status": "unhealthy"}}, Health.UNHEALTHY, False),
        ({"Paused": True}, Health.UNCHECKED, True),
    ],
)
def test_health_and_pause(state: dict[str, Any], health: Health, draining: bool) -> None:
    found = instance_of(container(state=state), HOST)
    assert (found.health, found.draining) == (health, draining)


@pytest.mark.parametrize(
    ("state", "failed"),
    [
        ({"Running": True, "Status": "running", "ExitCode": 0}, False),
        ({"Running": False, "Status": "exited", "ExitCode": 0}, False),
        ({"Running": False, "Status": "exited", "ExitCode": 3}, True),
        ({"Running": False, "Status": "exited", "ExitCode": 137}, False),  # killed
        ({"Running": False, "Status": "exited", "ExitCode": 143}, False),  # told to stop
        ({"Running": True, "Restarting": True, "Status": "restarting", "ExitCode": 3}, False),
        ({"Running": False, "Status": "created", "ExitCode": 127}, False),  # it never ran
    ],
)
def test_which_containers_have_failed(state: dict[str, Any], failed: bool) -> None:
    assert has_failed(container(state=state)) is failed


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("nginx", "nginx"),
        ("nginx:1.2", "nginx"),
        ("registry:5000/team/web:1.2@sha256:00", "web"),
        ("registry:5000/web", "web"),
        ("sha256:0123", "sha256"),
    ],
)
def test_the_name_of_an_image(image: str, name: str) -> None:
    assert image_name(image) == name
