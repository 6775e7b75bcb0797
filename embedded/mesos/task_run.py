"""One task's life on the agent: fetched, started, watched, checked, ended; each step told by a status update."""

import asyncio
import base64
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daemonkit.backoff import Backoff
from daemonkit.logs import get_logger
from embedded.mesos.checks import CheckSettings, kind_of, watch_check, watch_health
from embedded.mesos.durable import read_json, write_json
from embedded.mesos.fetcher import Fetcher, FetchError
from embedded.mesos.records import Task
from embedded.mesos.runtimes.base import Container, Ended, Launch, LaunchError, Runtime
from embedded.mesos.updates import UpdateStream

log = get_logger(__name__)
Json = dict[str, Any]

KILLED_BY_FRAMEWORK = "framework"
KILLED_BY_HEALTH = "health"
KILLED_BY_TIME = "time"
KILLED_BY_GROUP = "group"


@dataclass(eq=False)
class TaskRun:
    """`live` runs until the task has ended; `stream.run` until the framework knows so."""

    launch: Launch
    executor_id: str
    role: str
    runtime: Runtime
    fetcher: Fetcher
    stream: UpdateStream
    group: str | None = None  # the container id of its task group
    executor: Json | None = None  # ExecutorInfo of the group
    on_end: Callable[["TaskRun"], None] = lambda run: None
    check_settings: CheckSettings = field(default_factory=CheckSettings)
    container: Container | None = None
    started_at: float = field(default_factory=time.time)
    _starting: "asyncio.Task[Container | None] | None" = None
    _recovering: bool = False
    _launching: bool = False  # from here on there may be a container: what was begun is brought to its end
    _watches: set["asyncio.Task[None]"] = field(default_factory=set)
    _kill_reason: str | None = None
    _kill_by: float | None = None  # epoch seconds: when SIGKILL follows
    _healthy: bool | None = None
    _check_status: Json | None = None

    @property
    def framework_id(self) -> str:
        return str(self.launch.framework["id"]["value"])

    @property
    def task_id(self) -> str:
        return self.launch.task_id

    @property
    def state(self) -> str:
        latest = self.stream.queue.latest
        return latest["state"] if latest else "TASK_STAGING"

    @property
    def ended(self) -> bool:
        return self.stream.queue.ended

    def to_json(self) -> Json:
        """The v1 Task, as an agent tells a master of it when it registers."""
        return self.as_task().to_json()

    def as_task(self) -> Task:
        queue = self.stream.queue
        executor = self.executor_id if self.group else None
        task = Task.launched(self.launch.task, self.framework_id, self.role, executor)
        task.state = self.state
        task.statuses = [{name: value for name, value in status.items() if name != "data"} for status in queue.history]
        if queue.passed_on:
            task.update_state, task.update_uuid = queue.passed_on["state"], queue.passed_on["uuid"]
        return task

    # --- its life -----------------------------------------------------------------------------------------------------------------

    async def live(self) -> None:
        """From the launch to the end. Never raises, but for its cancellation."""
        await self._until_ended(self._start())

    async def live_on(self) -> None:
        """As `live`, for a task that was launched before the agent's restart."""
        if self.ended:
            await self._clean_up(await self._find_again())
            return
        self._recover_intent()
        self._recovering = True
        await self._until_ended(self._find_again())

    async def _find_again(self) -> Container | None:
        """What became of the task is known to its runtime alone: one that does not answer is waited for."""
        waits = Backoff(most=10.0)
        while True:
            try:
                return await self.runtime.recover(self.launch)
            except LaunchError as error:
                delay = waits.next()
                log.warning(
                    "a task cannot be looked for", task=self.task_id, error=str(error), retry_in=round(delay, 1)
                )
                await asyncio.sleep(delay)

    async def _until_ended(self, start: Coroutine[Any, Any, Container | None]) -> None:
        self._starting = asyncio.create_task(self._guarded(start))
        try:
            await asyncio.wait([self._starting])
        finally:
            if not self._starting.done() and not self._launching:
                self._starting.cancel()
                await asyncio.wait([self._starting])
        if self._starting.cancelled():
            self._end_killed_at_launch()
        elif error := self._starting.exception():
            assert isinstance(error, LaunchError)
            if self._kill_reason:
                self._end_killed_at_launch()
            else:
                self._end("TASK_FAILED", str(error), error.reason, source="SOURCE_AGENT")
        elif container := self._starting.result():
            self.container = container
            await self._watch(container)
            await self._clean_up(container)
        else:
            self._end_lost()

    async def _guarded(self, start: Coroutine[Any, Any, Container | None]) -> Container | None:
        try:
            return await start
        except LaunchError:
            raise
        except Exception as error:
            log.exception("a task cannot be launched", task=self.task_id)
            raise LaunchError(f"Failed to launch container: {error or type(error).__name__}") from None

    async def _start(self) -> Container:
        try:
            user = self.runtime.fetches_as(self.launch)
            await self.fetcher.fetch(self.launch.command.get("uris", []), self.launch.sandbox, user)
        except FetchError as error:
            raise LaunchError(f"Failed to fetch all URIs for container '{self.launch.container_id}': {error}") from None
        await self.runtime.prepare(self.launch)
        self._update("TASK_STARTING")
        self._launching = True
        return await self.runtime.launch(self.launch)

    async def _watch(self, container: Container) -> None:
        if self._kill_reason:
            await self._kill_container(container)
        else:
            if self.state != "TASK_RUNNING":
                self._check_status = _empty_check_status(self.launch.task.get("check"))
                self._update("TASK_RUNNING", data=container.data)
            self._start_watches(container)
        try:
            ended = await container.wait()
        finally:
            self._stop_watches()
        self._end_with(ended)

    async def _clean_up(self, container: Container | None) -> None:
        await self._watches_ended()
        try:
            if container:
                await container.destroy()
        except Exception as error:
            log.warning(
                "something of an ended task cannot be removed", task=self.task_id, error=str(error) or repr(error)
            )

    def _start_watches(self, container: Container) -> None:
        task = self.launch.task
        if health := task.get("health_check"):
            self._begin(watch_health(health, container, self._on_health, self.check_settings))
        if check := task.get("check"):
            self._begin(watch_check(check, container, self._on_check, self.check_settings))
        if limit := task.get("max_completion_time"):
            left = self.started_at + limit["nanoseconds"] / 1e9 - time.time()
            self._begin(self._kill_after(left))

    def _begin(self, watching: Coroutine[Any, Any, None]) -> None:
        watch = asyncio.create_task(watching)
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)

    def _stop_watches(self) -> None:
        """Each is cancelled once: it may have a command of a check to end."""
        for watch in self._watches:
            if not watch.cancelling():
                watch.cancel()

    async def _watches_ended(self) -> None:
        self._stop_watches()
        if self._watches:
            await asyncio.wait(self._watches)

    async def _kill_after(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))
        self.kill(KILLED_BY_TIME, {"grace_period": {"nanoseconds": 0}})

    def _on_health(self, healthy: bool, kill: bool) -> None:
        self._healthy = healthy
        self._update("TASK_RUNNING", reason="REASON_TASK_HEALTH_CHECK_STATUS_UPDATED")
        if kill:
            self.kill(KILLED_BY_HEALTH)

    def _on_check(self, status: Json) -> None:
        self._check_status = status
        self._update("TASK_RUNNING", reason="REASON_TASK_CHECK_STATUS_UPDATED")

    # --- its end ------------------------------------------------------------------------------------------------------------------

    def kill(self, why: str = KILLED_BY_FRAMEWORK, policy: Json | None = None) -> None:
        """Ends the task. The kill policy of the call goes before the task's own; a later call can only shorten the time."""
        if self.ended:
            return
        by = time.time() + self._grace(policy)
        if self._kill_reason is None:
            self._kill_reason = why
        self._kill_by = by if self._kill_by is None else min(by, self._kill_by)
        self._remember_intent()
        asyncio.get_running_loop().call_soon(self._stop_watches)  # not now: one of them may be the caller
        if self.container:
            in_background(self._kill_container(self.container))
        elif self._starting and not self._launching and not self._recovering:
            self._starting.cancel()

    async def _kill_container(self, container: Container) -> None:
        assert self._kill_by is not None
        aware = {"type": "TASK_KILLING_STATE"} in self.launch.framework.get("capabilities", [])
        if aware and self.state != "TASK_KILLING" and not self.ended:
            self._update("TASK_KILLING")
        await container.kill(max(0.0, self._kill_by - time.time()))

    def _grace(self, policy: Json | None) -> float:
        """Seconds."""
        policy = policy or self.launch.task.get("kill_policy") or {}
        if "grace_period" in policy:
            return max(0.0, float(policy["grace_period"]["nanoseconds"]) / 1e9)
        return self.runtime.default_grace

    def _remember_intent(self) -> None:
        """After a restart too, what was killed is to end as TASK_KILLED."""
        try:
            write_json(self._intent, {"why": self._kill_reason, "by": self._kill_by}, durable=False)
        except OSError as error:
            log.warning("a kill cannot be written down", task=self.task_id, error=str(error))

    def _recover_intent(self) -> None:
        intent = read_json(self._intent) or {}
        self._kill_reason, self._kill_by = intent.get("why"), intent.get("by")
        latest = self.stream.queue.latest or {}
        self._healthy, self._check_status = latest.get("healthy"), latest.get("check_status")

    @property
    def _intent(self) -> Path:
        return self.launch.directory.parent / "kill.json"

    def _end_with(self, ended: Ended) -> None:
        if ended.limitation:
            self._end("TASK_FAILED", ended.message, ended.reason, limitation=ended.limitation)
        elif self._kill_reason == KILLED_BY_TIME:
            self._end("TASK_FAILED", "Task exceeded its max completion time", "REASON_MAX_COMPLETION_TIME_REACHED")
        elif self._kill_reason:
            self._end("TASK_KILLED", ended.message)
        elif ended.reason:
            self._end("TASK_FAILED", ended.message, ended.reason, source="SOURCE_AGENT")
        else:
            self._end("TASK_FINISHED" if ended.succeeded else "TASK_FAILED", ended.message)

    def fail(self, message: str) -> None:
        """It could not even be begun."""
        self._end("TASK_FAILED", message, "REASON_CONTAINER_LAUNCH_FAILED", source="SOURCE_AGENT")

    def _end_killed_at_launch(self) -> None:
        self._end(
            "TASK_KILLED",
            "Killed before the task was started",
            "REASON_TASK_KILLED_DURING_LAUNCH",
            source="SOURCE_AGENT",
        )

    def _end_lost(self) -> None:
        if self._kill_reason:
            self._end_killed_at_launch()
            return
        aware = {"type": "PARTITION_AWARE"} in self.launch.framework.get("capabilities", [])
        state = "TASK_DROPPED" if aware else "TASK_LOST"
        self._end(
            state,
            "The agent was restarted before the task was started",
            "REASON_AGENT_RESTARTED",
            source="SOURCE_AGENT",
        )

    def _end(
        self, state: str, message: str, reason: str | None = None, *, source: str = "SOURCE_EXECUTOR", **more: Any
    ) -> None:
        self._healthy = False if self._kill_reason == KILLED_BY_HEALTH else None
        self._check_status = None
        self._update(state, message, reason, source=source, **more)
        self.on_end(self)

    def _update(
        self, state: str, message: str = "", reason: str | None = None, *, source: str = "SOURCE_EXECUTOR", **more: Any
    ) -> None:
        container_status = {"container_id": self._container_id(), **(self.container.status if self.container else {})}
        status: Json = {
            "task_id": {"value": self.task_id},
            "agent_id": {"value": self.launch.agent_id},
            "executor_id": {"value": self.executor_id},
            "state": state,
            "source": source,
            "timestamp": time.time(),
            "uuid": base64.b64encode(uuid.uuid4().bytes).decode(),
            "container_status": container_status,
            **{name: value for name, value in more.items() if value is not None},
        }
        if message:
            status["message"] = message
        if reason:
            status["reason"] = reason
        if self._healthy is not None:
            status["healthy"] = self._healthy
        if self._check_status is not None:
            status["check_status"] = self._check_status
        self.stream.put(status)

    def _container_id(self) -> Json:
        return {"value": self.launch.container_id, **({"parent": {"value": self.group}} if self.group else {})}

    async def destroy(self) -> None:
        """Ends it at once and removes what its runtime made."""
        await self._watches_ended()
        container = await self._launched() or await self.runtime.recover(self.launch)
        if container:
            await container.destroy()

    async def abandon(self) -> None:
        """Lets go of it, so that it runs on and is found after a restart; a launch that has begun comes to its end."""
        await self._watches_ended()
        if container := await self._launched():
            container.abandon()

    async def _launched(self) -> Container | None:
        """Its container, as far as this agent has come to know of one; a launch that has begun comes to its end first."""
        if self._launching and self._starting:
            await asyncio.wait([self._starting])
        starting = self._starting
        if starting and starting.done() and not starting.cancelled() and not starting.exception():
            self.container = starting.result()
        return self.container


def _empty_check_status(check: Json | None) -> Json | None:
    return {"type": kind_of(check), kind_of(check).lower(): {}} if check else None


_background: set["asyncio.Future[None]"] = set()


def in_background(work: Coroutine[Any, Any, None]) -> None:
    """Runs `work` without anyone waiting for it. The loop itself holds its tasks but weakly."""
    task = asyncio.ensure_future(work)
    _background.add(task)
    task.add_done_callback(_background.discard)
