"""What an app or a pod declares, as Mesos is told: no field is accepted and then forgotten."""

import base64
from dataclasses import replace
from typing import Any

import pytest

from framework.engine.actions import Launch
from framework.mesos.task_group import launch_group
from framework.mesos.task_info import task_info
from framework.model.app import App
from framework.model.codec import from_json
from framework.model.instance import Agent, Instance, Task
from framework.model.offer import Pool, Take
from framework.model.pod import Pod

POOL = Pool(cpus=4000, mem=512_000, disk=512_000)
TAKES = (Take(POOL, cpus=1100, mem=160_000, disk=10_000, ports=(31005,)),)


def launch(spec: Any, *containers: str | None) -> Launch:
    tasks = tuple(Task(f"x.instance-1.{name or '_app'}.1", name, host_ports=(31005,)) for name in containers or (None,))
    return Launch(Instance("x.instance-1", spec.id, "v", "v", "*", Agent("agent-1", "host-1"), tasks), spec, TAKES)


def of_app(**document: Any) -> Any:
    whole = {"id": "/x", "cmd": "run me", "portDefinitions": [{"port": 0, "protocol": "tcp"}], **document}
    if "container" in whole:
        whole["container"] = {"type": "MESOS", "volumes": [], **whole["container"]}
    return task_info(launch(from_json(App, whole)))


def of_pod(container: dict[str, Any], **document: Any) -> Any:
    whole = {"name": "c", "resources": {"cpus": 0.5, "mem": 32}, "exec": {"command": {"shell": "run"}}, **container}
    pod = from_json(
        Pod, {"id": "/x", "networks": [{"mode": "host"}], "containers": [whole], "scheduling": {}, **document}
    )
    return launch_group(launch(pod, "c"), "f-1")["launch_group"]["task_group"]["tasks"][0]


def environment(task: Any) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in task["command"]["environment"]["variables"]}


APPS_OWN = {
    "MESOS_TASK_ID": "x.instance-1._app.1",
    "MARATHON_APP_ID": "/x",
    "MARATHON_APP_VERSION": "2020-01-01T00:00:00.000Z",
    "MARATHON_APP_RESOURCE_CPUS": "1.5",
    "MARATHON_APP_RESOURCE_MEM": "128.0",
    "MARATHON_APP_RESOURCE_DISK": "0.0",
    "MARATHON_APP_RESOURCE_GPUS": "0",
    "MARATHON_APP_LABELS": "",
    "HOST": "host-1",
}
BRIDGED = {"networks": [{"mode": "container/bridge"}], "portDefinitions": []}


@pytest.mark.parametrize(
    ("document", "variables"),
    [
        ({"portDefinitions": []}, {}),
        ({}, {"PORT": "31005", "PORTS": "31005", "PORT0": "31005", "PORT_31005": "31005"}),
        (
            {"portDefinitions": [{"port": 8080, "protocol": "tcp", "name": "http-api"}]},
            {"PORT": "31005", "PORTS": "31005", "PORT0": "31005", "PORT_8080": "31005", "PORT_HTTP_API": "31005"},
        ),
        (
            {**BRIDGED, "container": {"portMappings": [{"containerPort": 80, "hostPort": 0, "name": "web"}]}},
            {"PORT": "31005", "PORTS": "31005", "PORT0": "31005", "PORT_80": "31005", "PORT_WEB": "31005"},
        ),
        (
            {**BRIDGED, "container": {"portMappings": [{"containerPort": 0, "hostPort": 0}]}},
            {"PORT": "31005", "PORTS": "31005", "PORT0": "31005", "PORT_31005": "31005"},
        ),
        (  # without a host port a container port 0 is a free one of its own
            {
                "networks": [{"mode": "container", "name": "n"}],
                "portDefinitions": [],
                "container": {"portMappings": [{"containerPort": 31000}, {"containerPort": 0}]},
            },
            {
                "PORT": "31000",
                "PORTS": "31000,31001",
                "PORT0": "31000",
                "PORT1": "31001",
                "PORT_31000": "31000",
                "PORT_31001": "31001",
            },
        ),
        (
            {
                "portDefinitions": [],
                "container": {"docker": {"image": "nginx:1"}},
                "labels": {"a.-b": "1", "C": "two words", "long": "x" * 512, "k" * 500: "y"},
            },
            {
                "MARATHON_APP_DOCKER_IMAGE": "nginx:1",
                "MARATHON_APP_LABELS": "A_B C",
                "MARATHON_APP_LABEL_A_B": "1",
                "MARATHON_APP_LABEL_C": "two words",
            },
        ),
        ({"portDefinitions": [], "env": {"HOST": "mine", "A": "b"}}, {"HOST": "mine", "A": "b"}),
    ],
)
def test_the_environment_of_an_app(document: dict[str, Any], variables: dict[str, str]) -> None:
    found = environment(of_app(cpus=1.5, version=APPS_OWN["MARATHON_APP_VERSION"], **document))
    assert found == {**APPS_OWN, **variables}


@pytest.mark.parametrize(
    ("networks", "endpoint", "variables"),
    [
        ([{"mode": "host"}], {"hostPort": 0}, {"ENDPOINT_WEB_1": "31005", "EP_HOST_WEB_1": "31005"}),
        (
            [{"mode": "container", "name": "n"}],
            {"hostPort": 0, "containerPort": 8080},
            {"ENDPOINT_WEB_1": "8080", "EP_HOST_WEB_1": "31005", "EP_CONTAINER_WEB_1": "8080"},
        ),
        (
            [{"mode": "container", "name": "n"}],
            {"containerPort": 8080},
            {"ENDPOINT_WEB_1": "8080", "EP_CONTAINER_WEB_1": "8080"},
        ),
        (
            [{"mode": "container", "name": "n"}],
            {"hostPort": 0, "containerPort": 0},
            {"ENDPOINT_WEB_1": "31005", "EP_HOST_WEB_1": "31005", "EP_CONTAINER_WEB_1": "31005"},
        ),
    ],
)
def test_the_environment_of_a_pods_container(
    networks: list[Any], endpoint: dict[str, Any], variables: dict[str, str]
) -> None:
    given = {"endpoints": [{"name": "web-1", **endpoint}], "environment": {"A": "c"}, "labels": {"tier": "front"}}
    pod = {"networks": networks, "environment": {"A": "b", "B": "b"}, "labels": {"team": "blue"}}
    amounts = {"CPUS": "0.5", "MEM": "32.0", "DISK": "0.0", "GPUS": "0"}
    assert environment(of_pod(given, version="v", **pod)) == {
        "MESOS_TASK_ID": "x.instance-1.c.1",
        "MESOS_EXECUTOR_ID": "instance-x.instance-1",
        "MARATHON_APP_ID": "/x",
        "MARATHON_APP_VERSION": "v",
        "MARATHON_CONTAINER_ID": "c",
        **{
            f"MARATHON_{whose}_RESOURCE_{name}": text
            for whose in ("APP", "CONTAINER")
            for name, text in amounts.items()
        },
        "MARATHON_APP_LABELS": "TEAM TIER",
        "MARATHON_APP_LABEL_TEAM": "blue",
        "MARATHON_APP_LABEL_TIER": "front",
        "HOST": "host-1",
        "A": "c",
        "B": "b",
        **variables,
    }


def test_who_looks_for_a_container_port_that_was_chosen_finds_the_one_that_the_task_was_told_of() -> None:
    told = of_app(
        networks=[{"mode": "container", "name": "n"}],
        portDefinitions=[],
        container={"portMappings": [{"containerPort": 0, "name": "web"}]},
        check={"tcp": {"portIndex": 0}},
    )
    assert environment(told)["PORT_WEB"] == "31000"
    [port] = told["discovery"]["ports"]["ports"]
    assert (port["number"], told["check"]["tcp"]["port"]) == (31000, 31000)
    assert port["labels"] == {"labels": [{"key": "network-scope", "value": "container"}]}


def test_containers_of_a_pod_get_different_ports_where_they_name_none() -> None:
    endpoint = {"endpoints": [{"name": "web", "containerPort": 0}]}
    whole = {"exec": {"command": {"shell": "run"}}, "resources": {"cpus": 0.5, "mem": 32}, **endpoint}
    networks = [{"mode": "container", "name": "n"}]
    containers = [{"name": "a", **whole}, {"name": "b", **whole}]
    pod = from_json(Pod, {"id": "/x", "networks": networks, "containers": containers, "scheduling": {}})
    group = launch_group(launch(pod, "a", "b"), "f-1")["launch_group"]
    told = [task["discovery"]["ports"]["ports"][0]["number"] for task in group["task_group"]["tasks"]]
    assert told == [31000, 31001]


def test_a_check_of_each_kind() -> None:
    times = {"delay_seconds": 15.0, "interval_seconds": 60.0, "timeout_seconds": 20.0}
    assert of_app(check={"http": {"portIndex": 0, "path": "/up"}})["check"] == {
        **times, "type": "HTTP", "http": {"port": 31005, "path": "/up"},
    }  # fmt: skip
    assert of_app(check={"tcp": {"portIndex": 0}, "delaySeconds": 1})["check"] == {
        **times, "type": "TCP", "tcp": {"port": 31005}, "delay_seconds": 1.0,
    }  # fmt: skip
    command = {"command": {"shell": True, "value": "true"}}
    assert of_app(check={"exec": {"command": {"shell": "true"}}})["check"] == {
        **times, "type": "COMMAND", "command": command,
    }  # fmt: skip
    endpoint = {"endpoints": [{"name": "web", "hostPort": 0}], "check": {"tcp": {"endpoint": "web"}}}
    assert of_pod(endpoint)["check"] == {**times, "type": "TCP", "tcp": {"port": 31005}}


def test_what_a_container_asks_of_linux() -> None:
    asked = {"seccomp": {"profileName": "p.json", "unconfined": False}, "ipcInfo": {"mode": "PRIVATE", "shmSize": 64}}
    told = {"seccomp": {"profile_name": "p.json", "unconfined": False}, "ipc_mode": "PRIVATE", "shm_size": 64}
    assert of_app(container={"type": "MESOS", "volumes": [], "linuxInfo": asked})["container"]["linux_info"] == told
    assert of_pod({"linuxInfo": asked})["container"]["linux_info"] == told


def test_limits_beyond_what_is_requested() -> None:
    limits = {"cpus": "unlimited", "mem": 256}
    told = {"cpus": {"value": "Infinity"}, "mem": {"value": 256}}
    assert of_app(resourceLimits=limits)["limits"] == told
    task = of_pod({"resourceLimits": limits})
    assert task["limits"] == told
    assert task["container"]["linux_info"] == {"share_cgroups": False}, "limits of its own need cgroups of its own"
    shared = of_pod({}, legacySharedCgroups=True)
    assert shared["container"]["linux_info"] == {"share_cgroups": True}
    assert "container" not in of_pod({})


def test_a_custom_executor_runs_the_task_with_resources_of_its_own() -> None:
    info = of_app(executor="/opt/my executor", executorResources={"cpus": 0.1, "mem": 32, "disk": 10})
    assert "command" not in info
    assert base64.b64decode(info["data"]) == b"run me"
    executor = info["executor"]
    assert executor["command"]["value"] == "chmod ug+rx '/opt/my executor' && exec '/opt/my executor' run me"
    assert {v["name"] for v in executor["command"]["environment"]["variables"]} >= {"MESOS_TASK_ID", "PORT0"}

    def scalars(resources: Any) -> dict[str, float]:
        return {r["name"]: r["scalar"]["value"] for r in resources if r["type"] == "SCALAR"}

    assert scalars(executor["resources"]) == {"cpus": 0.1, "mem": 32.0, "disk": 10.0}
    assert scalars(info["resources"]) == {"cpus": 1.0, "mem": 128.0}
    assert [r["name"] for r in info["resources"] if r["type"] == "RANGES"] == ["ports"]


def test_mesos_own_executor_by_its_name_is_none_of_ours() -> None:
    assert "executor" not in of_app(executor="//cmd")


def test_a_task_of_a_version_that_waits_for_its_go_says_so() -> None:
    given = launch(from_json(App, {"id": "/x", "cmd": "run", "labels": {"a": "b"}}))
    held = replace(given, instance=replace(given.instance, held=True))
    assert {"key": "DROMOS_HELD", "value": "true"} in task_info(held)["labels"]["labels"]
    assert task_info(given)["labels"]["labels"] == [{"key": "a", "value": "b"}]
