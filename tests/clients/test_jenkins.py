"""Requests as the Jenkins plugin for Marathon makes them, byte for byte where that matters."""

from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.support.framework import Framework
from tests.support.waiting import eventually

# What the plugin's typed model makes of a pipeline's marathon.json: defaults written out, null labels as "".
APP: dict[str, Any] = {
    "id": "/jenkins/web",
    "cmd": "sleep 1000",
    "cpus": 0.1,
    "mem": 32.0,
    "instances": 1,
    "labels": {"team": "", "lastChangedBy": "jenkins"},
    "env": {"BUILD_NUMBER": "17"},
    "uris": [],
    "constraints": [],
    "ports": [0],
    "requirePorts": False,
    "healthChecks": [],
    "dependencies": [],
}
DOCKER = {
    "id": "jenkins/docker",
    "instances": 0,
    "cpus": 0.1,
    "mem": 32.0,
    "container": {
        "type": "DOCKER",
        "docker": {
            "image": "nginx:1.27",
            "network": "BRIDGE",
            "privileged": False,
            "forcePullImage": False,
            "portMappings": [{"containerPort": 80, "hostPort": 0, "servicePort": 0, "protocol": "tcp"}],
            "parameters": [],
        },
        "volumes": [],
    },
    "labels": {"HAPROXY_GROUP": "external"},
    "upgradeStrategy": {"minimumHealthCapacity": 0.5, "maximumOverCapacity": 0.0},
}


def put(
    framework: Framework,
    app: dict[str, Any],
    *,
    force: bool = False,
    meanwhile: Callable[[], object] = lambda: None,
    **more: Any,
) -> Any:
    """`PUT {url}/v2/apps/{id}?force=…`, the id as it stands; 409 is tried again three times, all else is final. `meanwhile`: what
    happens in the pause before it is."""
    url = f"{framework.url}/v2/apps/{app['id']}?force={str(force).lower()}"
    for _ in range(4):
        answer = requests.put(url, json=app, headers={"Accept": "*/*", **more.get("headers", {})}, timeout=60)
        if answer.status_code != 409:
            break
        meanwhile()
    return answer


def test_a_pipeline_creates_updates_scales_and_mends_by_put_with_a_double_slash(framework: Framework) -> None:
    created = put(framework, APP)
    assert created.status_code == 201 and created.json()["deploymentId"]
    framework.settled()
    assert framework.app("/jenkins/web")["labels"]["team"] == ""
    updated = put(framework, {**APP, "env": {"BUILD_NUMBER": "18"}}, headers={"Authorization": "token=ignored"})
    assert updated.status_code == 200
    framework.settled()
    assert framework.app("/jenkins/web")["env"] == {"BUILD_NUMBER": "18"}
    assert len(framework.tasks("/jenkins/web")) == 1
    assert put(framework, {**APP, "env": {"BUILD_NUMBER": "18"}, "instances": 2}).status_code == 200
    framework.settled()
    assert len(framework.tasks("/jenkins/web")) == 2
    broken = {**APP, "cmd": "exit 3", "backoffSeconds": 60}
    assert put(framework, broken).status_code == 200
    eventually(lambda: framework.app("/jenkins/web").get("lastTaskFailure"), timeout=60)
    assert framework.app("/jenkins/web")["lastTaskFailure"]["state"] == "TASK_FAILED"
    assert put(framework, APP, force=True).status_code == 200
    framework.settled()
    assert len(framework.tasks("/jenkins/web")) == 1
    framework.change("DELETE", "/v2/apps//jenkins/web")
    framework.settled()


def test_a_docker_definition_of_old_is_answered_in_canonical_form(framework: Framework) -> None:
    assert put(framework, DOCKER).status_code == 201
    framework.settled()
    app = framework.app("/jenkins/docker")
    assert app["networks"] == [{"mode": "container/bridge"}]
    assert app["container"]["volumes"] == [] and "network" not in app["container"]["docker"]
    [mapping] = app["container"]["portMappings"]
    assert mapping["containerPort"] == 80 and mapping["hostPort"] == 0 and 10000 <= mapping["servicePort"] <= 20000
    again = put(framework, DOCKER)
    assert again.status_code == 200
    framework.settled()
    assert framework.app("/jenkins/docker")["container"]["portMappings"] == [mapping]
    framework.change("DELETE", "/v2/apps/jenkins/docker")
    framework.settled()


def test_a_locked_app_is_tried_again_until_it_is_free(framework: Framework) -> None:
    stuck = {**APP, "id": "jenkins/stuck", "constraints": [["hostname", "LIKE", "nowhere"]]}
    holding = put(framework, stuck).json()["deploymentId"]
    refused = put(framework, {**stuck, "cmd": "sleep 2000"})
    assert refused.status_code == 409 and refused.json()["deployments"] == [{"id": holding}]

    refusals = []

    def let_go() -> None:
        refusals.append(holding)
        if len(refusals) == 2:
            framework.change("DELETE", f"/v2/deployments/{holding}?force=true")

    assert put(framework, {**stuck, "constraints": []}, meanwhile=let_go).status_code == 200
    assert len(refusals) == 2
    framework.settled()
    forced = put(framework, {**stuck, "cmd": "sleep 3000", "constraints": []}, force=True)
    assert forced.status_code == 200
    framework.settled()
    framework.change("DELETE", "/v2/apps/jenkins/stuck")
    framework.settled()
    eventually(lambda: "/jenkins/stuck" not in [app["id"] for app in framework.get("/v2/apps")["apps"]])


def test_a_mistake_is_refused_at_once_with_what_is_wrong(framework: Framework) -> None:
    answer = put(
        framework, {**APP, "id": "/jenkins/bad", "cpus": -1}, meanwhile=lambda: pytest.fail("it was tried again")
    )
    assert answer.status_code == 422
    assert answer.json()["details"] == [{"path": "/cpus", "errors": ["got -1, expected 0 or more"]}]
