"""npm's `marathon-event-bus-client`, unmodified, against a running framework."""

import json
from pathlib import Path
from typing import Any

from tests.support.clients import node_modules_with_client
from tests.support.framework import Framework
from tests.support.processes import running
from tests.support.waiting import eventually

PROGRAM = Path(__file__).parent / "programs" / "event_bus.js"


APP: dict[str, Any] = {"id": "/heard", "cmd": "sleep 1000", "cpus": 0.1, "mem": 32}


def test_the_event_bus_client_hears_the_life_of_an_app_from_start_to_end(framework: Framework, tmp_path: Path) -> None:
    log = tmp_path / "events.log"
    host, port = framework.url.removeprefix("http://").split(":")
    environment = {"NODE_PATH": str(node_modules_with_client())}

    def heard() -> list[dict[str, Any]]:
        return [json.loads(line) for line in log.read_text().splitlines()]

    def done(method: str, app: str, body: Any = None) -> None:
        deployment = framework.change(method, f"/v2/apps/{app}", body)["deploymentId"]
        eventually(lambda: heard_of("deployment_success", id=deployment), timeout=60, what=f"{method} {app} {body}")

    def heard_of(name: str, **fields: Any) -> bool:
        return any(e["name"] == name and fields.items() <= e["data"].items() for e in heard())

    with running(["node", str(PROGRAM), host, port], log=log, env=environment) as process:
        eventually(lambda: any(event["name"] == "subscribed" for event in heard()), timeout=60)
        done("PUT", "heard", APP)
        done("PUT", "heard", {"instances": 2})
        done("PUT", "heard", {"env": {"A": "b"}})
        framework.change(
            "PUT", "/v2/apps/heard-failing", {**APP, "id": "/heard-failing", "cmd": "exit 3", "backoffSeconds": 60}
        )
        failed = {"appId": "/heard-failing", "taskStatus": "TASK_FAILED"}
        eventually(lambda: heard_of("status_update_event", **failed), timeout=60)
        framework.change("DELETE", "/v2/apps/heard-failing?force=true")
        done("DELETE", "heard")
        eventually(lambda: heard_of("app_terminated_event", appId="/heard"), timeout=60)
        assert process.poll() is None
    events = heard()
    info = next(event["data"] for event in events if event["name"] == "deployment_info")
    assert info["eventType"] == "deployment_info" and info["currentStep"]["actions"][0]["app"] == "/heard"
    status = [event["data"] for event in events if event["name"] == "status_update_event"]
    states = [told["taskStatus"] for told in status if told["appId"] == "/heard"]
    assert states.count("TASK_RUNNING") == 4 and states.count("TASK_KILLED") == 4 and states[-1] == "TASK_KILLED"
    assert not any(event["name"] == "error" for event in events)
