"""Pods: each container is a task of its own, and an endpoint is a service of its own."""

from dataclasses import replace
from typing import Any

import pytest

from registrator.model import Health, HealthCheck, Phase
from registrator.naming import Naming, services_of
from registrator.sources.pods import instances_of

STATUS: dict[str, Any] = {
    "id": "/shop/pod",
    "spec": {
        "labels": {"HAPROXY_0_VHOST": "shop.example"},
        "networks": [{"mode": "host"}],
        "environment": {"SERVICE_TAGS": "all", "KEY": {"secret": "x"}},
        "containers": [
            {
                "name": "web",
                "labels": {"blue": "tag"},
                "endpoints": [{"name": "http", "hostPort": 0, "protocol": ["tcp"], "labels": {}}],
                "healthCheck": {"http": {"endpoint": "http", "path": "/up", "scheme": "HTTP"}, "intervalSeconds": 5},
            },
            {"name": "cache", "endpoints": [{"name": "redis", "hostPort": 0}]},
            {"name": "side"},
        ],
    },
    "instances": [
        {
            "id": "shop_pod.instance-1",
            "agentHostname": "box",
            "specReference": "/v2/pods/shop/pod::versions/v3",
            "containers": [
                {
                    "name": "web",
                    "containerId": "shop_pod.instance-1.web",
                    "status": "TASK_RUNNING",
                    "conditions": [{"name": "healthy", "value": "true"}],
                    "endpoints": [{"name": "http", "allocatedHostPort": 31001, "healthy": True}],
                },
                {
                    "name": "cache",
                    "containerId": "shop_pod.instance-1.cache",
                    "status": "TASK_STARTING",
                    "endpoints": [{"name": "redis", "allocatedHostPort": 31002}],
                },
                {"name": "side", "containerId": "shop_pod.instance-1.side", "status": "TASK_FAILED"},
            ],
        }
    ],
}


def test_each_container_that_has_not_ended_is_an_instance() -> None:
    web, cache = instances_of(STATUS, {"box": "10.0.0.1"})
    assert (web.key, web.app, web.version, web.phase) == ("shop_pod.instance-1.web", "/shop/pod", "v3", Phase.RUNNING)
    assert (web.health, cache.health) == (Health.HEALTHY, Health.UNCHECKED)
    assert cache.phase is Phase.STARTING
    assert web.checks == (HealthCheck("http", "/up", 0, interval=5.0),)
    assert web.env == {"SERVICE_TAGS": "all"}


def test_services_of_a_pod_are_told_apart_by_their_endpoints() -> None:
    services = [services_of(item, Naming()).services for item in instances_of(STATUS, {"box": "10.0.0.1"})]
    assert [(s.name, s.address, s.port) for found in services for s in found] == [
        ("shop.pod-http", "10.0.0.1", 31001),
        ("shop.pod-redis", "10.0.0.1", 31002),
    ]
    assert services[0][0].tags == ("all", "blue")
    assert services[0][0].meta["HAPROXY_0_VHOST"] == "shop.example"


@pytest.mark.parametrize(
    ("conditions", "endpoints", "health"),
    [
        ([], [], Health.UNKNOWN),
        ([{"name": "healthy", "value": "true"}], [], Health.HEALTHY),
        ([{"name": "healthy", "value": "false"}], [], Health.UNHEALTHY),
        ([], [{"name": "http", "healthy": False}], Health.UNHEALTHY),
        ([{"name": "healthy", "value": "true"}], [{"name": "http", "healthy": False}], Health.UNHEALTHY),
    ],
)
def test_health_of_a_container(conditions: list[Any], endpoints: list[Any], health: Health) -> None:
    container = {**STATUS["instances"][0]["containers"][0], "conditions": conditions, "endpoints": endpoints}
    status = {**STATUS, "instances": [{**STATUS["instances"][0], "containers": [container]}]}
    assert [item.health for item in instances_of(status, {})] == [health]


def test_a_pod_on_a_network_of_its_own_is_reached_there() -> None:
    spec = {
        **STATUS["spec"],
        "networks": [{"mode": "container", "name": "weave"}],
        "containers": [
            {"name": "web", "endpoints": [{"name": "http", "containerPort": 8080, "protocol": ["tcp", "udp"]}]}
        ],
    }
    shown = {"name": "web", "containerId": "t", "status": "TASK_RUNNING", "endpoints": [{"name": "http"}]}
    instance = {"agentHostname": "box", "networks": [{"addresses": ["10.32.0.4"]}], "containers": [shown]}
    (web,) = instances_of({**STATUS, "spec": spec, "instances": [instance]}, {"box": "10.0.0.1"})
    assert not web.has_siblings
    found = services_of(replace(web, labels={}), Naming()).services
    assert [(s.name, s.address, s.port) for s in found] == [("shop.pod", "10.32.0.4", 8080)] * 2
