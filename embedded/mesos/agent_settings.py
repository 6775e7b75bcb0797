"""Settings of the embedded agents, a part of the embedded Mesos' settings (section `mesos`)."""

from typing import ClassVar

from pydantic import Field

from daemonkit.settings import Seconds, Settings

MEGABYTE = 1024 * 1024


class AgentSettings(Settings):
    section: ClassVar[str] = "mesos"

    update_retry: Seconds = Field(10.0, gt=0, description="first delay before an unacknowledged update is sent again")
    update_retry_longest: Seconds = Field(
        600.0, gt=0, description="longest delay before an unacknowledged update is sent again"
    )
    pending_updates: int = Field(
        100, ge=2, description="unacknowledged updates of a task; of more, check results are merged"
    )

    docker_url: str | None = Field(
        None, description="address of the Docker daemon; default: DOCKER_HOST, else the system's socket"
    )
    docker_calls: int = Field(8, ge=1, description="calls to the Docker daemon at the same time")
    docker_stop_timeout: Seconds = Field(
        5.0, ge=0, description="time between SIGTERM and SIGKILL of Docker tasks without a kill policy"
    )
    command_stop_timeout: Seconds = Field(
        3.0, ge=0, description="time between SIGTERM and SIGKILL of other tasks without a kill policy"
    )

    cgroups_root: str = Field("dromos", pattern=r"^[\w.-]+$", description="name of the cgroup above all tasks")
    cgroups: bool = Field(True, description="limit the memory and CPU of tasks where this machine allows it")
    cgroups_enable_cfs: bool = Field(
        False, description="a task's cpus are a hard limit, instead of its share when the machine is busy"
    )

    log_bytes: int = Field(10 * MEGABYTE, ge=4096, description="size at which a task's stdout or stderr is rotated")
    log_files: int = Field(2, ge=1, description="files kept of a task's stdout or stderr, the current one included")
    kept_sandboxes: int = Field(500, ge=0, description="sandboxes of ended tasks that are kept, of each agent")
    sandbox_keep: Seconds = Field(
        7 * 86400.0, ge=0, description="time that the sandbox of an ended task is kept at most"
    )
    sandbox_sweep: Seconds = Field(600.0, gt=0, description="time between removals of old sandboxes")
    completed_tasks: int = Field(200, ge=0, description="ended tasks that an agent keeps for display")

    fetch_timeout: Seconds = Field(300.0, gt=0, description="longest wait for the next bytes of a fetched URI")
    fetch_bytes: int = Field(
        8 * 1024 * MEGABYTE, ge=1, description="largest fetched file, and most that an archive may hold, in bytes"
    )
    fetch_cache_bytes: int = Field(2 * 1024 * MEGABYTE, ge=0, description="size of the cache of fetched URIs")
    shortest_check_interval: Seconds = Field(0.1, gt=0, description="shortest time between two health checks of a task")
    sessions: int = Field(
        32, ge=0, description="commands of operators beside tasks (dromos exec), of an agent at a time"
    )
    session_time: Seconds = Field(86400.0, gt=0, description="time after which such a command is ended")
    task_path: str = Field("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", description="PATH of tasks")
