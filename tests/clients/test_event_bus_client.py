"""npm's `marathon-event-bus-client`, unmodified, against a running framework."""

import json
from pathlib import Path
from typing import Any

from tests.support.clients import node_modules_with_client
from tests.support.framework import Framework
from tests.support.processes import running
from tests.support.waiting import eventually

PROGRAM = Path(__file__).parent / "programs" / "event_bus.js"


def test_the_event_bus_client_hears_a_deployment_from_start_to_end(framework: Framework, tmp_path: Path) -> None:
    log = tmp_path / "events.log"
    host, port = framework.url.removeprefix("http://").split(":")
    environment = {"NODE_PATH": str(node_modules_with_client())}

    def heard() -> list[dict[str, Any]]:
        return [json.loads(line) for line in log.read_text().splitlines()]

    with running(["node", str(PROGRAM), host, port], log=log, env=environment) as process:
        eventually(lambda: any(event["name"] == "subscribed" for event in heard()), timeout=20)
        framework.deploy({"id": "/heard", "cmd": "sleep 1000", "cpus": 0.1, "mem": 32})
        framework.change("DELETE", "/v2/apps/heard")
        framework.settled()
        eventually(lambda: any(event["name"] == "app_terminated_event" for event in heard()), timeout=10)
        eventually(lambda: sum(event["name"] == "deployment_success" for event in heard()) == 2, timeout=10)
        assert process.poll() is None
    events = heard()
    info = next(event["data"] for event in events if event["name"] == "deployment_info")
    assert info["eventType"] == "deployment_info" and info["currentStep"]["actions"][0]["app"] == "/heard"
    states = [event["data"]["taskStatus"] for event in events if event["name"] == "status_update_event"]
    assert "TASK_RUNNING" in states and states[-1] == "TASK_KILLED"
    assert not any(event["name"] == "error" for event in events)
