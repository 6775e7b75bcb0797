"""Ending instances: drained first where somebody may still talk to them, a bounded number at a time, again until they are gone."""

from collections import Counter, deque

from framework.engine.actions import Kill, StopProbing, WatchDrain
from framework.engine.core import Core
from framework.model.app import App
from framework.model.instance import Condition, Goal, Instance
from framework.model.run_spec import RunSpec
from framework.model.values import replace

DRAINED = "drained"
RETRY = "kill"
MORE = "more kills"
DRAIN_LABEL = "DROMOS_DRAIN_SECONDS"
DRAIN_UNTIL_LABEL = "DROMOS_DRAIN_UNTIL"
DRAIN_UNTIL = ("time", "idle")


class Killer:
    def __init__(self, core: Core) -> None:
        self._core = core
        self._queue: deque[str] = deque()
        self._in_flight: set[str] = set()
        self._attempts: Counter[str] = Counter()  # kills sent to each that is to end

    def kill(self, instance: Instance, reason: str, *, drain: bool = True, wipe: bool = False) -> None:
        """Decides that an instance ends. With `drain`, it is told first and killed after its drain time."""
        core = self._core
        if instance.parked:
            if wipe:
                core.send_away(instance, f"wiped: {reason}")
            return
        if instance.leaving:
            if wipe and not instance.wipe:
                core.put(replace(instance, goal=Goal.DECOMMISSIONED, wipe=True), "to be wiped")
            if not drain and instance.draining_since is not None:
                self._to_queue(instance)
            return
        stays = core.residents.stays(replace(instance, wipe=wipe))
        if instance.condition in (Condition.UNREACHABLE, Condition.UNREACHABLE_INACTIVE) and not stays:
            # Nobody can reach it. Should it come back, it is a task that is not wanted.
            core.send_away(instance, f"given up while unreachable: {reason}")
            return
        seconds = self.drain_seconds(core.ledger.spec_of(instance)) if drain and instance.running else 0.0
        leaving = replace(
            instance,
            goal=Goal.STOPPED if stays else Goal.DECOMMISSIONED,
            kill_reason=reason,
            wipe=wipe,
            draining_since=core.now if seconds else None,
        )
        core.put(leaving, f"to be killed: {reason}")
        core.act(StopProbing(instance.id))
        if seconds:
            self._await_drained(leaving, seconds)
            core.announce(
                "instance_draining_event",
                instanceId=instance.id,
                runSpecId=instance.spec_id,
                agentId=instance.agent.id,
                host=instance.agent.host,
                runSpecVersion=instance.spec_version,
                taskIds=[task.id for task in instance.tasks],
                drainSeconds=seconds,
            )
        else:
            self._to_queue(leaving)

    def drain_seconds(self, spec: RunSpec | None) -> float:
        """Label DROMOS_DRAIN_SECONDS where it is a number; else the default, for specs that have ports."""
        if spec is None:
            return 0.0
        settings = self._core.settings
        given = spec.labels.get(DRAIN_LABEL, "")
        try:
            return min(max(0.0, float(given)), settings.max_drain_seconds)
        except ValueError:
            has_ports = bool(spec.ports) if isinstance(spec, App) else any(c.endpoints for c in spec.containers)
            return settings.drain_seconds if has_ports else 0.0

    def adopt(self, instance: Instance) -> None:
        """After a start: goes on with a kill that was decided before."""
        if instance.draining_since is not None:
            spec = self._core.ledger.spec_of(instance)
            self._await_drained(instance, instance.draining_since + self.drain_seconds(spec) - self._core.now)
        else:
            self._to_queue(instance)

    def _await_drained(self, instance: Instance, seconds: float) -> None:
        """For so long, or until nobody talks to it any more, where that is asked for."""
        core, spec = self._core, self._core.ledger.spec_of(instance)
        core.timers.set(DRAINED, instance.id, core.now + seconds)
        if spec is not None and seconds > 0 and self._until(spec) == "idle":
            core.act(WatchDrain(instance, spec, seconds))

    def _until(self, spec: RunSpec) -> str:
        given = spec.labels.get(DRAIN_UNTIL_LABEL)
        return given if given in DRAIN_UNTIL else self._core.settings.drain_until

    def drained(self, instance_id: str) -> None:
        """Its time is over, or nobody talks to it any more."""
        instance = self._core.ledger.instances.get(instance_id)
        if instance is not None and instance.leaving:
            self._to_queue(instance)

    def again(self, instance_id: str) -> None:
        """The kill has not shown any effect for a while."""
        if instance_id in self._in_flight:
            self._in_flight.discard(instance_id)
            self._queue.append(instance_id)

    def subscribed(self) -> None:
        """What was on its way to the master when the connection broke may never have arrived."""
        self._queue.extendleft(sorted(self._in_flight, reverse=True))
        self._in_flight.clear()

    def gone(self, instance_id: str) -> None:
        self._in_flight.discard(instance_id)
        self._attempts.pop(instance_id, None)
        self._core.timers.cancel(RETRY, instance_id)
        self._core.timers.cancel(DRAINED, instance_id)

    def clear(self) -> None:
        self._queue.clear()
        self._in_flight.clear()
        self._attempts.clear()

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    @property
    def attempts(self) -> int:
        """Kills sent to those that have not ended yet."""
        return self._attempts.total()

    def settle(self) -> None:
        """At the end of a batch: sends as many kills as may be in flight, a bounded number in one batch."""
        core = self._core
        if not self._queue or not core.connected:
            return
        room = core.settings.kills_in_flight - len(self._in_flight)
        if min(room, len(self._queue)) > core.settings.kills_in_batch:
            core.timers.set(MORE, "", core.now)
        most = len(self._in_flight) + min(room, core.settings.kills_in_batch)
        while self._queue and len(self._in_flight) < most:
            instance = core.ledger.instances.get(self._queue.popleft())
            if instance is None or not instance.leaving or instance.id in self._in_flight:
                continue
            if instance.condition is not Condition.KILLING or instance.draining_since is not None:
                killing = replace(instance, condition=Condition.KILLING, draining_since=None, since=core.now)
                core.put(killing, "kill sent")
            grace = self._grace(instance)
            for task in instance.tasks:
                core.act(Kill(task.id, instance.agent.id, grace))
            self._in_flight.add(instance.id)
            self._attempts[instance.id] += 1
            core.timers.set(RETRY, instance.id, core.now + core.settings.kill_retry + (grace or 0.0))

    def _to_queue(self, instance: Instance) -> None:
        self._core.timers.cancel(DRAINED, instance.id)
        if instance.id not in self._in_flight:
            self._queue.append(instance.id)

    def _grace(self, instance: Instance) -> float | None:
        spec = self._core.ledger.spec_of(instance)
        return spec.task_kill_grace_period_seconds if isinstance(spec, App) else None
