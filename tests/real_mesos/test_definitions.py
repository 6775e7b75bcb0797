"""Whatever an app or a pod may ask for, the TaskInfo that is made of it is one that Mesos takes: no call is refused, no task is an error.

What becomes of the task then is the agent's affair: the tests' real one has neither images nor a fetcher, nor networks of its own. Without
the cgroups isolators it takes no task with limits.
"""

from typing import Any

import pytest

from tests.real_mesos.conftest import PATIENCE, Cluster
from tests.support.framework import Framework
from tests.support.waiting import eventually

Json = dict[str, Any]
RUN: Json = {"cmd": "sleep 1000", "cpus": 0.01, "mem": 32, "backoffSeconds": 60}
DOCKER: Json = {"type": "DOCKER", "docker": {"image": "no.example/image:1", "forcePullImage": True}}
TIMES: Json = {"gracePeriodSeconds": 5, "intervalSeconds": 7, "timeoutSeconds": 3, "maxConsecutiveFailures": 2}

APPS: dict[str, Json] = {
    "ports": {
        "portDefinitions": [
            {"port": 0, "name": "web", "protocol": "tcp", "labels": {"VIP_0": "/web:80", "empty": ""}},
            {"port": 0, "name": "both", "protocol": "udp,tcp"},
        ],
        "requirePorts": False,
    },
    "labels-and-variables": {
        "labels": {"empty": "", "long": "x" * 5000, "ünïcode ☃": "ja\nnein", "DROMOS_DRAIN_SECONDS": "0"},
        "env": {"EMPTY": "", "LONG": "y" * 5000, "ü": "☃"},
        "user": "root",
        "taskKillGracePeriodSeconds": 0,
    },
    "mesos-health": {
        "portDefinitions": [{"port": 0}],
        "healthChecks": [
            {
                "protocol": "MESOS_HTTP",
                "path": "/health",
                "portIndex": 0,
                "ipProtocol": "IPv4",
                "delaySeconds": 2,
                **TIMES,
            }
        ],
    },
    "mesos-https-health": {
        "portDefinitions": [{"port": 0}],
        "healthChecks": [{"protocol": "MESOS_HTTPS", "portIndex": 0, **TIMES}],
    },
    "mesos-tcp-health": {
        "portDefinitions": [{"port": 0}],
        "healthChecks": [{"protocol": "MESOS_TCP", "portIndex": 0, **TIMES}],
    },
    "command-health": {"healthChecks": [{"protocol": "COMMAND", "command": {"value": "true"}, **TIMES}]},
    "check": {
        "portDefinitions": [{"port": 0}],
        "check": {"http": {"portIndex": 0, "path": "/"}, "intervalSeconds": 5, "timeoutSeconds": 2, "delaySeconds": 1},
    },
    "arguments": {"cmd": None, "args": ["sleep", "1000"]},
    "docker-bridge": {
        "networks": [{"mode": "container/bridge"}],
        "container": {
            **DOCKER,
            "docker": {
                **DOCKER["docker"],
                "privileged": True,
                "parameters": [{"key": "hostname", "value": "a.corp.org"}, {"key": "env", "value": "A=B"}],
            },
            "portMappings": [
                {"containerPort": 80, "hostPort": 0, "protocol": "tcp", "name": "http", "labels": {"a": "b"}},
                {"containerPort": 53, "hostPort": 0, "protocol": "udp,tcp"},
            ],
            "volumes": [{"containerPath": "/etc/a", "hostPath": "/var/data/a", "mode": "RO"}],
        },
        "args": ["a", "b"],
        "cmd": None,
    },
    "docker-user-network": {
        "networks": [{"mode": "container", "name": "overlay", "labels": {"a": "b"}}],
        "container": {**DOCKER, "portMappings": [{"containerPort": 80, "servicePort": 0}]},
    },
    "mesos-image": {
        "container": {
            "type": "MESOS",
            "docker": {"image": "no.example/image:1"},
            "linuxInfo": {"ipcInfo": {"mode": "PRIVATE", "shmSize": 16}},
        },
        "tty": True,
    },
    "mesos-network": {
        "networks": [{"mode": "container", "name": "overlay"}],
        "container": {"type": "MESOS", "portMappings": [{"containerPort": 80, "hostPort": 0, "name": "http"}]},
    },
    "host-volumes": {
        "container": {"type": "MESOS", "volumes": [{"containerPath": "data", "hostPath": "/tmp", "mode": "RW"}]},
    },
    "external-volume": {
        "container": {
            "type": "MESOS",
            "volumes": [
                {
                    "containerPath": "data",
                    "mode": "RW",
                    "external": {"name": "v", "provider": "dvdi", "size": 1, "options": {"dvdi/driver": "rexray"}},
                }
            ],
        },
        "upgradeStrategy": {"minimumHealthCapacity": 0, "maximumOverCapacity": 0},
    },
    "fetch": {
        "fetch": [
            {"uri": "file:///etc/hostname", "extract": False, "executable": True, "cache": True, "destPath": "a/b"}
        ]
    },
    "executor": {"executor": "/bin/true", "executorResources": {"cpus": 0.01, "mem": 32, "disk": 0}},
}

POD_RUN: Json = {"command": {"shell": "sleep 1000"}}
SMALL: Json = {"cpus": 0.01, "mem": 32}
PODS: dict[str, Json] = {
    "full": {
        "labels": {"a": "", "b": "c"},
        "user": "root",
        "environment": {"A": "1", "EMPTY": ""},
        "networks": [{"mode": "host"}],
        "volumes": [{"name": "shared"}, {"name": "host", "host": "/tmp"}],
        "executorResources": {"cpus": 0.02, "mem": 48, "disk": 10},
        "containers": [
            {
                "name": "web",
                "exec": POD_RUN,
                "resources": {**SMALL, "disk": 1},
                "endpoints": [{"name": "http", "hostPort": 0, "protocol": ["tcp", "udp"], "labels": {"VIP_0": "/a:1"}}],
                "healthCheck": {"http": {"endpoint": "http", "path": "/", "scheme": "HTTP"}, "gracePeriodSeconds": 5},
                "volumeMounts": [{"name": "shared", "mountPath": "data"}],
                "lifecycle": {"killGracePeriodSeconds": 0.5},
                "labels": {"c": "d"},
                "environment": {"B": "2"},
            },
            {
                "name": "argv",
                "exec": {"command": {"argv": ["sleep", "1000"]}},
                "resources": SMALL,
                "healthCheck": {"exec": {"command": {"shell": "true"}}},
                "volumeMounts": [{"name": "host", "mountPath": "from-host", "readOnly": True}],
                "tty": True,
            },
        ],
    },
    "image-and-network": {
        "networks": [{"mode": "container", "name": "overlay"}],
        "containers": [
            {
                "name": "web",
                "image": {"kind": "DOCKER", "id": "no.example/image:1", "forcePull": True},
                "resources": SMALL,
                "endpoints": [{"name": "http", "containerPort": 80, "hostPort": 0, "protocol": ["tcp"]}],
                "healthCheck": {"tcp": {"endpoint": "http"}},
            }
        ],
    },
}


def launched(cluster: Cluster, prefix: str) -> dict[str, str]:
    """The tasks that Mesos has taken, ended ones too: id -> state. One that is an error is not among them."""
    frameworks = cluster.mesos.get("/state")["frameworks"]
    tasks = [task for one in frameworks for kind in ("tasks", "completed_tasks") for task in one[kind]]
    return {task["id"]: task["state"] for task in tasks if task["id"].startswith(prefix)}


@pytest.mark.parametrize("name", APPS)
def test_mesos_takes_what_an_app_asks_for(framework: Framework, cluster: Cluster, name: str):
    app = {name: value for name, value in {**RUN, **APPS[name]}.items() if value is not None}
    framework.change("POST", "/v2/apps", {"id": f"/taken/{name}", **app})
    found = eventually(
        lambda: launched(cluster, f"taken_{name}."), timeout=PATIENCE, what=last_failure(framework, name)
    )
    assert set(found.values()).isdisjoint({"TASK_ERROR", "TASK_LOST", "TASK_DROPPED"}), last_failure(framework, name)


def last_failure(framework: Framework, name: str) -> str:
    return str(framework.app(f"/taken/{name}").get("lastTaskFailure"))


@pytest.mark.parametrize("name", PODS)
def test_mesos_takes_what_a_pod_asks_for(framework: Framework, cluster: Cluster, name: str):
    framework.change("POST", "/v2/pods", {"id": f"/taken/{name}", **PODS[name]})
    count = len(PODS[name]["containers"])
    eventually(lambda: len(launched(cluster, f"taken_{name}.")) >= count, timeout=PATIENCE)
