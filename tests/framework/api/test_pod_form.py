# ruff: noqa: E501  the rows of a table stay on one line
"""Pods: defaults, and rules that name everything that is wrong."""

from typing import Any

import pytest

from framework.api.errors import InvalidJsonError, InvalidObjectError
from framework.api.forms import pod_form
from framework.api.forms.app_form import Defaults
from framework.model.codec import to_json

DEFAULTS = Defaults()
CONTAINER = {"name": "c", "exec": {"command": {"shell": "sleep 1"}}, "resources": {"cpus": 0.1, "mem": 32}}
POD = {"id": "/p", "containers": [CONTAINER]}


def canonical(document: dict[str, Any]) -> dict[str, Any]:
    return to_json(pod_form.new_pod(document, DEFAULTS))


def test_what_is_not_given_has_marathons_default() -> None:
    pod = canonical(POD)
    assert pod["scaling"] == {"kind": "fixed", "instances": 1}
    assert pod["networks"] == [{"mode": "host"}]
    assert pod["executorResources"] == {"cpus": 0.1, "mem": 32, "disk": 10}
    assert pod["containers"][0]["resources"] == {"cpus": 0.1, "mem": 32, "disk": 0, "gpus": 0}
    assert pod["scheduling"] == {
        "backoff": {"backoff": 1, "backoffFactor": 1.15, "maxLaunchDelay": 300},
        "upgrade": {"minimumHealthCapacity": 1, "maximumOverCapacity": 1},
        "placement": {"constraints": []},
        "killSelection": "YOUNGEST_FIRST",
        "unreachableStrategy": {"inactiveAfterSeconds": 0, "expungeAfterSeconds": 0},
    }


FULL = {
    "id": "/group/pod",
    "labels": {"a": "b"},
    "user": "nobody",
    "environment": {"A": "1", "S": {"secret": "s"}},
    "secrets": {"s": {"source": "x/y"}},
    "scaling": {"kind": "fixed", "instances": 3},
    "networks": [{"mode": "container", "name": "overlay"}],
    "volumes": [{"name": "v"}, {"name": "h", "host": "/etc"}],
    "scheduling": {
        "backoff": {"backoff": 2},
        "upgrade": {"maximumOverCapacity": 0.5},
        "placement": {"constraints": [{"fieldName": "hostname", "operator": "UNIQUE"}], "acceptedResourceRoles": ["*"]},
        "killSelection": "OLDEST_FIRST",
    },
    "containers": [
        {
            "name": "web",
            "exec": {"command": {"argv": ["nginx", "-g"]}, "overrideEntrypoint": True},
            "resources": {"cpus": 0.5, "mem": 64, "gpus": 1},
            "resourceLimits": {"cpus": "unlimited"},
            "endpoints": [
                {"name": "http", "containerPort": 80, "hostPort": 0, "protocol": ["tcp"], "labels": {"VIP": "x"}}
            ],
            "image": {"kind": "DOCKER", "id": "nginx", "forcePull": True},
            "healthCheck": {"http": {"endpoint": "http", "path": "/ping"}, "gracePeriodSeconds": 10},
            "volumeMounts": [{"name": "v", "mountPath": "/v"}, {"name": "h", "mountPath": "/h", "readOnly": True}],
            "artifacts": [{"uri": "http://x/y.zip", "destPath": "z"}],
            "lifecycle": {"killGracePeriodSeconds": 5},
            "tty": True,
        },
        {"name": "sidecar", "image": {"id": "busybox"}},
    ],
}


def test_a_pod_with_everything_survives_and_is_a_fixed_point() -> None:
    once = canonical(FULL)
    assert once["containers"][0]["healthCheck"]["http"] == {"endpoint": "http", "path": "/ping", "scheme": "HTTP"}
    assert once["scheduling"]["placement"]["constraints"] == [{"fieldName": "hostname", "operator": "UNIQUE"}]
    assert once["containers"][0]["exec"] == FULL["containers"][0]["exec"]  # type: ignore[index]
    assert canonical(once) == once


def with_container(**fields: Any) -> dict[str, Any]:
    return {**POD, "containers": [{**CONTAINER, **fields}]}


NAME = "must fully match regular expression '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'"


@pytest.mark.parametrize(
    ("document", "path", "message"),
    [
        ({**POD, "containers": []}, "/containers", "must not be empty"),
        ({**POD, "id": "/"}, "/id", "Path must contain at least one path element"),
        ({**POD, "containers": [CONTAINER, CONTAINER]}, "/containers", "container names are unique"),
        (with_container(name="C_1"), "/containers(0)/name", NAME),
        (with_container(resources={"cpus": -1}), "/containers(0)/resources/cpus", "got -1, expected 0 or more"),
        ({**POD, "containers": [{"name": "c"}]}, "/containers(0)", "must have an exec, an image, or both"),
        (with_container(exec={"command": {}}), "/containers(0)/exec/command", "must have exactly one of shell and argv"),
        (with_container(endpoints=[{"name": "e"}]), "/containers(0)/endpoints(0)/hostPort", "is required when using host-mode networking"),
        (with_container(endpoints=[{"name": "e", "hostPort": 0, "containerPort": 80}]), "/containers(0)/endpoints(0)/containerPort", "is not allowed when using host-mode networking"),
        ({**with_container(endpoints=[{"name": "e"}]), "networks": [{"mode": "container", "name": "n"}]}, "/containers(0)/endpoints(0)/containerPort", "is required when using container-mode networking"),
        (with_container(endpoints=[{"name": "e", "hostPort": 80}, {"name": "f", "hostPort": 80}]), "/", "Host ports are unique"),
        (with_container(endpoints=[{"name": "e", "hostPort": 80}, {"name": "e", "hostPort": 81}]), "/", "Endpoint names are unique"),
        (with_container(endpoints=[{"name": "e", "hostPort": 0, "protocol": ["tcp", "tcp"]}]), "/containers(0)/endpoints(0)/protocol", "Duplicate protocols within the same endpoint are not allowed"),
        (with_container(healthCheck={"http": {"endpoint": "x"}}), "/containers(0)/healthCheck/http/endpoint", "contained in the container endpoints"),
        (with_container(healthCheck={}), "/containers(0)/healthCheck", "Only one of http, tcp, or command may be specified"),
        (with_container(healthCheck={"exec": {"command": {"shell": "x"}}, "timeoutSeconds": 60}), "/containers(0)/healthCheck/timeoutSeconds", "got 60, expected less than 60"),
        (with_container(volumeMounts=[{"name": "v", "mountPath": "/v"}]), "/containers(0)/volumeMounts(0)/name", "Referenced Volume in VolumeMount should exist"),
        ({**POD, "volumes": [{"name": "v"}]}, "/volumes(0)", "volume must be referenced by at least one container"),
        (with_container(environment={"A": {"secret": "s"}}), "/containers(0)/environment/A/secret", "references an undefined secret named 's'"),
        ({**POD, "scaling": {"kind": "fixed", "instances": -1}}, "/scaling/instances", "got -1, expected between 0 and 100000"),
        ({**POD, "scheduling": {"upgrade": {"maximumOverCapacity": 2}}}, "/scheduling/upgrade/maximumOverCapacity", "got 2, expected between 0 and 1"),
        ({**POD, "scheduling": {"backoff": {"backoff": -1}}}, "/scheduling/backoff/backoff", "got -1, expected 0 or more"),
        ({**POD, "scheduling": {"placement": {"constraints": [{"fieldName": "a", "operator": "UNIQUE", "value": "b"}]}}}, "/scheduling/placement/constraints(0)", "Value specified but not used"),
        ({**POD, "scheduling": {"placement": {"acceptedResourceRoles": ["x"]}}}, "/scheduling/placement/acceptedResourceRoles", "acceptedResourceRoles can only contain * and *, but contains: x"),
    ],
)  # fmt: skip
def test_a_broken_rule_is_named_with_its_path(document: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(InvalidObjectError) as caught:
        pod_form.new_pod(document, DEFAULTS)
    assert {"path": path, "errors": [message]} in caught.value.body["details"]


def test_wrong_types_are_named_with_their_paths() -> None:
    with pytest.raises(InvalidJsonError) as caught:
        pod_form.new_pod({"containers": [{"name": 1}], "scaling": {"kind": "elastic"}}, DEFAULTS)
    assert {item["path"]: item["errors"] for item in caught.value.body["details"]} == {
        "/id": ["error.path.missing"],
        "/containers(0)/name": ["error.expected.jsstring"],
        "/scaling/kind": ["error.unknown.enum.literal"],
    }
