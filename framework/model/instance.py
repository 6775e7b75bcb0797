"""An instance: one run of an app or a pod on an agent, as it is observed. Frozen; the engine replaces it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Condition(StrEnum):
    """Marathon's conditions. An instance exists from PROVISIONED on; SCHEDULED ones are the count in the queue."""

    SCHEDULED = "Scheduled"
    PROVISIONED = "Provisioned"  # durable, its ACCEPT may have left
    STAGING = "Staging"
    STARTING = "Starting"
    RUNNING = "Running"
    KILLING = "Killing"
    UNREACHABLE = "Unreachable"
    UNREACHABLE_INACTIVE = "UnreachableInactive"
    FINISHED = "Finished"
    KILLED = "Killed"
    FAILED = "Failed"
    ERROR = "Error"
    GONE = "Gone"
    DROPPED = "Dropped"
    UNKNOWN = "Unknown"


TERMINAL = frozenset(
    {
        Condition.FINISHED,
        Condition.KILLED,
        Condition.FAILED,
        Condition.ERROR,
        Condition.GONE,
        Condition.DROPPED,
        Condition.UNKNOWN,
    }
)


class Goal(StrEnum):
    RUNNING = "Running"
    STOPPED = "Stopped"
    DECOMMISSIONED = "Decommissioned"


@dataclass(frozen=True, slots=True)
class Agent:
    """The agent that an instance runs on, as its offer described it. `attributes` are (name, value as text) pairs."""

    id: str
    host: str
    attributes: tuple[tuple[str, str], ...] = ()
    region: str | None = None
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class IpAddress:
    ip_address: str
    protocol: str = "IPv4"


@dataclass(frozen=True, slots=True)
class Task:
    """What Mesos last said of one task: an app's instance has one, a pod's one for each container (`container` is its name)."""

    id: str
    container: str | None = None
    mesos_state: str = "TASK_STAGING"
    reason: str | None = None
    message: str | None = None
    staged_at: float = 0.0
    started_at: float | None = None
    healthy: bool | None = None  # as Mesos checked it; None: no check of Mesos, or no result yet
    host_ports: tuple[int, ...] = ()
    ip_addresses: tuple[IpAddress, ...] = ()


@dataclass(frozen=True, slots=True)
class Instance:
    """All times are epoch seconds.

    `id` is `grp_app.instance-<uuid>`. `config_version` is the spec's lastConfigChangeAt at launch: an instance is outdated when
    it differs from the spec's. `checked`: it has health checks; `healthy` is the verdict over all of them, None before the first result.
    `draining_since` is set from the decision to kill until the kill leaves; `kill_reason` tells why.

    One that keeps persistent volumes does not go when its task ends: `parked`, it waits with its agent until it is launched again there,
    with the next `incarnation`.

    `held`: it is of a version that waits for its go beside the whole old one (blue/green), and gets no traffic. Only a go ends that.
    """

    id: str
    spec_id: str
    spec_version: str
    config_version: str
    role: str
    agent: Agent
    tasks: tuple[Task, ...]
    condition: Condition = Condition.PROVISIONED
    goal: Goal = Goal.RUNNING
    incarnation: int = 1
    checked: bool = False
    healthy: bool | None = None
    ready: bool = True
    provisioned_at: float = 0.0
    since: float = 0.0
    active_since: float | None = None
    unreachable_since: float | None = None
    draining_since: float | None = None
    kill_reason: str | None = None
    wipe: bool = False
    evacuating: bool = False  # its agent goes into maintenance: it is to be replaced elsewhere
    held: bool = False

    @property
    def host_ports(self) -> tuple[int, ...]:
        return tuple(port for task in self.tasks for port in task.host_ports)

    @property
    def terminal(self) -> bool:
        return self.condition in TERMINAL

    @property
    def leaving(self) -> bool:
        """Decided to be killed: draining, or the kill has left."""
        return self.goal is not Goal.RUNNING and not self.parked

    @property
    def parked(self) -> bool:
        """Has no task, but its volumes and what is reserved for it."""
        return self.goal is Goal.STOPPED and self.condition in TERMINAL

    @property
    def running(self) -> bool:
        return self.condition is Condition.RUNNING

    @property
    def ok(self) -> bool:
        """Does its work, and is to go on: running, ready, and healthy as far as it is checked."""
        return (
            self.condition is Condition.RUNNING
            and self.goal is Goal.RUNNING
            and self.ready
            and (self.healthy is True or not self.checked)
        )


def persistence_id(instance_id: str, container_path: str) -> str:
    """Of an instance's volume; Mesos wants it unique on the agent."""
    return f"{instance_id}#{container_path}"


@dataclass(frozen=True, slots=True)
class HealthResult:
    """Of one health check of one instance: Marathon's healthCheckResults."""

    instance_id: str
    alive: bool = False
    consecutive_failures: int = 0
    first_success: float | None = None
    last_success: float | None = None
    last_failure: float | None = None
    last_failure_cause: str | None = None


class ContainerEnd(NamedTuple):
    """What became of a container of a pod."""

    task_id: str
    state: str  # TASK_FAILED, ...
    message: str


@dataclass(frozen=True, slots=True)
class TaskFailure:
    """The last failure of an app: Marathon's lastTaskFailure."""

    app_id: str
    task_id: str
    state: str  # TASK_FAILED, ...
    message: str
    host: str
    agent_id: str
    version: str
    at: float
    started_at: float | None = None
    containers: tuple[ContainerEnd, ...] = ()  # a pod's, as they were at that moment
