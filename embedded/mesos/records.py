"""What the master knows of frameworks, agents, tasks and offers."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from embedded.mesos.resources import Resources
from embedded.mesos.seam import Agent
from embedded.mesos.stream import Stream
from embedded.mesos.validation import roles_of

Json = dict[str, Any]

TERMINAL = frozenset(
    {"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR", "TASK_LOST", "TASK_DROPPED", "TASK_GONE"}
    | {"TASK_GONE_BY_OPERATOR"}
)

# What of a TaskInfo a v1 Task keeps.
_KEPT = ("labels", "discovery", "container", "health_check", "kill_policy", "max_completion_time")


@dataclass(eq=False, slots=True)
class Task:
    """A task that was launched. `statuses` are the latest of each run of equal states, without their data."""

    task_id: str
    framework_id: str
    agent_id: str
    role: str
    resources: Resources
    description: Json  # the constant part of the v1 Task
    executor_id: str | None = None  # of an executor that the framework gave
    state: str = "TASK_STAGING"
    statuses: list[Json] = field(default_factory=list)
    update_state: str | None = None  # the state of the latest update that was passed on, and its uuid
    update_uuid: str | None = None

    @property
    def terminal(self) -> bool:
        return self.state in TERMINAL

    def to_json(self) -> Json:
        """The v1 Task."""
        task = {**self.description, "state": self.state, "statuses": self.statuses}
        if self.update_state:
            task["status_update_state"] = self.update_state
            if self.update_uuid:
                task["status_update_uuid"] = self.update_uuid
        return task

    def take(self, status: Json) -> None:
        """A status of it was passed on. Once it has ended it stays so."""
        if not self.terminal:
            self.state = status["state"]
        self.update_state, self.update_uuid = status["state"], status.get("uuid")
        kept = status if "data" not in status else {k: v for k, v in status.items() if k != "data"}
        if self.statuses and self.statuses[-1]["state"] == kept["state"]:
            self.statuses[-1] = kept
        else:
            self.statuses.append(kept)

    @classmethod
    def launched(cls, info: Json, framework_id: str, role: str, executor_id: str | None = None) -> "Task":
        resources = Resources.from_json(info["resources"])
        description = {
            "name": info["name"],
            "task_id": info["task_id"],
            "framework_id": {"value": framework_id},
            "agent_id": info["agent_id"],
            "resources": resources.to_json(allocated_to=role, refined=True),
            **{name: info[name] for name in _KEPT if name in info},
        }
        user = info.get("command", {}).get("user")
        if user:
            description["user"] = user
        executor_id = executor_id or info.get("executor", {}).get("executor_id", {}).get("value")
        if executor_id:
            description["executor_id"] = {"value": executor_id}
        return cls(
            info["task_id"]["value"], framework_id, info["agent_id"]["value"], role, resources, description, executor_id
        )

    @classmethod
    def recovered(cls, task: Json, agent_id: str) -> "Task":
        """From the v1 Task that an agent runs."""
        description = {
            name: value
            for name, value in task.items()
            if name not in ("state", "statuses", "status_update_state", "status_update_uuid")
        }
        description["agent_id"] = {"value": agent_id}
        resources = task.get("resources", [])
        role = next((r["allocation_info"]["role"] for r in resources if "allocation_info" in r), "*")
        return cls(
            task["task_id"]["value"],
            task["framework_id"]["value"],
            agent_id,
            role,
            Resources.from_json(resources),
            description,
            task.get("executor_id", {}).get("value") or None,
            task.get("state", "TASK_STAGING"),
            list(task.get("statuses", [])),
            task.get("status_update_state"),
            task.get("status_update_uuid"),
        )


@dataclass(eq=False, slots=True)
class Offer:
    offer_id: str
    framework_id: str
    agent_id: str
    role: str
    resources: Resources


@dataclass(eq=False)
class Framework:
    framework_id: str
    info: Json
    registered_time: float
    max_completed_tasks: int
    max_unreachable_tasks: int
    stream: Stream | None = None
    recovered: bool = False
    reregistered_time: float | None = None
    unregistered_time: float = 0.0
    tasks: dict[str, Task] = field(default_factory=dict)
    unreachable_tasks: dict[str, Task] = field(default_factory=dict)
    completed_tasks: deque[Task] = field(init=False)
    offers: dict[str, Offer] = field(default_factory=dict)
    operations: dict[str, Json] = field(default_factory=dict)  # finished ones that were not acknowledged
    inverse_offers: dict[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.completed_tasks = deque(maxlen=self.max_completed_tasks)

    @property
    def connected(self) -> bool:
        return self.stream is not None

    @property
    def roles(self) -> list[str]:
        return roles_of(self.info)

    @property
    def capabilities(self) -> list[str]:
        return [capability["type"] for capability in self.info.get("capabilities", []) if "type" in capability]

    def is_capable_of(self, capability: str) -> bool:
        return {"type": capability} in self.info.get("capabilities", [])

    def lost_state(self, precise: str) -> str:
        """Frameworks that are not PARTITION_AWARE hear TASK_LOST in place of the newer, more precise states."""
        return precise if self.is_capable_of("PARTITION_AWARE") else "TASK_LOST"

    def send(self, event: Json) -> None:
        if self.stream:
            self.stream.send(event)

    def send_status(self, status: Json) -> None:
        self.send({"type": "UPDATE", "update": {"status": status}})

    def complete(self, task: Task) -> None:
        self.tasks.pop(task.task_id, None)
        self.completed_tasks.append(task)

    def lose_sight_of(self, task: Task) -> None:
        """The task's agent is unreachable."""
        self.tasks.pop(task.task_id, None)
        self.unreachable_tasks[task.task_id] = task
        while len(self.unreachable_tasks) > self.max_unreachable_tasks:
            self.unreachable_tasks.pop(next(iter(self.unreachable_tasks)))


@dataclass(eq=False)
class AgentRecord:
    """A registered agent. `total` are its resources with the reservations and volumes that operations made."""

    agent_id: str
    agent: Agent
    pid: str  # slave(1)@127.0.0.1:5050
    total: Resources
    registered_time: float
    reregistered_time: float | None = None
    deactivated: bool = False
    drain: Json | None = None  # DrainInfo: state DRAINING or DRAINED, config
    drain_started: float = 0.0
    tasks: dict[tuple[str, str], Task] = field(default_factory=dict)
    offers: dict[str, Offer] = field(default_factory=dict)
    executors: dict[tuple[str, str], tuple[Json, Resources, str]] = field(default_factory=dict)
    used: Resources = field(default_factory=Resources)

    @property
    def info(self) -> Json:
        return self.agent.info

    @property
    def process(self) -> str:
        return self.pid.partition("@")[0]

    @property
    def offered(self) -> Resources:
        return sum((offer.resources for offer in self.offers.values()), Resources())
