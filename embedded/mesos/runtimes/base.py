"""What the agent asks of a runtime: to start a task in a container, find it again after a restart, and end it."""

import base64
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from embedded.mesos.errors import MesosError

Json = dict[str, Any]

LAUNCH_FAILED = "REASON_CONTAINER_LAUNCH_FAILED"


class LaunchError(MesosError):
    """A task cannot be started. The text becomes the message of its TASK_FAILED."""

    def __init__(self, message: str, reason: str = LAUNCH_FAILED) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class User:
    name: str
    uid: int
    gid: int

    @property
    def groups(self) -> list[int]:
        return os.getgrouplist(self.name, self.gid)


class ProbeError(MesosError):
    """A command could not be run in a container, so nothing is known of its outcome."""


@dataclass(frozen=True)
class Launch:
    """One task to be started, or one that was. All of it is on disk before anything is started."""

    agent_id: str
    container_id: str
    framework: Json  # FrameworkInfo
    task: Json  # TaskInfo
    sandbox: Path
    directory: Path  # the runtime's own, for what it wants to know after a restart
    environment: dict[str, str] = field(default_factory=dict)  # Mesos' own variables; the task's come on top
    group_sandbox: Path | None = None  # of the task group that it belongs to

    @property
    def task_id(self) -> str:
        return str(self.task["task_id"]["value"])

    @property
    def command(self) -> Json:
        command: Json = self.task.get("command", {})
        return command

    def scalar(self, name: str) -> float | None:
        """The task's amount of a resource, over all reservations."""
        amounts = [
            item["scalar"]["value"] for item in self.task["resources"] if item["name"] == name and "scalar" in item
        ]
        return sum(amounts) if amounts else None


@dataclass(frozen=True)
class Ended:
    """How a container ended. `message` is Mesos' own wording."""

    succeeded: bool
    message: str
    reason: str | None = None
    limitation: Json | None = None  # TaskResourceLimitation


@dataclass(frozen=True)
class Terminal:
    """The size of a session's window, in characters."""

    rows: int
    columns: int


class Session(Protocol):
    """A command beside a task, with its streams or its terminal. `end` has to be called, whatever happens."""

    async def read(self) -> tuple[str, bytes] | None:
        """("STDOUT" or "STDERR", what came); None at the end of both. May be cancelled without losing anything."""

    async def write(self, data: bytes) -> None:
        """To the command's input, as fast as it reads; what it does not want is dropped."""

    async def end_input(self) -> None:
        """The command reads an end of file; with a terminal this does nothing."""

    async def resize(self, terminal: Terminal) -> None:
        """Does nothing where there is no terminal."""

    async def wait(self) -> int:
        """The status as of waitpid, after `read` has come to its end. Raises ProbeError where the command could not be run."""

    async def end(self) -> None:
        """Ends the command, if it has not ended, and lets go of it."""


class Container(Protocol):
    """A running task."""

    @property
    def status(self) -> Json:
        """v1 ContainerStatus."""

    @property
    def data(self) -> str | None:
        """Base64, for the `data` of the first TASK_RUNNING."""

    async def wait(self) -> Ended:
        """Returns when nothing of the task is left."""

    async def kill(self, grace: float) -> None:
        """SIGTERM now, SIGKILL to what is left after `grace` seconds. Asked again, it can only shorten the time."""

    async def destroy(self) -> None:
        """Ends it at once, if it has not ended, and removes all but the sandbox."""

    async def execute(self, command: Json, timeout: float) -> int:
        """Runs a CommandInfo inside, and returns its exit status. Raises TimeoutError, ProbeError."""

    async def session(self, command: Json, terminal: Terminal | None) -> Session:
        """Begins a CommandInfo inside. Raises LaunchError."""

    def address(self, port: int) -> tuple[str, int]:
        """Where probes of a port of the task go."""

    def statistics(self) -> Json:
        """v1 ResourceStatistics, without the timestamp."""

    def abandon(self) -> None:
        """Lets go of it: it runs on, and `recover` finds it after a restart."""


class Runtime(Protocol):
    default_grace: float  # seconds between SIGTERM and SIGKILL where the task has no kill policy

    def fetches_as(self, launch: Launch) -> User | None:
        """Who has to be allowed to read the task's local URIs; None is the agent itself. Raises LaunchError."""

    async def prepare(self, launch: Launch) -> None:
        """What comes before TASK_STARTING, such as pulling an image. Raises LaunchError."""

    async def launch(self, launch: Launch) -> Container:
        """Raises LaunchError."""

    async def recover(self, launch: Launch) -> Container | None:
        """The container of an earlier launch, running or ended; None if it was never started.

        Raises LaunchError where that cannot be told now.
        """

    async def remove_leftovers(self, agent_id: str, is_known: Callable[[str], bool]) -> None:
        """Ends and removes whatever of this agent's is left whose container id is not known."""

    async def close(self) -> None:
        """Lets go of connections and threads."""


def describe(what: str, status: int) -> Ended:
    """`status` as of waitpid: "Command exited with status 3", "Command terminated with signal 9"."""
    if os.WIFSIGNALED(status):
        return Ended(False, f"{what} terminated with signal {os.WTERMSIG(status)}")
    code = os.WEXITSTATUS(status)
    return Ended(code == 0, f"{what} exited with status {code}")


def variables(environment: Json | None) -> dict[str, str]:
    """The Environment of a CommandInfo. Raises LaunchError for secrets that are kept elsewhere."""
    found: dict[str, str] = {}
    for variable in (environment or {}).get("variables", []):
        if variable.get("type") == "SECRET":
            secret = variable.get("secret", {})
            if secret.get("type") != "VALUE" or "value" not in secret:
                raise LaunchError(
                    f"Failed to resolve secret of environment variable '{variable['name']}': there is no secret store"
                )
            found[variable["name"]] = base64.b64decode(secret["value"]["data"]).decode(errors="surrogateescape")
        else:
            found[variable["name"]] = variable.get("value", "")
    return found
