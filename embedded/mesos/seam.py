"""The seam between the master and its agents, which live in one process and one event loop: calls go straight across.

All messages are the v1 protocol's JSON objects (`dict`), so that what crosses here is what a client would see on the wire.
Neither side waits for the other: every call returns at once, and what comes of it is reported by a later call.
"""

from typing import Any, Protocol

Json = dict[str, Any]


class Agent(Protocol):
    """What the master may ask of an agent."""

    @property
    def name(self) -> str:
        """The process name in its pid and in the paths of its own HTTP routes: `slave(1)`, `slave(2)`, …"""

    @property
    def info(self) -> Json:
        """AgentInfo: `id {value}`, `hostname`, `port`, `resources`, `attributes`, `domain`."""

    def launch(self, framework_info: Json, tasks: list[Json], group: bool, executor: Json | None) -> None:
        """Starts TaskInfos (one task group where `group`). The master has checked that they fit the offered resources."""

    def kill(self, framework_id: str, task_id: str, kill_policy: Json | None) -> None:
        """Ends a task: SIGTERM, the grace period, SIGKILL. Unknown tasks are the master's to answer for."""

    def acknowledge(self, framework_id: str, task_id: str, uuid: str) -> None:
        """The scheduler has acknowledged this update (base64 uuid): stop repeating it, send the task's next one."""

    def resume(self, framework_id: str) -> None:
        """The framework has connected: what it has not acknowledged is sent to it now, not when its next repeat is due."""

    def message(self, framework_id: str, executor_id: str, data: str) -> None:
        """Framework to executor."""

    def destroy_volume(self, persistence_id: str) -> None:
        """Deletes what is in a persistent volume that is no more."""

    def shut_down_framework(self, framework_id: str) -> None:
        """Ends all of a framework's tasks; their updates are no longer sent."""

    def usage(self) -> list[Json]:
        """/monitor/statistics: `[{executor_id, framework_id, statistics: {cpus_user_time_secs, mem_rss_bytes, …}}]`"""


class Master(Protocol):
    """What an agent tells the master."""

    def register(self, agent: Agent, tasks: list[Json]) -> str:
        """(Re-)registers an agent with the tasks that it runs; the answer is its id.

        An agent with an id in its info keeps that id. `tasks` are v1 Task objects: `task_id, framework_id, agent_id, name,
        resources, labels, discovery, container, state, statuses`; the master adopts them, and does not count their resources
        as free.
        """

    def status_update(self, agent_id: str, framework_id: str, status: Json) -> None:
        """A TaskStatus with `uuid`, `source`, `timestamp`, `agent_id`, `executor_id`; called again until acknowledged."""

    def executor_message(self, agent_id: str, framework_id: str, executor_id: str, data: str) -> None:
        """Executor to framework."""

    def executor_exited(self, agent_id: str, framework_id: str, executor_id: str, status: int) -> None:
        """FAILURE event of an executor."""
