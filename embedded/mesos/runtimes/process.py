"""Tasks as processes of this machine, each below a supervisor of its own (shim.py), so that they outlive the agent.

The directory of a launch holds what the shim reads and writes; its file lock says whether the shim lives.
"""

import asyncio
import contextlib
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from daemonkit.logs import get_logger
from embedded.mesos.cgroups import Cgroup, Cgroups, Limits
from embedded.mesos.durable import read_json, write_json
from embedded.mesos.runtimes.base import (
    Container,
    Ended,
    Launch,
    LaunchError,
    ProbeError,
    Session,
    Terminal,
    User,
    describe,
    variables,
)
from embedded.mesos.runtimes.proc import kill_marked, statistics_of_tree
from embedded.mesos.runtimes.process_session import ProcessSession
from embedded.mesos.runtimes.supervisor import (
    EXIT,
    KILL,
    LAUNCH,
    SHIM,
    STARTED,
    is_starting,
    is_supervised,
    open_supervisor,
    read_line,
    spawn,
)
from embedded.mesos.runtimes.volumes import link_volumes
from embedded.mesos.sandbox import give_to

log = get_logger(__name__)
Json = dict[str, Any]

EXECUTOR_MEMORY = 32 * 1024 * 1024  # what Mesos adds to a command task's memory
START_TIMEOUT = 30.0
DESTROY_TIMEOUT = 30.0


@dataclass(frozen=True)
class ProcessSettings:
    log_bytes: int = 10 * 1024 * 1024
    log_files: int = 2  # the current one counts
    hard_cpu_limit: bool = False
    stop_timeout: float = 3.0  # seconds between SIGTERM and SIGKILL


class ProcessRuntime:
    """`cgroups` is None where tasks run without limits."""

    def __init__(self, cgroups: Cgroups | None, settings: ProcessSettings | None = None) -> None:
        self.cgroups = cgroups
        self.settings = settings or ProcessSettings()
        self.default_grace = self.settings.stop_timeout

    def fetches_as(self, launch: Launch) -> User | None:
        return task_user(launch)

    async def prepare(self, launch: Launch) -> None:
        check_container(launch.task.get("container"))
        command_line(launch.command)
        variables(launch.command.get("environment"))
        user = task_user(launch)
        try:
            shared = await asyncio.to_thread(link_volumes, launch)
            if user:
                for directory in (launch.sandbox, *shared):
                    await asyncio.to_thread(give_to, directory, user.uid, user.gid)
        except OSError as error:
            raise LaunchError(f"Failed to prepare the sandbox: {error}") from None

    async def launch(self, launch: Launch) -> Container:
        spec = await asyncio.to_thread(self._prepare, launch)
        cgroup = self.cgroup(launch)
        try:
            ready, pid = await asyncio.to_thread(spawn, launch.directory)
            try:
                async with asyncio.timeout(START_TIMEOUT):
                    answer = await read_line(ready)
            finally:
                os.close(ready)
            if answer != "started":
                raise LaunchError(answer or "Failed to launch container: the supervisor ended without a word")
        except (OSError, TimeoutError) as error:
            raise LaunchError(f"Failed to launch container: {error or 'the supervisor does not answer'}") from None
        except LaunchError:
            if cgroup:
                await asyncio.to_thread(cgroup.remove)
            raise
        return ProcessContainer(launch, spec, cgroup, open_supervisor(launch.directory), child=pid)

    async def recover(self, launch: Launch) -> Container | None:
        spec = read_json(launch.directory / LAUNCH)
        if spec is None:
            return None
        deadline = time.monotonic() + START_TIMEOUT
        while is_starting(launch.directory) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        if not (launch.directory / STARTED).exists():
            return None
        supervisor = open_supervisor(launch.directory) if is_supervised(launch.directory) else None
        return ProcessContainer(launch, spec, self.cgroup(launch), supervisor)

    async def remove_leftovers(self, agent_id: str, is_known: Callable[[str], bool]) -> None:
        for container_id in self.cgroups.containers(agent_id) if self.cgroups else ():
            if self.cgroups and not is_known(container_id):
                cgroup = self.cgroups.group(agent_id, container_id)
                await asyncio.to_thread(cgroup.kill)
                await asyncio.to_thread(cgroup.remove)

    async def close(self) -> None:
        """There is nothing to close."""

    def cgroup(self, launch: Launch) -> Cgroup | None:
        return self.cgroups.group(launch.agent_id, launch.container_id) if self.cgroups else None

    def _prepare(self, launch: Launch) -> Json:
        """Makes the cgroup and the shim's orders."""
        file, argv = command_line(launch.command)
        user = task_user(launch)
        cgroup = self.cgroup(launch)
        if cgroup:
            try:
                cgroup.limit(limits(launch, hard_cpu=self.settings.hard_cpu_limit))
            except OSError as error:
                cgroup.remove()
                raise LaunchError(
                    f"Failed to set the limits of the container: {error.strerror} ({error.filename})"
                ) from None
        by_controller = cgroup.by_controller if cgroup else {}
        spec = {
            "file": file,
            "argv": argv,
            "env": {**launch.environment, **variables(launch.command.get("environment"))},
            "cwd": str(launch.sandbox),
            "uid": user.uid if user else None,
            "gid": user.gid if user else None,
            "groups": user.groups if user else None,
            "cgroups": [str(directory) for directory in cgroup.directories] if cgroup else [],
            "memory": str(by_controller["memory"]) if "memory" in by_controller else None,
            "pids": str(by_controller["pids"]) if "pids" in by_controller else None,
            "stdout": str(launch.sandbox / "stdout"),
            "stderr": str(launch.sandbox / "stderr"),
            "log_bytes": self.settings.log_bytes,
            "log_files": self.settings.log_files,
            "grace": self.default_grace,
        }
        try:
            write_json(launch.directory / LAUNCH, spec)
        except (OSError, TypeError) as error:
            raise LaunchError(f"Failed to prepare the container: {error}") from None
        return spec


class ProcessContainer:
    """A process below its shim. `supervisor` is a pidfd of the shim, None if it has ended."""

    data: str | None = None

    def __init__(
        self, launch: Launch, spec: Json, cgroup: Cgroup | None, supervisor: int | None, child: int | None = None
    ) -> None:
        self.launch = launch
        self._spec = spec
        self._cgroup = cgroup
        self._supervisor = supervisor
        self._child = child  # the shim's pid where this process started it and has to wait for it
        self._ended: asyncio.Future[None] | None = None
        self._kill_by: float | None = None  # monotonic
        self._started: Json = {}

    @property
    def status(self) -> Json:
        started = self._pids()
        address = {"protocol": "IPv4", "ip_address": self.launch.environment.get("MESOS_CONTAINER_IP", "127.0.0.1")}
        status: Json = {"network_infos": [{"ip_addresses": [address]}]}
        return status | ({"executor_pid": started["shim"]} if started else {})

    async def wait(self) -> Ended:
        await self._supervisor_ended()
        ended = read_json(self.launch.directory / EXIT)
        if ended is None or ended["status"] is None:
            await asyncio.to_thread(self._kill_strays)
            return Ended(False, "Executor terminated", "REASON_EXECUTOR_TERMINATED")
        if ended["oom"]:
            return _out_of_memory(ended["oom"])
        return describe("Command", ended["status"])

    async def kill(self, grace: float) -> None:
        now = time.monotonic()
        self._kill_by = now + grace if self._kill_by is None else min(self._kill_by, now + grace)
        request = {"at": now, "grace": max(0.0, self._kill_by - now)}
        how = signal.SIGUSR1
        try:
            write_json(self.launch.directory / KILL, request, durable=False)
        except OSError as error:
            log.warning("a kill request cannot be written, the default grace period holds", error=str(error))
            how = signal.SIGUSR2
        if self._supervisor is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._supervisor, how)

    async def destroy(self) -> None:
        if self._supervisor is not None:
            await self.kill(0.0)
            try:
                await asyncio.wait_for(asyncio.shield(self._supervisor_ended()), DESTROY_TIMEOUT)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._supervisor, signal.SIGKILL)
                await self._supervisor_ended()
        await asyncio.to_thread(self._kill_strays)
        if self._cgroup:
            await asyncio.to_thread(self._cgroup.remove)

    async def session(self, command: Json, terminal: Terminal | None) -> Session:
        return await ProcessSession.begin(self._orders(command), terminal)

    def _orders(self, command: Json) -> Json:
        """To run a command as the task itself is run."""
        file, argv = command_line(command)
        return {
            **self._spec,
            "file": file,
            "argv": argv,
            "env": {**self._spec["env"], **variables(command.get("environment"))},
            "stdout": None,
            "stderr": None,
            "memory": None,
            "pids": None,
            "grace": 0.0,
        }

    async def execute(self, command: Json, timeout: float) -> int:
        orders = {**self._orders(command), "timeout": timeout}
        process = await asyncio.create_subprocess_exec(
            *SHIM,
            "check",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            output, _ = await process.communicate(orjson.dumps(orders))
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGUSR2)  # ends the command with all its descendants
            await process.communicate()  # not its end alone: its pipes are to be closed before the loop may be
            raise
        result = orjson.loads(output) if output else {"error": "the supervisor of the check was killed"}
        if "error" in result:
            raise ProbeError(result["error"])
        if result["timed_out"]:
            raise TimeoutError
        return os.waitstatus_to_exitcode(int(result["status"]))

    def address(self, port: int) -> tuple[str, int]:
        return "127.0.0.1", port

    def statistics(self) -> Json:
        if self._cgroup and (found := self._cgroup.statistics()):
            return found
        started = self._pids()
        return statistics_of_tree(started["shim"]) if started else {}

    def _pids(self) -> Json:
        if not self._started:
            self._started = read_json(self.launch.directory / STARTED) or {}
        return self._started

    async def _supervisor_ended(self) -> None:
        """Returns when the shim's lock is free; the shim leaves nothing behind."""
        if self._supervisor is None:
            return
        if self._ended is None:
            loop = asyncio.get_running_loop()
            self._ended = loop.create_future()
            loop.add_reader(self._supervisor, self._on_supervisor_end)
        await asyncio.shield(self._ended)

    def _on_supervisor_end(self) -> None:
        assert self._supervisor is not None and self._ended is not None
        asyncio.get_running_loop().remove_reader(self._supervisor)
        os.close(self._supervisor)
        self._supervisor = None
        if self._child is not None:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._child, os.WNOHANG)
        if not self._ended.done():
            self._ended.set_result(None)

    def abandon(self) -> None:
        """Lets go of it: it runs on, and is found again after a restart."""
        if self._supervisor is not None:
            if self._ended is not None:
                asyncio.get_running_loop().remove_reader(self._supervisor)
            os.close(self._supervisor)
            self._supervisor = None

    def _kill_strays(self) -> None:
        """What a shim that was killed could not end. A shim that ended by itself leaves none."""
        if self._cgroup and self._cgroup.exists():
            if not self._cgroup.kill():
                log.warning(
                    "processes of a task cannot be killed", task=self.launch.task_id, pids=self._cgroup.processes()
                )
        elif not (self.launch.directory / EXIT).exists():
            started = read_json(self.launch.directory / STARTED)
            if started:
                kill_marked(started["pid"], started["start"], str(self.launch.sandbox))


# --- decisions ------------------------------------------------------------------------------------------------------------------------


def command_line(command: Json) -> tuple[str, list[str]]:
    """(file, argv) of a CommandInfo. As in Mesos, without a shell `value` is the file and `arguments` begin with argv[0]."""
    value, arguments = command.get("value"), command.get("arguments", [])
    if command.get("shell", True):
        if not value:
            raise LaunchError("Shell command is not specified")
        return "/bin/sh", ["sh", "-c", value]
    if not value:
        raise LaunchError("Executable of command is not specified")
    return value, list(arguments) or [value]


def check_container(container: Json | None) -> None:
    """Raises LaunchError for what only a container with a root file system or a network of its own could give."""
    if not container:
        return
    if container.get("mesos", {}).get("image"):
        raise LaunchError("Image provisioning is not supported by this agent: use a container of type DOCKER")
    names = [network["name"] for network in container.get("network_infos", []) if network.get("name")]
    if names:
        raise LaunchError(f"Unknown container network '{names[0]}': tasks without Docker use the host's network")


def limits(launch: Launch, *, hard_cpu: bool) -> Limits:
    """The task's resources as cgroup limits; `limits` of the TaskInfo are hard ones, `Infinity` is none."""
    cpus, mem = launch.scalar("cpus") or 0.0, launch.scalar("mem")
    hard = {name: float(value["value"]) for name, value in launch.task.get("limits", {}).items()}
    quota = hard.get("cpus", cpus if hard_cpu and cpus else None)
    memory = hard.get("mem", mem)
    infinite = float("inf")
    return Limits(
        cpus=cpus,
        memory=None if memory is None or memory == infinite else int(memory * 1024 * 1024) + EXECUTOR_MEMORY,
        cpu_quota=None if quota is None or quota == infinite else quota,
    )


def task_user(launch: Launch) -> User | None:
    """Whom the task runs as: the command's user, else the framework's; None for the agent's own. Raises LaunchError."""
    asked = launch.command.get("user")
    name = asked or launch.framework.get("user")
    me = os.geteuid()
    if not name:
        return None
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        if asked or me == 0:
            raise LaunchError(f"Failed to get user information for '{name}': no such user on this agent") from None
        return None
    if found.pw_uid == me:
        return None
    if me != 0:
        if asked:
            raise LaunchError(f"Failed to run the task as user '{name}': the agent does not run as root")
        return None  # the framework's default; one who runs all of it on a machine of their own means themselves
    return User(name, found.pw_uid, found.pw_gid)


def _out_of_memory(oom: Json) -> Ended:
    def megabytes(value: int | None) -> str:
        return "unknown" if value is None else f"{value // (1024 * 1024)}MB"

    message = f"Memory limit exceeded: Requested: {megabytes(oom['limit'])} Maximum Used: {megabytes(oom['peak'])}"
    used = (oom["peak"] or oom["limit"] or 0) / (1024 * 1024)
    resource = {"name": "mem", "type": "SCALAR", "scalar": {"value": used}}
    return Ended(False, message, "REASON_CONTAINER_LIMITATION_MEMORY", {"resources": [resource]})
