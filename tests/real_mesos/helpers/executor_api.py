"""What the stand-ins for Mesos' executors share: the v1 executor API of their agent."""

import base64
import http.client
import json
import os
import sys
import threading
import time
import uuid

PROCESS, ADDRESS = os.environ["MESOS_SLAVE_PID"].split("@")
WHO = {
    "executor_id": {"value": os.environ["MESOS_EXECUTOR_ID"]},
    "framework_id": {"value": os.environ["MESOS_FRAMEWORK_ID"]},
}
DEFAULT_GRACE = 3.0
ACKNOWLEDGEMENT_WAIT = 10.0


def post(path, call):
    """To the agent, each call over a connection of its own."""
    connection = http.client.HTTPConnection(ADDRESS)
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    connection.request("POST", f"/{PROCESS}/api/v1{path}", json.dumps(call), headers)
    return connection.getresponse()


class Executor:
    """Subscribes and hears the agent. What comes of it is its heirs' affair: `launch`, `kill`, `shut_down`, `agent_lost`."""

    def __init__(self):
        self.subscribed = {}
        self.tells_killing = False
        self.unacknowledged = set()
        self.policies = {}  # task id -> its own kill policy

    def run(self):
        subscribe = {"unacknowledged_tasks": [], "unacknowledged_updates": []}
        response = post("/executor", WHO | {"type": "SUBSCRIBE", "subscribe": subscribe})
        if response.status != 200:
            sys.exit(f"SUBSCRIBE was answered {response.status}: {response.read()}")
        for event in events(response):
            self.handle(event)
        self.agent_lost()
        os._exit(1)  # the agent is gone, and nobody is left to report to

    def handle(self, event):
        kind = event["type"]
        if kind == "SUBSCRIBED":
            self.subscribed = event["subscribed"]
            capabilities = self.subscribed["framework_info"].get("capabilities", [])
            self.tells_killing = {"type": "TASK_KILLING_STATE"} in capabilities
        elif kind in ("LAUNCH", "LAUNCH_GROUP"):
            threading.Thread(target=self.launch, args=(event[kind.lower()],)).start()
        elif kind == "KILL":
            task_id = event["kill"]["task_id"]["value"]
            policy = event["kill"].get("kill_policy") or self.policies.get(task_id, {})
            self.kill(task_id, policy.get("grace_period", {}).get("nanoseconds", DEFAULT_GRACE * 1e9) / 1e9)
        elif kind == "ACKNOWLEDGED":
            self.unacknowledged.discard(event["acknowledged"]["uuid"])
        elif kind == "SHUTDOWN":
            self.shut_down()

    def update(self, task_id, state, **fields):
        status = {
            "task_id": {"value": task_id},
            "state": state,
            "source": "SOURCE_EXECUTOR",
            "executor_id": WHO["executor_id"],
            "timestamp": time.time(),
            "uuid": base64.b64encode(uuid.uuid4().bytes).decode(),
            **fields,
        }
        self.unacknowledged.add(status["uuid"])
        response = post("/executor", WHO | {"type": "UPDATE", "update": {"status": status}})
        if response.status != 202:
            sys.stderr.write(f"UPDATE was answered {response.status}: {response.read()}\n")

    def leave(self):
        """Ends the executor once the agent has taken all updates."""
        deadline = time.monotonic() + ACKNOWLEDGEMENT_WAIT
        while self.unacknowledged and time.monotonic() < deadline:
            time.sleep(0.05)
        os._exit(0)


def state_of(code, killed):
    """(the last state, its message) of a command that ended with `code`, negative for a signal."""
    message = f"Command exited with status {code}" if code >= 0 else f"Command terminated with signal {-code}"
    if killed:
        return "TASK_KILLED", message
    return ("TASK_FINISHED" if code == 0 else "TASK_FAILED"), message


def events(response):
    """RecordIO: the length in decimal, a newline, that many bytes."""
    while True:
        length = b""
        try:
            while not length.endswith(b"\n"):
                byte = response.read(1)
                if not byte:
                    return
                length += byte
            body = response.read(int(length))
        except (http.client.HTTPException, OSError):
            return  # the agent is gone
        yield json.loads(body)
