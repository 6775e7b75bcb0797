"""Settings of the embedded Mesos."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from daemonkit.settings import Seconds, Settings
from embedded.mesos.agent_settings import AgentSettings


class MasterSettings(Settings):
    section: ClassVar[str] = "mesos"

    host: str = Field("127.0.0.1", description="address to listen on, and the agents' hostname")
    port: int = Field(5050, ge=0, le=65535, description="port of the master and its agents; 0 picks a free one")
    state_dir: Path = Field(
        Path("~/.dromos/mesos"), description="directory of the registry, and of the tasks' sandboxes; made if missing"
    )

    agents: int = Field(1, ge=0, le=10_000, description="number of agents")
    simulate: bool = Field(False, description="tasks are entries instead of processes")
    start_lag: Seconds = Field(0.0, ge=0, description="simulated tasks: time from launch to TASK_RUNNING")
    kill_lag: Seconds = Field(0.0, ge=0, description="simulated tasks: time from kill to TASK_KILLED")
    resources: str | None = Field(
        None, description="of each agent, such as cpus:4;mem:4096;disk:4096;ports:[31000-32000]; default: the machine's"
    )
    attributes: str = Field("", description="of each agent, such as rack:a1;disks:4; {n} is its number")
    hostname: str | None = Field(None, description="the agents' hostname, if not the host; {n} is its number")

    allocation_interval: Seconds = Field(1.0, gt=0, description="time between offers of what has become free")
    heartbeat_interval: Seconds = Field(15.0, gt=0, description="time between the heartbeats of a subscription")
    agent_ping_timeout: Seconds = Field(15.0, gt=0, description="time that an agent has to answer a ping")
    max_agent_ping_timeouts: int = Field(5, ge=1, description="missed pings after which an agent is unreachable")
    agent_reregister_timeout: Seconds = Field(
        600.0, gt=0, description="time that known agents have to come back after a restart of the master"
    )
    recovery_timeout: Seconds = Field(
        10.0,
        ge=0,
        description="longest time after a start that calls are answered 503 because agents are still missing",
    )

    idle_connection: Seconds = Field(
        3600.0, ge=1, description="time that an idle connection stays open: schedulers keep theirs between calls"
    )
    max_body_bytes: int = Field(32 * 1024 * 1024, ge=1024, description="largest request body")
    stream_buffer_bytes: int = Field(
        64 * 1024 * 1024,
        ge=1024,
        description="events that may wait for a slow subscriber before it is cut off, in bytes",
    )
    max_operator_streams: int = Field(1000, ge=1, description="operator subscriptions; the oldest gives way")
    max_completed_frameworks: int = Field(50, ge=0, description="removed frameworks that are kept for display")
    max_completed_tasks_per_framework: int = Field(1000, ge=0, description="ended tasks that are kept for display")
    max_unreachable_tasks_per_framework: int = Field(1000, ge=0, description="tasks kept of agents out of reach")

    log_level: str = Field("info", description="debug, info, warning or error")


class MesosSettings(AgentSettings, MasterSettings):
    """Those of the master, of how many agents there are, and of what an agent is like."""

    section: ClassVar[str] = "mesos"
