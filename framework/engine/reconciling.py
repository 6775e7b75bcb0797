"""What we believe of tasks is compared with what the master says: at every subscription, every ten minutes, and until it has answered.

Silence is no answer: right after a failover the master keeps silent about agents that have not come back to it yet.
"""

from framework.decide.instance_state import TaskStatus
from framework.engine.actions import Kill, Reconcile
from framework.engine.core import Core, spec_id_of_task

REPEAT = "reconcile"
PERIOD = "reconcile all"


class Reconciler:
    def __init__(self, core: Core) -> None:
        self._core = core
        self._open: set[str] = set()  # tasks that the master has not said anything about since it was asked
        self._wait = core.settings.reconcile_first
        self._done = False  # every known task was answered for, so that a task that is not known is not wanted
        self.strangers_killed = 0

    @property
    def open(self) -> int:
        return len(self._open)

    def subscribed(self) -> None:
        self._done = False
        self._begin()

    def disconnected(self) -> None:
        self._done = False
        self._open.clear()
        for what in (REPEAT, PERIOD):
            self._core.timers.cancel(what, "")

    def _begin(self) -> None:
        core = self._core
        live = [instance for instance in core.ledger.instances.values() if not instance.parked]
        self._open = {task.id for instance in live for task in instance.tasks}
        self._wait = core.settings.reconcile_first
        core.timers.set(PERIOD, "", core.now + core.settings.reconcile_interval)
        if self._open:
            self._ask()
        else:
            self._finish()

    def _ask(self) -> None:
        core = self._core
        tasks: list[tuple[str, str | None]] = []
        for task_id in sorted(self._open):
            instance = core.ledger.instance_of_task(task_id)
            if instance is not None:
                # With the agent's id: the master knows an unreachable task only by both.
                tasks.append((task_id, instance.agent.id))
        self._open = {task_id for task_id, _ in tasks}
        for start in range(0, len(tasks), core.settings.reconcile_chunk):
            core.act(Reconcile(tuple(tasks[start : start + core.settings.reconcile_chunk])))
        core.timers.set(REPEAT, "", core.now + self._wait)
        self._wait = min(self._wait * 2, core.settings.reconcile_repeat)

    def repeat(self) -> None:
        if self._core.connected and self._open:
            self._ask()
            if not self._open:
                self._finish()

    def period(self) -> None:
        if self._core.connected:
            self._begin()

    def _finish(self) -> None:
        """All that is known is answered for; now the master may tell of tasks that are not known."""
        self._core.timers.cancel(REPEAT, "")
        self._done = True
        self._core.act(Reconcile())

    def answered(self, task_id: str) -> None:
        if task_id in self._open:
            self._open.discard(task_id)
            if not self._open:
                self._finish()

    def ask_about(self, instance_id: str) -> None:
        """Whether a launch arrived is not known."""
        instance = self._core.ledger.instances.get(instance_id)
        if instance is not None and self._core.connected:
            self._core.act(Reconcile(tuple((task.id, instance.agent.id) for task in instance.tasks)))

    def stranger(self, status: TaskStatus, *, terminal: bool) -> None:
        """A status of a task that no instance has. Every task is durable before its launch, so it is one that was given up; but it
        is killed only once the master has answered for all that are known."""
        core = self._core
        if terminal:
            core.announce(
                "unknown_instance_terminated_event",
                instanceId=status.task_id.rpartition(".")[0].rpartition(".")[0] or status.task_id,
                runSpecId=spec_id_of_task(status.task_id) or "",
                condition=status.state.removeprefix("TASK_").capitalize(),
            )
            return
        if status.state in ("TASK_KILLING", "TASK_UNREACHABLE") or not self._done:
            return
        core.warn("a task runs that is not wanted, it is killed", task=status.task_id, agent=status.agent_id)
        self.strangers_killed += 1
        core.act(Kill(status.task_id, status.agent_id))
