"""Tasks as the framework launches them, for tests that drive a master by hand."""

import uuid
from typing import Any

from tests.support.scheduler import Scheduler, ranges

Json = dict[str, Any]
HTTP = {"name": "http", "protocol": "tcp"}


async def launch_app(
    scheduler: Scheduler, app: str, *ports: Json, command: str = "sleep 3600", labels: dict[str, str] | None = None
) -> str:
    """Launches a task as the framework does, and waits until it runs; its id."""
    offer = await scheduler.offer()
    first = next(r for r in offer["resources"] if r["name"] == "ports")["ranges"]["range"][0]["begin"]
    numbers = [first + index for index in range(len(ports))]
    role = offer["allocation_info"]["role"]
    task_id = f"{app.strip('/').replace('/', '_')}.instance-{uuid.uuid1()}._app.1"
    info = {
        "name": app.strip("/"),
        "task_id": {"value": task_id},
        "agent_id": offer["agent_id"],
        "resources": [
            *(
                {"name": name, "type": "SCALAR", "scalar": {"value": value}, "allocation_info": {"role": role}}
                for name, value in (("cpus", 0.1), ("mem", 32))
            ),
            ranges("ports", (numbers[0], numbers[-1]), allocation_info={"role": role}),
        ],
        "command": {"shell": True, "value": command.replace("$PORT", str(first))},
        "labels": {"labels": [{"key": key, "value": value} for key, value in (labels or {}).items()]},
        "discovery": {
            "visibility": "FRAMEWORK",
            "name": app,
            "ports": {"ports": [{"number": number, **port} for number, port in zip(numbers, ports, strict=True)]},
        },
    }
    await scheduler.launch(offer, info, refuse_seconds=0)  # the next app wants what is left
    await scheduler.update(task_id, "TASK_RUNNING")
    return task_id
