"""An agent: launches tasks, tells the master of them, and finds them again after a restart.

What is to survive is on disk before anything is started: `meta/agent.json` has the agent's id, `meta/tasks/<container id>/` has
each task (task.json), its updates (updates.json) and what its runtime keeps.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import time
import uuid
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from daemonkit.errors import OperatorError
from daemonkit.logs import get_logger
from embedded.mesos.agent_settings import AgentSettings
from embedded.mesos.checks import CheckSettings
from embedded.mesos.durable import read_json, write_json
from embedded.mesos.fetcher import Fetcher
from embedded.mesos.runtimes.base import Launch, LaunchError, Runtime
from embedded.mesos.runtimes.volumes import volume_place
from embedded.mesos.sandbox import Layout, check_names, collect_garbage, make_child, make_run
from embedded.mesos.seam import Master
from embedded.mesos.task_run import KILLED_BY_GROUP, TaskRun, in_background
from embedded.mesos.updates import UpdateStream

log = get_logger(__name__)
Json = dict[str, Any]

DESTROY_TIMEOUT = 60.0  # of one task


@dataclass(frozen=True)
class Address:
    """Where the agent's HTTP routes are: `http://<host>:<port>/<name>/…`"""

    name: str  # slave(1)
    host: str
    port: int

    @property
    def pid(self) -> str:
        return f"{self.name}@{self.host}:{self.port}"


@dataclass(frozen=True)
class Completed:
    """An ended task, kept for display."""

    run: TaskRun
    task: Json


class Agent:
    """`info` is an AgentInfo without an id; `runtimes` are by ContainerInfo type: MESOS for plain processes, DOCKER."""

    def __init__(
        self,
        address: Address,
        info: Json,
        work_dir: Path,
        runtimes: dict[str, Runtime],
        fetcher: Fetcher,
        settings: AgentSettings,
    ) -> None:
        self.address = address
        self.layout = Layout(work_dir)
        self.settings = settings
        self.started_at = time.time()
        self.runs: dict[tuple[str, str], TaskRun] = {}
        self.completed: deque[Completed] = deque(maxlen=settings.completed_tasks)
        self.runtimes = runtimes
        self._fetcher = fetcher
        self._info = {"id": {"value": ""}, **info}
        self._master: Master | None = None
        self._lives: dict[TaskRun, asyncio.Task[None]] = {}
        self._preparing: set[asyncio.Future[None]] = set()  # tasks that are being written down
        self._silenced: set[str] = set()  # frameworks that were shut down
        self._lock: IO[str] | None = None
        self._chores: list[asyncio.Task[None]] = []

    # --- the seam ----------------------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.address.name

    @property
    def info(self) -> Json:
        return self._info

    @property
    def id(self) -> str:
        return str(self._info["id"]["value"])

    def launch(self, framework_info: Json, tasks: list[Json], group: bool, executor: Json | None) -> None:
        container = str(uuid.uuid4()) if group else None
        self._silenced.discard(framework_info["id"]["value"])
        for task in tasks:
            self._launch(framework_info, task, container, executor)

    def kill(self, framework_id: str, task_id: str, kill_policy: Json | None) -> None:
        if run := self.runs.get((framework_id, task_id)):
            run.kill(policy=kill_policy)

    def acknowledge(self, framework_id: str, task_id: str, uuid: str) -> None:
        if run := self.runs.get((framework_id, task_id)):
            run.stream.acknowledge(uuid)

    def resume(self, framework_id: str) -> None:
        for run in list(self.runs.values()):
            if run.framework_id == framework_id:
                run.stream.resend()

    def message(self, framework_id: str, executor_id: str, data: str) -> None:
        """The executors of this agent take no messages; Mesos' own drop them too."""
        log.debug("message to an executor dropped", framework=framework_id, executor=executor_id, bytes=len(data))

    def destroy_volume(self, persistence_id: str) -> None:
        place = volume_place(self.layout.meta, persistence_id)
        in_background(asyncio.to_thread(_delete_volume, place))

    def shut_down_framework(self, framework_id: str) -> None:
        self._silenced.add(framework_id)
        for run in [run for run in self.runs.values() if run.framework_id == framework_id]:
            run.kill()
            run.stream.silence()

    def usage(self) -> list[Json]:
        return [
            {
                "executor_id": run.executor_id,
                "executor_name": self.executor_name(run),
                "framework_id": run.framework_id,
                "source": run.task_id,
                "statistics": _with_soft_limits(
                    {
                        "timestamp": time.time(),
                        "cpus_limit": run.launch.scalar("cpus") or 0.0,
                        **run.container.statistics(),
                    }
                ),
            }
            for run in self.runs.values()
            if run.container and not run.ended
        ]

    # --- start and end -----------------------------------------------------------------------------------------------------------

    async def start(self, master: Master) -> None:
        """Finds the tasks of before, registers, and goes on with them. Raises OperatorError if the directory is in use."""
        self._master = master
        self._lock = lock_directory(self.layout.meta)
        saved = read_json(self.layout.meta / "agent.json") or {}
        self._info["id"] = {"value": saved.get("id", "")}
        runs = await asyncio.to_thread(lambda: list(self._load_runs()))
        for run in runs:
            self.runs[run.framework_id, run.task_id] = run
        agent_id = master.register(self, [run.to_json() for run in runs])
        if agent_id != self.id and runs:
            log.warning("the master gave a new id, tasks of the old one are ended", old=self.id, new=agent_id)
        if agent_id != saved.get("id"):
            await asyncio.to_thread(write_json, self.layout.meta / "agent.json", {"id": agent_id})
        self._info["id"] = {"value": agent_id}
        for run in runs:
            self._lives[run] = asyncio.create_task(self._live(run, run.live_on()))
            if run.launch.agent_id != agent_id:
                run.kill()
            elif run.ended:
                self._on_end(run)
        self._chores = [asyncio.create_task(chore()) for chore in (self._sweep_regularly, self._remove_leftovers)]

    async def stop(self) -> None:
        """Lets go of everything; the tasks run on."""
        await self._end_lives()
        for run in self.runs.values():
            await run.abandon()
        await self._let_go()

    async def destroy(self) -> None:
        """Ends all tasks at once and removes all that they made: processes, containers, cgroups. Their sandboxes stay."""
        await self._end_lives()
        ends = await asyncio.gather(
            *(asyncio.wait_for(run.destroy(), DESTROY_TIMEOUT) for run in self.runs.values()), return_exceptions=True
        )
        for error in ends:
            if isinstance(error, BaseException):
                log.error("a task cannot be ended", error=str(error) or repr(error))
        self.runs.clear()
        if self.id:
            await self._remove_leftovers()
        await asyncio.to_thread(shutil.rmtree, self.layout.meta / "tasks", ignore_errors=True)
        await self._let_go()

    def load_for_cleaning(self) -> None:
        """Knows the tasks of an agent whose process is dead, so that `destroy` can end them. Raises OperatorError if it is not."""
        self._lock = lock_directory(self.layout.meta)
        self._info["id"] = {"value": (read_json(self.layout.meta / "agent.json") or {}).get("id", "")}
        for run in self._load_runs():
            self.runs[run.framework_id, run.task_id] = run

    async def _end_lives(self) -> None:
        await asyncio.sleep(0)  # what was launched a moment ago begins to be written down
        tasks = [*self._lives.values(), *self._chores]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *self._preparing, return_exceptions=True)
        self._lives.clear()
        self._chores.clear()

    async def _let_go(self) -> None:
        for runtime in self.runtimes.values():
            await runtime.close()
        if self._lock:
            self._lock.close()
            self._lock = None

    # --- tasks -------------------------------------------------------------------------------------------------------------------

    def _launch(self, framework: Json, task: Json, group: str | None, executor: Json | None) -> None:
        run = self._make_run(framework, task, str(uuid.uuid4()), group, executor)
        key = run.framework_id, run.task_id
        if key in self.runs:
            log.error("a task with this id runs already", framework=key[0], task=key[1])
            return
        self.runs[key] = run
        self._lives[run] = asyncio.create_task(self._live(run, self._prepare_and_live(run)))

    async def _prepare_and_live(self, run: TaskRun) -> None:
        preparing = asyncio.ensure_future(asyncio.to_thread(self._prepare, run))
        self._preparing.add(preparing)
        preparing.add_done_callback(self._preparing.discard)
        try:
            await asyncio.shield(preparing)
        except (LaunchError, OSError) as error:
            run.stream.volatile = True
            await asyncio.to_thread(_erase, run.launch.directory.parent)
            run.fail(f"Failed to create the sandbox: {error}" if isinstance(error, OSError) else str(error))
            return
        await run.live()

    def _prepare(self, run: TaskRun) -> None:
        """Makes the directories and writes the task down."""
        launch = run.launch
        check_names(run.framework_id, run.executor_id, run.task_id)
        launch.directory.mkdir(parents=True, mode=0o700)
        if run.group is None:
            make_run(launch.sandbox)
        else:
            assert launch.group_sandbox is not None
            with contextlib.suppress(FileExistsError):
                make_run(launch.group_sandbox)
            make_child(launch.group_sandbox, launch.container_id, launch.task_id)
        record = {
            "framework": launch.framework,
            "task": launch.task,
            "container_id": launch.container_id,
            "executor": run.executor,
            "group": run.group,
            "started_at": run.started_at,
        }
        write_json(launch.directory.parent / "task.json", record)

    async def _live(self, run: TaskRun, life: Any) -> None:
        sending = asyncio.create_task(run.stream.run())
        try:
            try:
                await life
            except Exception:
                log.exception("the agent has a fault, and gives a task up", task=run.task_id)
                run.fail("The agent failed to run the task; its log says why")
            await sending
            await self._forget(run)
        finally:
            sending.cancel()
            await asyncio.wait([sending])
            if self.runs.get((run.framework_id, run.task_id)) is not run:
                self._lives.pop(run, None)

    async def _forget(self, run: TaskRun) -> None:
        """The framework knows of its end."""
        self.completed.append(Completed(run, run.to_json()))
        self.runs.pop((run.framework_id, run.task_id), None)
        others = (other.executor_id for other in self._of_groups(run.framework_id))
        is_last = run.group is not None and run.executor_id not in others  # now: another may go while files are removed
        await asyncio.to_thread(_erase, run.launch.directory.parent)
        if is_last and self._master:
            self._master.executor_exited(self.id, run.framework_id, run.executor_id, 0)

    def _on_end(self, run: TaskRun) -> None:
        """As Mesos' default executor: when one task of a group ends badly, the others end with it."""
        if run.group and run.state != "TASK_FINISHED":
            for other in self._of_groups(run.framework_id):
                if other.group == run.group:
                    other.kill(KILLED_BY_GROUP)

    def _of_groups(self, framework_id: str) -> list[TaskRun]:
        return [run for run in self.runs.values() if run.group and run.framework_id == framework_id]

    def _send(self, framework_id: str, status: Json) -> None:
        if self._master and framework_id not in self._silenced:
            self._master.status_update(self.id, framework_id, status)

    def _make_run(
        self,
        framework: Json,
        task: Json,
        container_id: str,
        group: str | None,
        executor: Json | None,
        started_at: float | None = None,
    ) -> TaskRun:
        framework_id = framework["id"]["value"]
        task_id = task["task_id"]["value"]
        executor_id = executor["executor_id"]["value"] if group and executor else task_id
        top = self.layout.run(self.id, framework_id, executor_id, group or container_id)
        sandbox = top / "containers" / container_id if group else top
        kind = (task.get("container") or {}).get("type", "MESOS")
        meta = self.layout.meta_of(container_id)
        role = role_of(task, framework)
        launch = Launch(
            agent_id=self.id,
            container_id=container_id,
            framework=framework,
            task=task,
            sandbox=sandbox,
            directory=meta / "runtime",
            environment=self._environment(framework, executor_id, sandbox, role),
            group_sandbox=top if group else None,
        )
        settings = self.settings
        stream = UpdateStream(
            meta / "updates.json",
            lambda status: self._send(framework_id, status),
            first_retry=settings.update_retry,
            longest_retry=settings.update_retry_longest,
            most=settings.pending_updates,
        )
        return TaskRun(
            launch,
            executor_id,
            role,
            self.runtimes[kind],
            self._fetcher,
            stream,
            group=group,
            executor=executor,
            on_end=self._on_end,
            check_settings=CheckSettings(shortest_interval=settings.shortest_check_interval),
            started_at=started_at or time.time(),
        )

    def _load_runs(self) -> Iterator[TaskRun]:
        """The tasks of before the restart. What was being written down when the agent died was never started."""
        for directory in sorted((self.layout.meta / "tasks").glob("*/")):
            record = read_json(directory / "task.json")
            if record is None:
                shutil.rmtree(directory, ignore_errors=True)
                continue
            yield self._make_run(
                record["framework"],
                record["task"],
                record["container_id"],
                record["group"],
                record["executor"],
                record["started_at"],
            )

    def _environment(self, framework: Json, executor_id: str, sandbox: Path, role: str) -> dict[str, str]:
        """What Mesos gives to every task. There is no MESOS_TASK_ID: frameworks set it."""
        inherited = {name: os.environ[name] for name in ("LANG", "LC_ALL", "LC_CTYPE", "TZ") if name in os.environ}
        return {
            "PATH": self.settings.task_path,
            **inherited,
            "LIBPROCESS_IP": self.address.host,
            "MESOS_AGENT_ENDPOINT": f"{self.address.host}:{self.address.port}",
            "MESOS_ALLOCATION_ROLE": role,
            "MESOS_CHECKPOINT": "1",
            "MESOS_CONTAINER_IP": self.address.host,
            "MESOS_DIRECTORY": str(sandbox),
            "MESOS_EXECUTOR_ID": executor_id,
            "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": "5secs",
            "MESOS_FRAMEWORK_ID": framework["id"]["value"],
            "MESOS_HTTP_COMMAND_EXECUTOR": "0",
            "MESOS_RECOVERY_TIMEOUT": "15mins",
            "MESOS_SANDBOX": str(sandbox),
            "MESOS_SLAVE_ID": self.id,
            "MESOS_SLAVE_PID": self.address.pid,
        }

    @staticmethod
    def executor_name(run: TaskRun) -> str:
        """As Mesos names the executors that it makes itself."""
        if run.group:
            return str((run.executor or {}).get("name", ""))
        command = run.launch.command
        shown = (
            f"(Task: {run.task_id})"
            if not command.get("value")
            else f"(Task: {run.task_id}) (Command: sh -c '{command['value']}')"
        )
        return f"Command Executor {shown}"

    async def _remove_leftovers(self) -> None:
        """What an earlier process of this agent made, and had no time to write down or to remove."""
        for runtime in self.runtimes.values():
            try:
                await runtime.remove_leftovers(self.id, self._is_known)
            except Exception as error:
                log.warning("leftovers cannot be removed", error=str(error) or repr(error))

    def _is_known(self, container_id: str) -> bool:
        return any(run.launch.container_id == container_id for run in self.runs.values())

    # --- garbage -----------------------------------------------------------------------------------------------------------------

    async def _sweep_regularly(self) -> None:
        while True:
            try:
                await self.sweep()
            except Exception as error:
                log.warning("old sandboxes cannot be removed", error=str(error) or repr(error))
            await asyncio.sleep(self.settings.sandbox_sweep)

    async def sweep(self) -> int:
        """Removes the sandboxes of tasks that ended long ago. Returns how many."""
        living = [run.launch.group_sandbox or run.launch.sandbox for run in self.runs.values()]
        keep, seconds = self.settings.kept_sandboxes, self.settings.sandbox_keep
        return await asyncio.to_thread(collect_garbage, self.layout.slaves, living, keep=keep, keep_seconds=seconds)


def role_of(task: Json, framework: Json) -> str:
    """The role that the task's resources were offered to."""
    for item in task["resources"]:
        if role := item.get("allocation_info", {}).get("role"):
            return str(role)
    roles = framework.get("roles") or [framework.get("role", "*")]
    return str(roles[0])


def lock_directory(directory: Path) -> IO[str]:
    """One process at a time. Raises OperatorError."""
    directory.mkdir(parents=True, exist_ok=True)
    file = (directory / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise OperatorError(
            f"another embedded Mesos runs with the state of {directory.parent}; stop it, or give this one another state directory"
        ) from None
    return file


def _erase(directory: Path) -> None:
    """What is kept of a task. task.json goes first: half of the rest would make another task of it after a crash."""
    with contextlib.suppress(OSError):
        (directory / "task.json").unlink()
    shutil.rmtree(directory, ignore_errors=True)


def _delete_volume(place: Path) -> None:
    """What cannot be deleted is told: somebody thinks that it is gone."""

    def told(_: object, path: str, problem: tuple[type[BaseException], BaseException, object]) -> None:
        if not isinstance(problem[1], FileNotFoundError):
            log.warning("a persistent volume is left behind", path=path, error=str(problem[1]))

    shutil.rmtree(place, onerror=told)


def _with_soft_limits(statistics: Json) -> Json:
    """What a task was promised is a limit under one name to older tools, a soft one under another to those of Mesos 1.11."""
    names = {"cpus_soft_limit": "cpus_limit", "mem_soft_limit_bytes": "mem_limit_bytes"}
    return statistics | {soft: statistics[name] for soft, name in names.items() if name in statistics}
