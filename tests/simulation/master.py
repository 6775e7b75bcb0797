"""A simulated Mesos: master and agents as the framework meets them, with the ways in which they fail.

It also watches: what the framework must never do to it is a violation.
"""

from dataclasses import dataclass, field
from typing import Protocol

from framework.decide.instance_state import TaskStatus
from framework.engine.actions import Launch
from framework.model.instance import Agent
from framework.model.offer import Offer, Pool
from tests.simulation.world import World

ALLOCATION = 1.0
UPDATE_RETRY = 10.0
UNREACHABLE_AFTER = 75.0
REREGISTER = 8.0


@dataclass
class SimTask:
    id: str
    agent_id: str
    cpus: int
    mem: int
    ports: tuple[int, ...]
    state: str = "TASK_STAGING"
    alive: bool = True
    healthy: bool = True
    updates: list[tuple[str, str, str | None]] = field(
        default_factory=list
    )  # (uuid, state, reason), oldest unacknowledged first


@dataclass
class SimAgent:
    id: str
    host: str
    rack: str
    cpus: int
    mem: int
    ports: tuple[int, int]
    up: bool = True  # its tasks run
    connected: bool = True  # the master hears it
    lost_at: float | None = None
    unreachable: bool = False  # the master has given it up
    given_up_at: float | None = None
    known: bool = True  # the present master has heard of it
    tasks: dict[str, SimTask] = field(default_factory=dict)


class Listener(Protocol):
    """Who is subscribed."""

    def hear(self, stream: int, message: tuple[str, object]) -> None: ...

    def closed(self, why: str) -> None: ...

    def failed_over(self) -> None: ...


class SimMaster:
    def __init__(self, world: World, agents: int) -> None:
        self.world = world
        self.agents: dict[str, SimAgent] = {}
        self.framework_id: str | None = None
        self.stream = 0  # of the present subscription; 0 while nobody is subscribed
        self._listener: Listener | None = None
        self._allocating = False
        self._tasks: dict[str, SimTask] = {}
        self.suppressed = False
        self._refused: dict[str, float] = {}  # agent id -> until
        self._offers: dict[str, tuple[str, int, int, list[int]]] = {}
        self.launched: set[str] = set()
        self._numbers = 0
        for _ in range(agents):
            self.add_agent()

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def add_agent(self) -> SimAgent:
        number = self._number()
        agent = SimAgent(
            f"S{number}", f"host{number}", "ab"[number % 2], cpus=4000, mem=4_000_000, ports=(31000, 31011)
        )
        self.agents[agent.id] = agent
        return agent

    # --- the framework's connection

    def subscribe(self, listener: "Listener", framework_id: str | None) -> tuple[str, int]:
        """The framework's id, and the stream that its calls have to name. A subscription from before is closed."""
        if framework_id is None:
            if self.framework_id is not None and self.launched:
                raise self.world.violated("the framework registered afresh and orphaned its tasks")
            framework_id = f"framework-{self._number()}"
        before, self._listener = self._listener, listener
        self.framework_id = framework_id
        self.stream = self._number()
        self.suppressed = False
        self._refused.clear()
        self._offers.clear()
        if before is not None and before is not listener:
            before.failed_over()
        self._allocate_soon()
        return framework_id, self.stream

    def unsubscribe(self, stream: int) -> None:
        if stream == self.stream:
            self.stream, self._listener = 0, None
            self._offers.clear()

    def call(self, stream: int, name: str, arguments: tuple[object, ...]) -> bool:
        """False: the call was refused, as it does not belong to the present subscription."""
        if not stream or stream != self.stream:
            return False
        getattr(self, name)(*arguments)
        return True

    def _tell(self, message: tuple[str, object]) -> None:
        if self._listener is not None:
            self._listener.hear(self.stream, message)

    # --- offers

    def _allocate_soon(self) -> None:
        if not self._allocating:
            self._allocating = True
            self.world.after(ALLOCATION, self._allocate)

    def _allocate(self) -> None:
        self._allocating = False
        if not self.stream or self.suppressed:
            return
        self._allocate_soon()
        offered = {offer[0] for offer in self._offers.values()}
        offers = []
        for agent in self.agents.values():
            if agent.id in offered or not agent.up or not agent.connected or not agent.known or agent.unreachable:
                continue
            if self._refused.get(agent.id, 0) > self.world.now:
                continue
            cpus, mem, ports = self._free(agent)
            if cpus < 10 or mem < 1000:
                continue
            offer_id = f"O{self._number()}"
            self._offers[offer_id] = (agent.id, cpus, mem, ports)
            offers.append(
                Offer(
                    offer_id,
                    Agent(agent.id, agent.host, (("rack", agent.rack),)),
                    "*",
                    (Pool(cpus=cpus, mem=mem, ports=_ranges(ports)),),
                )
            )
        if offers:
            self._tell(("offers", tuple(offers)))

    def _free(self, agent: SimAgent) -> tuple[int, int, list[int]]:
        live = [task for task in agent.tasks.values() if task.alive]
        used = {port for task in live for port in task.ports}
        ports = [port for port in range(agent.ports[0], agent.ports[1] + 1) if port not in used]
        return agent.cpus - sum(t.cpus for t in live), agent.mem - sum(t.mem for t in live), ports

    def _rescind(self, agent_id: str) -> None:
        for offer_id in [offer_id for offer_id, offer in self._offers.items() if offer[0] == agent_id]:
            del self._offers[offer_id]
            self._tell(("rescind", offer_id))

    # --- calls

    def accept(self, offer_id: str, launches: tuple[Launch, ...], refuse: float) -> None:
        known = self._offers.pop(offer_id, None)
        for launch in launches:
            task = launch.instance.tasks[0]
            if task.id in self.launched:
                raise self.world.violated(f"task {task.id} is launched twice")
            self.launched.add(task.id)
            if known is None:
                self._say(TaskStatus(task.id, "TASK_DROPPED", launch.instance.agent.id, "REASON_INVALID_OFFERS"))
                continue
            agent_id, cpus, mem, ports = known
            agent = self.agents[agent_id]
            need_cpus = sum(take.cpus for take in launch.takes)
            need_mem = sum(take.mem for take in launch.takes)
            if need_cpus > cpus or need_mem > mem or not set(task.host_ports) <= set(ports):
                raise self.world.violated(f"{task.id} takes more of {offer_id} than it holds")
            known = (agent_id, cpus - need_cpus, mem - need_mem, [p for p in ports if p not in task.host_ports])
            sim = SimTask(task.id, agent_id, need_cpus, need_mem, task.host_ports)
            if not agent.up or not agent.connected:
                self._say(TaskStatus(task.id, "TASK_DROPPED", agent_id, "REASON_AGENT_DISCONNECTED"))
                continue
            agent.tasks[task.id] = self._tasks[task.id] = sim
            self.world.after(self.world.between(0.05, 3.0), lambda sim=sim: self._start(sim))  # type: ignore[misc]
        if known is not None:
            self._refused[known[0]] = self.world.now + refuse

    def decline(self, offer_ids: tuple[str, ...], refuse: float) -> None:
        for offer_id in offer_ids:
            offer = self._offers.pop(offer_id, None)
            if offer is not None:
                self._refused[offer[0]] = self.world.now + refuse

    def revive(self) -> None:
        self.suppressed = False
        self._refused.clear()
        self._allocate_soon()

    def suppress(self) -> None:
        self.suppressed = True

    def acknowledge(self, task_id: str, uuid: str) -> None:
        task = self.task(task_id)
        if task is not None and task.updates and task.updates[0][0] == uuid:
            task.updates.pop(0)
            if task.updates:
                self._send_update(task)
            elif not task.alive:
                del self.agents[task.agent_id].tasks[task.id], self._tasks[task.id]

    def kill(self, task_id: str) -> None:
        task = self.task(task_id)
        if task is None or not self._answers_for(task):
            if task is None:
                self._unknown(task_id, None)
            return
        agent = self.agents[task.agent_id]
        if agent.connected and agent.up and task.alive:
            self.world.after(self.world.between(0.05, 4.0), lambda: self.end(task, "TASK_KILLED", None))

    def reconcile(self, tasks: tuple[tuple[str, str | None], ...]) -> None:
        if not tasks:
            for agent in self.agents.values():
                for task in list(agent.tasks.values()):
                    if self._answers_for(task):
                        self._say(TaskStatus(task.id, task.state, agent.id, "REASON_RECONCILIATION"))
            return
        for task_id, agent_id in tasks:
            found = self.task(task_id)
            agent = self.agents.get(agent_id or "")
            if agent is not None and not agent.known:
                continue  # it may yet come back: silence
            if agent is not None and agent.unreachable:
                self._say(TaskStatus(task_id, "TASK_UNREACHABLE", agent_id, "REASON_RECONCILIATION"))
            elif found is not None:
                self._say(TaskStatus(task_id, found.state, found.agent_id, "REASON_RECONCILIATION"))
            else:
                self._unknown(task_id, agent_id)

    def _unknown(self, task_id: str, agent_id: str | None) -> None:
        state = "TASK_GONE" if agent_id in self.agents else "TASK_UNKNOWN"
        self._say(TaskStatus(task_id, state, agent_id, "REASON_RECONCILIATION"))

    def _answers_for(self, task: SimTask) -> bool:
        agent = self.agents[task.agent_id]
        return agent.known and not agent.unreachable

    # --- tasks

    def task(self, task_id: str) -> SimTask | None:
        return self._tasks.get(task_id)

    def live_tasks(self) -> list[SimTask]:
        return [task for agent in self.agents.values() if agent.up for task in agent.tasks.values() if task.alive]

    def _start(self, task: SimTask) -> None:
        if task.alive and self.agents[task.agent_id].up:
            self._update(task, "TASK_STARTING")
            self._update(task, "TASK_RUNNING")

    def end(self, task: SimTask, state: str, reason: str | None) -> None:
        if task.alive and self.agents[task.agent_id].up:
            task.alive = False
            self._update(task, state, reason)

    def _update(self, task: SimTask, state: str, reason: str | None = None) -> None:
        task.state = state
        task.updates.append((f"U{self._number()}", state, reason))
        if len(task.updates) == 1:
            self._send_update(task)

    def _send_update(self, task: SimTask) -> None:
        """Until it is acknowledged."""
        if not task.updates:
            return
        uuid, state, reason = task.updates[0]
        agent = self.agents[task.agent_id]
        if agent.connected and agent.up and agent.known and not agent.unreachable:
            self._say(TaskStatus(task.id, state, task.agent_id, reason, uuid=uuid, timestamp=self.world.now))

        def again() -> None:
            if task.updates and task.updates[0][0] == uuid:
                self._send_update(task)

        self.world.after(UPDATE_RETRY, again)

    def _say(self, status: TaskStatus) -> None:
        self.world.note(f"  master: {status.task_id} {status.state} {status.reason}")
        self._tell(("status", status))

    # --- faults

    def partition(self, agent: SimAgent) -> None:
        """The master and the agent do not hear each other."""
        self.world.note(f"agent {agent.id} is cut off")
        agent.connected, agent.lost_at = False, self.world.now
        self._rescind(agent.id)
        lost_at = self.world.now

        def give_up() -> None:
            if not agent.connected and agent.lost_at == lost_at:
                self.world.note(f"agent {agent.id} is unreachable")
                agent.unreachable = agent.known = True
                agent.given_up_at = self.world.now
                for task in agent.tasks.values():
                    self._say(
                        TaskStatus(task.id, "TASK_UNREACHABLE", agent.id, "REASON_AGENT_REMOVED", timestamp=lost_at)
                    )

        self.world.after(UNREACHABLE_AFTER, give_up)

    def heal(self, agent: SimAgent) -> None:
        if agent.connected or not agent.up:
            return
        self.world.note(f"agent {agent.id} is back")
        came_back, agent.unreachable, agent.connected = agent.unreachable, False, True
        agent.known, agent.lost_at = True, None
        for task in list(agent.tasks.values()):
            if came_back:
                self._say(TaskStatus(task.id, task.state, agent.id, "REASON_AGENT_REREGISTERED"))
            self._send_update(task)

    def lose(self, agent: SimAgent) -> None:
        """The machine is gone for good; another takes its place."""
        if not agent.up:
            return
        self.world.note(f"agent {agent.id} dies")
        if agent.connected:
            self.partition(agent)
        agent.up = False
        self.add_agent()

    def fail_over(self) -> None:
        """Another master: it knows the framework by its subscription and the agents when they have come to it."""
        self.world.note("the master fails over")
        listener = self._listener
        self.unsubscribe(self.stream)
        if listener is not None:
            listener.closed("master failover")
        for agent in self.agents.values():
            if not agent.unreachable and agent.up:
                agent.known = False
                if agent.connected:
                    delay = self.world.between(0.5, REREGISTER)
                    self.world.after(delay, lambda agent=agent: self._reregister(agent))  # type: ignore[misc]

    def _reregister(self, agent: SimAgent) -> None:
        if agent.connected and agent.up and not agent.known:
            agent.known = True
            for task in agent.tasks.values():
                self._send_update(task)


def _ranges(ports: list[int]) -> tuple[tuple[int, int], ...]:
    """Sorted numbers as ranges, as a master offers them."""
    found: list[tuple[int, int]] = []
    for port in ports:
        if found and port == found[-1][1] + 1:
            found[-1] = (found[-1][0], port)
        else:
            found.append((port, port))
    return tuple(found)
