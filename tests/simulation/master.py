"""A simulated Mesos: master and agents as the framework meets them, with the ways in which they fail.

It also watches: what the framework must never do to it is a violation. Offers are made for one role; what is reserved for an instance
with persistent volumes is offered to its role again when its task has ended.
"""

from dataclasses import dataclass, field
from typing import Protocol

from framework.decide.instance_state import TaskStatus
from framework.engine.actions import Launch
from framework.engine.events import InverseOffer
from framework.model.instance import Agent
from framework.model.offer import Offer, Pool
from tests.simulation.world import World

ALLOCATION = 1.0
UPDATE_RETRY = 10.0
UNREACHABLE_AFTER = 75.0
REREGISTER = 8.0
DISK = 10_000_000
MOUNT = "data"  # where volumes are, in every container


@dataclass
class SimTask:
    id: str
    agent_id: str
    cpus: int
    mem: int
    ports: tuple[int, ...]
    instance: str
    state: str = "TASK_STAGING"
    alive: bool = True
    healthy: bool = True
    updates: list[tuple[str, str, str | None]] = field(
        default_factory=list
    )  # (uuid, state, reason), oldest unacknowledged first


@dataclass
class Reservation:
    """What is kept on an agent for one instance: its resources, with a volume of all the disk."""

    instance: str
    role: str
    cpus: int
    mem: int
    disk: int

    def pool(self, framework_id: str) -> Pool:
        volume = {"scalar": {"value": self.disk / 1000}, "disk": {"volume": {"container_path": MOUNT}}}
        owner = (framework_id, self.instance)
        return Pool(self.role, self.cpus, self.mem, labelled=True, owner=owner, volumes=(volume,))


@dataclass
class SimOffer:
    """What is left of one that is out."""

    agent_id: str
    role: str
    cpus: int
    mem: int
    ports: list[int]


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
    gone: bool = False  # its operator has said that it does not come back
    tasks: dict[str, SimTask] = field(default_factory=dict)
    reserved: dict[str, Reservation] = field(default_factory=dict)  # by instance
    maintenance: tuple[float, float] | None = None  # from, until


class Listener(Protocol):
    """Who is subscribed, and for which roles."""

    @property
    def roles(self) -> tuple[str, ...]: ...

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
        self._suppressed: set[str] = set()  # roles
        self._refused: dict[tuple[str, str], float] = {}  # agent id, role -> until
        self._offers: dict[str, SimOffer] = {}
        self._asked_back: dict[str, str] = {}  # agent id -> inverse offer that the present subscriber knows
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
        self._suppressed.clear()
        self._refused.clear()
        self._offers.clear()
        self._asked_back.clear()
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
        if not self.stream or self._listener is None:
            return
        roles = [role for role in self._listener.roles if role not in self._suppressed]
        if not roles and not any(agent.maintenance for agent in self.agents.values()):
            return
        self._allocate_soon()
        self._ask_back()
        offered = {offer.agent_id for offer in self._offers.values()}
        now, offers = self.world.now, []
        for agent in self.agents.values():
            if agent.id in offered or not agent.up or not agent.connected or not agent.known or agent.unreachable:
                continue
            open_to = [role for role in roles if self._refused.get((agent.id, role), 0) <= now]
            if open_to:
                role = open_to[0] if len(open_to) == 1 else self.world.later_faults.choice(open_to)
                offer = self._offer(agent, role)
                if offer is not None:
                    offers.append(offer)
        if offers:
            self._tell(("offers", tuple(offers)))

    def _offer(self, agent: SimAgent, role: str) -> Offer | None:
        cpus, mem, ports = self._free(agent)
        at_work = {task.instance for task in agent.tasks.values() if task.alive}
        kept = [r for r in agent.reserved.values() if r.role == role and r.instance not in at_work]
        if (cpus < 10 or mem < 1000) and not kept:
            return None
        offer_id = f"O{self._number()}"
        self._offers[offer_id] = SimOffer(agent.id, role, cpus, mem, ports)
        free = Pool(cpus=max(0, cpus), mem=max(0, mem), disk=DISK, ports=_ranges(ports))
        start, until = agent.maintenance or (None, None)
        return Offer(
            offer_id,
            Agent(agent.id, agent.host, (("rack", agent.rack),)),
            role,
            (free, *(reservation.pool(self.framework_id or "") for reservation in kept)),
            maintenance_at=start,
            maintenance_until=until,
        )

    def _free(self, agent: SimAgent) -> tuple[int, int, list[int]]:
        """What is neither used nor reserved."""
        live = [task for task in agent.tasks.values() if task.alive]
        used = {port for task in live for port in task.ports}
        ports = [port for port in range(agent.ports[0], agent.ports[1] + 1) if port not in used]
        reserved = agent.reserved
        cpus, mem = agent.cpus, agent.mem
        for task in live:
            if task.instance not in reserved:
                cpus, mem = cpus - task.cpus, mem - task.mem
        for reservation in reserved.values():
            cpus, mem = cpus - reservation.cpus, mem - reservation.mem
        return cpus, mem, ports

    def is_full(self, agent: SimAgent) -> bool:
        """No port is left there."""
        return not self._free(agent)[2]

    def _rescind(self, agent_id: str) -> None:
        for offer_id in [offer_id for offer_id, offer in self._offers.items() if offer.agent_id == agent_id]:
            del self._offers[offer_id]
            self._tell(("rescind", offer_id))

    # --- maintenance

    def plan_maintenance(self, agent: SimAgent, start: float, until: float) -> None:
        self.world.note(f"agent {agent.id} goes into maintenance in {start - self.world.now:.0f} s")
        agent.maintenance = (start, until)
        self._rescind(agent.id)
        self._allocate_soon()

    def end_maintenance(self, agent: SimAgent) -> None:
        if agent.maintenance is None:
            return
        self.world.note(f"the maintenance of agent {agent.id} is over")
        agent.maintenance = None
        inverse = self._asked_back.pop(agent.id, None)
        if inverse is not None:
            self._tell(("inverse rescinded", inverse))
        self._rescind(agent.id)

    def _ask_back(self) -> None:
        for agent in self.agents.values():
            if agent.maintenance is not None and agent.id not in self._asked_back and agent.connected and agent.known:
                self._asked_back[agent.id] = f"I{self._number()}"
                self._tell(("inverse", (InverseOffer(self._asked_back[agent.id], agent.id, *agent.maintenance),)))

    def answer_inverse_offers(self, accepted: tuple[str, ...], declined: tuple[str, ...]) -> None:
        pass  # what it says is not binding

    # --- calls

    def accept(
        self, offer_id: str, launches: tuple[Launch, ...], refuse: float, releases: tuple[Pool, ...] = ()
    ) -> None:
        known = self._offers.pop(offer_id, None)
        for pool in releases if known is not None else ():
            assert pool.owner is not None
            if self.agents[known.agent_id].reserved.pop(pool.owner[1], None) is not None:  # type: ignore[union-attr]
                self.world.note(f"  master: the volume of {pool.owner[1]} is destroyed")
        for launch in launches:
            for task in launch.instance.tasks:
                if task.id in self.launched:
                    raise self.world.violated(f"task {task.id} is launched twice")
                self.launched.add(task.id)
            if known is None:
                self._drop(launch, "REASON_INVALID_OFFERS")
            else:
                self._launch(launch, known, offer_id)
        if known is not None:
            self._refused[known.agent_id, known.role] = self.world.now + refuse

    def _drop(self, launch: Launch, reason: str) -> None:
        for task in launch.instance.tasks:
            self._say(TaskStatus(task.id, "TASK_DROPPED", launch.instance.agent.id, reason))

    def _launch(self, launch: Launch, offer: SimOffer, offer_id: str) -> None:
        instance, agent = launch.instance, self.agents[offer.agent_id]
        cpus, mem = sum(take.cpus for take in launch.takes), sum(take.mem for take in launch.takes)
        ports = instance.host_ports
        again = any(take.pool.owner is not None for take in launch.takes)
        if again:
            kept = agent.reserved.get(instance.id)
            if kept is None or cpus > kept.cpus or mem > kept.mem:
                raise self.world.violated(f"{instance.id} is launched again on what is not kept for it")
            fits = True
        else:
            fits = cpus <= offer.cpus and mem <= offer.mem
            offer.cpus, offer.mem = offer.cpus - cpus, offer.mem - mem
        if not fits or not set(ports) <= set(offer.ports):
            raise self.world.violated(f"{instance.id} takes more of {offer_id} than it holds")
        offer.ports = [port for port in offer.ports if port not in ports]
        if launch.reserve:
            # Made by the master, whatever becomes of the task.
            disk = sum(take.disk for take in launch.takes)
            agent.reserved[instance.id] = Reservation(instance.id, instance.role, cpus, mem, disk)
        if not agent.up or not agent.connected:
            self._drop(launch, "REASON_AGENT_DISCONNECTED")
            return
        sims = []
        for task in instance.tasks:
            share = len(instance.tasks)
            sim = SimTask(task.id, agent.id, cpus // share, mem // share, task.host_ports, instance.id)
            agent.tasks[task.id] = self._tasks[task.id] = sim
            sims.append(sim)

        def start() -> None:
            for sim in sims:
                self._start(sim)

        self.world.after(self.world.between(0.05, 3.0), start)

    def decline(self, offer_ids: tuple[str, ...], refuse: float) -> None:
        for offer_id in offer_ids:
            offer = self._offers.pop(offer_id, None)
            if offer is not None:
                self._refused[offer.agent_id, offer.role] = self.world.now + refuse

    def revive(self, roles: tuple[str, ...]) -> None:
        self._suppressed.difference_update(roles)
        self._refused = {place: until for place, until in self._refused.items() if place[1] not in roles}
        self._allocate_soon()

    def suppress(self, roles: tuple[str, ...]) -> None:
        self._suppressed.update(roles)

    def update_roles(self, roles: tuple[str, ...]) -> None:
        self._suppressed.clear()
        self._allocate_soon()

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
            if agent is not None and agent.gone:
                self._say(TaskStatus(task_id, "TASK_GONE_BY_OPERATOR", agent_id, "REASON_RECONCILIATION"))
                continue
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
            if state != "TASK_FINISHED":
                # A task group falls together.
                for other in [t for t in self.agents[task.agent_id].tasks.values() if t.instance == task.instance]:
                    self.end(other, "TASK_KILLED", reason)

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

    def declare_gone(self, agent: SimAgent) -> None:
        """Its operator says that a lost agent, and all that ran there, does not come back."""
        if not agent.gone:
            self.world.note(f"agent {agent.id} is gone for good")
            agent.gone, agent.given_up_at = True, self.world.now
            for task in agent.tasks.values():
                self._say(TaskStatus(task.id, "TASK_GONE_BY_OPERATOR", agent.id, "REASON_AGENT_REMOVED_BY_OPERATOR"))

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
