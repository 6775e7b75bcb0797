"""Simulated agents: their tasks are entries with timers, not processes. For benchmarks and tests, up to thousands of agents.

What a task does is read off its command, so that the same definitions run on simulated and on real agents: `exit 3` ends at
once, `sleep 2` after two seconds, `sleep 2; exit 3` after two seconds with status 3, `kill -9 $$` by a signal; one that begins
with `trap ''` does not heed SIGTERM. Anything else runs until it is killed.

Agents can be partitioned and brought back, and tasks ended, over HTTP: `POST /slave(1)/simulate/partition` and its like.
"""

import asyncio
import base64
import re
import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from daemonkit.http import Json as JsonResponse
from embedded.mesos.membership import Membership
from embedded.mesos.records import TERMINAL
from embedded.mesos.seam import Master
from embedded.mesos.settings import MesosSettings

Json = dict[str, Any]
Key = tuple[str, str]

DEFAULT_GRACE = 3.0
SWEEP = 1.0  # how often unacknowledged updates are looked at

_COMMAND = re.compile(r"^(?P<trap>trap\b[^;]*;\s*)?(?:sleep\s+(?P<sleep>[\d.]+)\s*)?;?\s*(?:exit\s+(?P<exit>\d+))?\s*$")
_SIGNAL = re.compile(r"^kill -(\d+) \$\$$")


@dataclass
class Plan:
    """What a simulated command will do by itself: end after so many seconds (None: never) in a state, with a message."""

    ends_after: float | None = None
    state: str = "TASK_FINISHED"
    message: str = ""
    heeds_term: bool = True


def plan_of(command: str) -> Plan:
    signal = _SIGNAL.match(command.strip())
    if signal:
        return Plan(0.0, "TASK_FAILED", f"Command terminated with signal {signal[1]}")
    match = _COMMAND.match(command.strip())
    if not match or not command.strip():
        return Plan(heeds_term=not command.lstrip().startswith("trap"))
    code = int(match["exit"] or 0)
    return Plan(
        float(match["sleep"] or 0),
        "TASK_FINISHED" if code == 0 else "TASK_FAILED",
        f"Command exited with status {code}",
        heeds_term=match["trap"] is None,
    )


@dataclass(eq=False, slots=True)
class _Task:
    info: Json
    framework_id: str
    killing_state: bool  # the framework wants TASK_KILLING
    container: Json
    executor_id: str
    group_executor: str | None = None
    plan: Plan = field(default_factory=Plan)
    state: str = "TASK_STAGING"
    killed: bool = False
    latest: Json = field(default_factory=dict)
    unsent: deque[Json] = field(default_factory=deque)  # the first is sent, and not yet acknowledged
    timer: asyncio.TimerHandle | None = None

    @property
    def key(self) -> Key:
        return self.framework_id, self.info["task_id"]["value"]


class SimulatedAgent:
    """One agent (embedded.mesos.seam.Agent)."""

    def __init__(self, number: int, settings: MesosSettings, master: Master, info: Json) -> None:
        self.name = f"slave({number})"
        self._info = info
        self._settings = settings
        self._master = master
        self._tasks: dict[Key, _Task] = {}
        self._sent: deque[tuple[float, _Task, str]] = deque()
        self.partitioned = False

    @property
    def info(self) -> Json:
        return self._info

    @property
    def agent_id(self) -> str:
        agent_id: str = self._info["id"]["value"]
        return agent_id

    def register(self) -> str:
        """Tells the master of itself and its tasks; keeps the id that it answers."""
        agent_id = self._master.register(self, [self._task_json(task) for task in self._tasks.values()])
        self._info = {**self._info, "id": {"value": agent_id}}
        return agent_id

    # What the master asks

    def launch(self, framework_info: Json, tasks: list[Json], group: bool, executor: Json | None) -> None:
        if self.partitioned:
            return
        killing_state = {"type": "TASK_KILLING_STATE"} in framework_info.get("capabilities", [])
        group_executor = executor["executor_id"]["value"] if group and executor else None
        for info in tasks:
            task = _Task(
                info,
                framework_info["id"]["value"],
                killing_state,
                {
                    "container_id": {"value": str(uuid.uuid4())},
                    "network_infos": [{"ip_addresses": [{"protocol": "IPv4", "ip_address": self._settings.host}]}],
                },
                group_executor or info.get("executor", {}).get("executor_id", info["task_id"])["value"],
                group_executor,
                plan_of(info.get("command", {}).get("value", "")),
            )
            self._tasks[task.key] = task
            asyncio.get_running_loop().call_soon(self._start, task)

    def kill(self, framework_id: str, task_id: str, kill_policy: Json | None) -> None:
        task = self._tasks.get((framework_id, task_id))
        if task is None or self.partitioned or task.state in TERMINAL or task.killed:
            return
        task.killed = True
        self._cancel_timer(task)
        if task.killing_state:
            self._update(task, "TASK_KILLING")
        policy = kill_policy or task.info.get("kill_policy", {})
        grace = policy.get("grace_period", {}).get("nanoseconds", DEFAULT_GRACE * 1e9) / 1e9
        delay, signal = (self._settings.kill_lag, 15) if task.plan.heeds_term else (grace, 9)
        self._later(task, delay, "TASK_KILLED", f"Command terminated with signal {signal}")

    def acknowledge(self, framework_id: str, task_id: str, uuid: str) -> None:
        task = self._tasks.get((framework_id, task_id))
        if task is None or self.partitioned or not task.unsent or task.unsent[0]["uuid"] != uuid:
            return
        acknowledged = task.unsent.popleft()
        if task.unsent:
            self._send(task)
        elif acknowledged["state"] in TERMINAL:
            self._forget(task)

    def resume(self, framework_id: str) -> None:
        for task in list(self._tasks.values()):
            if task.framework_id == framework_id and task.unsent:
                self._send(task)

    def message(self, framework_id: str, executor_id: str, data: str) -> None:
        """Executors that are not there answer by echo, so that there is something to see."""
        if not self.partitioned:
            asyncio.get_running_loop().call_soon(
                self._master.executor_message, self.agent_id, framework_id, executor_id, data
            )

    def destroy_volume(self, persistence_id: str) -> None:
        """Simulated tasks write nothing."""

    def shut_down_framework(self, framework_id: str) -> None:
        for key in [key for key in self._tasks if key[0] == framework_id]:
            task = self._tasks.pop(key)
            task.unsent.clear()
            self._cancel_timer(task)

    def usage(self) -> list[Json]:
        now = time.time()
        return [
            {
                "executor_id": task.executor_id,
                "executor_name": f"Command Executor (Task: {task.key[1]})",
                "framework_id": task.framework_id,
                "source": task.executor_id,
                "statistics": {
                    "cpus_limit": _scalar(task.info, "cpus"),
                    "cpus_soft_limit": _scalar(task.info, "cpus"),
                    "cpus_system_time_secs": 0.0,
                    "cpus_user_time_secs": 0.0,
                    "mem_limit_bytes": int(_scalar(task.info, "mem") * 1024 * 1024),
                    "mem_soft_limit_bytes": int(_scalar(task.info, "mem") * 1024 * 1024),
                    "mem_rss_bytes": 0,
                    "timestamp": now,
                },
            }
            for task in self._tasks.values()
            if task.state not in TERMINAL
        ]

    # Faults

    def partition(self) -> None:
        """Nothing passes between it and the master any more; its tasks run on."""
        self.partitioned = True

    def come_back(self) -> None:
        if self.partitioned:
            self.partitioned = False
            self.register()
            for task in list(self._tasks.values()):
                if task.unsent:
                    self._send(task)

    def end_task(self, task_id: str, state: str, message: str) -> bool:
        """The task ends by itself; False if there is none of this id."""
        found = next((task for key, task in self._tasks.items() if key[1] == task_id), None)
        if found is None:
            return False
        self._cancel_timer(found)
        self._update(found, state, message=message)
        self._end_group_of(found)
        return True

    def resend_overdue(self, now: float) -> None:
        """Sends updates again that were not acknowledged in time."""
        while self._sent and self._sent[0][0] <= now:
            _, task, id = self._sent.popleft()
            if task.unsent and task.unsent[0]["uuid"] == id and task.key in self._tasks:
                self._send(task)

    def stop(self) -> None:
        for task in self._tasks.values():
            self._cancel_timer(task)

    # The life of a task

    def _start(self, task: _Task) -> None:
        if task.key not in self._tasks or task.killed:
            return
        self._update(task, "TASK_STARTING")
        if self._settings.start_lag:
            task.timer = asyncio.get_running_loop().call_later(self._settings.start_lag, self._run, task)
        else:
            self._run(task)

    def _run(self, task: _Task) -> None:
        task.timer = None
        self._update(task, "TASK_RUNNING")
        if "health_check" in task.info:
            self._update(task, "TASK_RUNNING", reason="REASON_TASK_HEALTH_CHECK_STATUS_UPDATED", healthy=True)
        if task.plan.ends_after is not None:
            self._later(task, task.plan.ends_after, task.plan.state, task.plan.message)

    def _later(self, task: _Task, delay: float, state: str, message: str) -> None:
        def end() -> None:
            task.timer = None
            self._update(task, state, message=message)
            self._end_group_of(task)

        task.timer = asyncio.get_running_loop().call_later(delay, end)

    def _end_group_of(self, ended: _Task) -> None:
        """As Mesos' default executor: when one task of a group ends badly, the others end with it."""
        if ended.group_executor and ended.state != "TASK_FINISHED":
            for task in list(self._tasks.values()):
                if (task.group_executor, task.framework_id) == (ended.group_executor, ended.framework_id):
                    self.kill(*task.key, None)

    @staticmethod
    def _cancel_timer(task: _Task) -> None:
        if task.timer:
            task.timer.cancel()
            task.timer = None

    def _update(self, task: _Task, state: str, **fields: object) -> None:
        if task.state in TERMINAL:
            return
        task.state = state
        status: Json = {
            "task_id": task.info["task_id"],
            "state": state,
            "source": "SOURCE_EXECUTOR",
            "agent_id": self._info["id"],
            "executor_id": {"value": task.executor_id},
            "timestamp": time.time(),
            "uuid": base64.b64encode(uuid.uuid4().bytes).decode(),
            "container_status": task.container,
            **{name: value for name, value in fields.items() if value},
        }
        if "healthy" in task.latest:
            status.setdefault("healthy", task.latest["healthy"])
        task.latest = status
        task.unsent.append(status)
        if len(task.unsent) == 1:
            self._send(task)

    def _send(self, task: _Task) -> None:
        if self.partitioned:
            return
        status = task.unsent[0]
        due = asyncio.get_running_loop().time() + self._settings.update_retry
        self._sent.append((due, task, status["uuid"]))
        self._master.status_update(self.agent_id, task.framework_id, status)

    def _forget(self, task: _Task) -> None:
        self._tasks.pop(task.key, None)
        executor_id = task.group_executor
        if executor_id and not any(
            other.group_executor == executor_id and other.framework_id == task.framework_id
            for other in self._tasks.values()
        ):
            self._master.executor_exited(self.agent_id, task.framework_id, executor_id, 0)

    def _task_json(self, task: _Task) -> Json:
        names = ("name", "task_id", "resources", "labels", "discovery", "container", "health_check", "kill_policy")
        return {
            **{name: task.info[name] for name in names if name in task.info},
            "framework_id": {"value": task.framework_id},
            "agent_id": self._info["id"],
            "state": task.state,
            "statuses": [task.latest] if task.latest else [],
        }


class SimulatedCluster:
    """All simulated agents of one master, with what they share: the retries, and their HTTP routes."""

    def __init__(self, agents: list[SimulatedAgent], master: Membership, settings: MesosSettings) -> None:
        self.agents = {agent.name: agent for agent in agents}
        self._master = master
        self._settings = settings
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def start(self) -> None:
        self._sweep()

    def stop(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        for agent in self.agents.values():
            agent.stop()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        for agent in self.agents.values():
            agent.resend_overdue(loop.time())
        self._timers["sweep"] = loop.call_later(min(SWEEP, self._settings.update_retry), self._sweep)

    def partition(self, agent: SimulatedAgent) -> None:
        """The master will miss its pings, and give it up after ping timeout × count."""
        agent.partition()
        patience = self._settings.agent_ping_timeout * self._settings.max_agent_ping_timeouts
        self._timers[agent.name] = asyncio.get_running_loop().call_later(
            patience, self._master.unreachable, agent.agent_id
        )

    def come_back(self, agent: SimulatedAgent) -> None:
        timer = self._timers.pop(agent.name, None)
        if timer:
            timer.cancel()
        agent.come_back()


def simulated_routes(cluster: SimulatedCluster, agent: SimulatedAgent) -> list[Route]:
    """The agent's own routes, relative to its name."""

    async def state(_request: Request) -> Response:
        return JsonResponse({"id": agent.agent_id, "hostname": agent.info["hostname"], "attributes": {}, "flags": {}})

    async def statistics(_request: Request) -> Response:
        return JsonResponse(agent.usage())

    async def health(_request: Request) -> Response:
        return Response(b"")

    async def partition(_request: Request) -> Response:
        cluster.partition(agent)
        return Response(status_code=202)

    async def come_back(_request: Request) -> Response:
        cluster.come_back(agent)
        return Response(status_code=202)

    async def end_task(request: Request) -> Response:
        wanted = request.query_params
        state, message = wanted.get("state", "TASK_FAILED"), wanted.get("message", "Command exited with status 1")
        if state not in TERMINAL or not agent.end_task(request.path_params["task_id"], state, message):
            return Response("no such task or state\n", status_code=404)
        return Response(status_code=202)

    return [
        Route("/state", state),
        Route("/monitor/statistics", statistics),
        Route("/containers", statistics),
        Route("/health", health),
        Route("/simulate/partition", partition, methods=["POST"]),
        Route("/simulate/return", come_back, methods=["POST"]),
        Route("/simulate/tasks/{task_id}", end_task, methods=["POST"]),
    ]


def _scalar(info: Json, name: str) -> float:
    return float(sum(r["scalar"]["value"] for r in info["resources"] if r["name"] == name and "scalar" in r))
