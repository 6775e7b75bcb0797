"""The framework under simulation: the real engine, loop and performer, on a simulated clock, Mesos and store, that may crash anywhere."""

from collections.abc import Iterator, Sequence

from framework.engine import records
from framework.engine.actions import Launch
from framework.engine.commands import Answer, Command
from framework.engine.events import (
    CommandReceived,
    Disconnected,
    LaunchUncertain,
    OfferRescinded,
    OffersReceived,
    Probed,
    StatusReceived,
    Subscribed,
)
from framework.engine.loop import Engine, LoopSettings
from framework.engine.settings import EngineSettings
from framework.model.app import App
from framework.model.instance import Instance
from framework.model.offer import Offer
from framework.model.run_spec import RunSpec
from framework.store.base import StoreFull, Write
from framework.store.memory import MemoryStore
from tests.simulation.master import SimMaster
from tests.simulation.world import World, run_now


class Crash(BaseException):
    """The process ends here and now."""


class SimStore(MemoryStore):
    """`doom`: crash before or after the next commit."""

    def __init__(self) -> None:
        super().__init__()
        self.doom: str | None = None

    async def commit(self, writes: Sequence[Write]) -> None:
        doom, self.doom = self.doom, None
        if doom == "before":
            raise Crash
        await super().commit(writes)
        if doom == "after":
            raise Crash

    def has_instance(self, instance_id: str) -> bool:
        return instance_id in self.tables.get(records.INSTANCES, {})

    def instance(self, instance_id: str) -> Instance | None:
        data = self.tables.get(records.INSTANCES, {}).get(instance_id)
        return records.decode_instance(data) if data else None


class SimEngine(Engine):
    answered: dict[int, object]

    def reply(self, ticket: int, answer: Answer) -> None:
        self.answered[ticket] = answer

    def refuse(self, ticket: int, error: Exception) -> None:
        self.answered[ticket] = error


class Node:
    """One framework process after another, all on the same store."""

    engine_class: type[SimEngine] = SimEngine

    def __init__(self, world: World, agents: int, settings: EngineSettings) -> None:
        self.world, self.settings = world, settings
        self.store = SimStore()
        self.master = SimMaster(world, agents, self._from_master)
        self.engine: SimEngine | None = None
        self.answered: dict[int, object] = {}
        self.life = 0
        self.probe_cut = False  # all probes fail, whatever the instances do
        self.actions_left: int | None = None  # crash after so many further actions
        self.killed_by_framework: list[str] = []
        self._ids = 0
        self._session = 0
        self._stream = 0.0  # when the last message of the master arrives
        self._lane = 0.0  # when the last of the ordered calls arrives
        self._stepping = False
        self._probing: dict[str, int] = {}

    # --- life and death

    def start(self) -> None:
        self.life += 1
        self.world.note(f"the framework starts, life {self.life}")
        engine = self.engine_class(
            self.store,
            self.settings,
            loop_settings=LoopSettings(store_retry=0.0, slice_seconds=1e9),
            ids=self._unique(),
            clock=lambda: self.world.now,
        )
        engine.answered = self.answered
        engine.connect(SimHand(self), SimProbes(self))
        self.engine = engine
        self._probing = {}
        run_now(engine.lead("me:8080"))
        self._wake()

    def _unique(self) -> Iterator[str]:
        while True:
            self._ids += 1
            yield f"{self._ids:06d}"

    def crash(self, why: str) -> None:
        if self.engine is None:
            return
        self.world.note(f"the framework crashes: {why}")
        self.engine = None
        self.actions_left = None
        self.store.doom = None
        self._session += 1
        self.master.unsubscribe()
        down = 0.5 if self.world.calm else self.world.random.choice([0.5, 3.0, 30.0])
        self.world.after(down, self.start)

    def disconnect(self, why: str) -> None:
        """The connection to the master breaks; the driver comes back by itself."""
        if self.engine is None:
            return
        self._session += 1
        self.master.unsubscribe()
        self.post(Disconnected(why))
        engine = self.engine
        self.world.after(
            self.world.random.uniform(0.2, 5.0),
            lambda: engine is self.engine and self._subscribe(engine.state.ledger.framework_id),
        )

    def _subscribe(self, framework_id: str | None) -> None:
        self._session += 1
        given = self.master.subscribe(framework_id)
        self.to_framework(Subscribed(given, "master:5050", {}, framework_id is not None))

    # --- messages

    def post(self, event: object) -> None:
        if self.engine is not None:
            self.engine.post(event)  # type: ignore[arg-type]
            self._wake()

    def command(self, ticket: int, command: Command) -> None:
        self.post(CommandReceived(ticket, command))

    def to_framework(self, event: object) -> None:
        """Over the subscription's stream: in order, sometimes late, and lost if it breaks meanwhile."""
        session = self._session
        delay = self.world.random.uniform(0.001, 0.05)
        if self.world.chance(0.02):
            delay += self.world.random.uniform(0, 5)

        def arrive() -> None:
            if session == self._session:
                self.post(event)

        self._stream = max(self.world.now + delay, self._stream)
        self.world.at(self._stream, arrive)

    def _from_master(self, message: tuple[str, object]) -> None:  # type: ignore[override]
        if not self.master.subscribed:
            return
        kind, content = message
        if kind == "status":
            self.to_framework(StatusReceived(content))  # type: ignore[arg-type]
        elif kind == "offers":
            self.to_framework(OffersReceived(content))  # type: ignore[arg-type]
        elif kind == "rescind":
            self.to_framework(OfferRescinded(str(content)))

    def to_master(self, name: str, *arguments: object) -> None:
        """A call: it may take time, be lost with its connection, or overtake another."""
        if not self.master.subscribed:
            return
        session = self._session
        if self.world.chance(0.005):
            self.world.note(f"call {name} is lost")
            if name == "accept":
                launches: Sequence[Launch] = arguments[1]  # type: ignore[assignment]
                self.post(LaunchUncertain(tuple(launch.instance.id for launch in launches), "lost"))
            if name in ("accept", "decline"):
                self.disconnect("a call about offers was lost")  # as mesos.scheduler does
            return

        def arrive() -> None:
            if session == self._session and self.master.subscribed:
                getattr(self.master, name)(*arguments)

        when = self.world.now + self.world.random.uniform(0.001, 0.05)
        if name in ("accept", "decline", "revive", "suppress", "kill"):
            # These go by one connection, in order.
            when = self._lane = max(when, self._lane)
        self.world.at(when, arrive)

    # --- the loop

    def _wake(self, delay: float = 0.0) -> None:
        if self._stepping:
            return
        self._stepping = True
        self.world.after(delay + self.world.random.uniform(0, 0.02), self._step)

    def _step(self) -> None:
        self._stepping = False
        engine = self.engine
        if engine is None:
            return
        try:
            run_now(engine.step())
        except Crash:
            self.crash("in the middle of a batch")
            return
        if engine.figures.errors:
            raise self.world.violated("the engine met an error that it did not expect")
        if engine.waiting:
            self._wake()
            return
        deadline = engine.state.next_deadline()
        if engine.store_problem is not None:
            deadline = min(deadline or 1e18, self.world.now + 1.0)
        if deadline is not None:
            engine_then = engine

            def due() -> None:
                if self.engine is engine_then:
                    self._wake()

            self.world.at(max(deadline, self.world.now), due)

    def acted(self) -> None:
        """Each action passes here; one of them may be the last."""
        if self.actions_left is not None:
            self.actions_left -= 1
            if self.actions_left < 0:
                raise Crash

    # --- the store

    def break_store(self, seconds: float) -> None:
        self.world.note(f"the store is full for {seconds:.0f} s")
        self.store.failure = StoreFull("no space left")

        def mend() -> None:
            self.store.failure = None

        self.world.after(seconds, mend)


class SimHand:
    """engine.perform.Mesos"""

    def __init__(self, node: Node) -> None:
        self._node, self._life = node, node.life

    def subscribe(self, framework_id: str | None, roles: Sequence[str]) -> None:
        self._node.acted()
        node = self._node
        engine = node.engine
        node.world.after(0.01, lambda: node.engine is engine and node._subscribe(framework_id))

    def unsubscribe(self) -> None:
        self._node.master.unsubscribe()

    def accept(self, offer: Offer, launches: Sequence[Launch], refuse_seconds: float) -> None:
        node = self._node
        node.acted()
        for launch in launches:
            if not node.store.has_instance(launch.instance.id):
                raise node.world.violated(f"{launch.instance.id} is launched before it is durable")
            node.world.note(f"launch {launch.instance.id} on {offer.agent.id}")
        node.to_master("accept", offer.id, tuple(launches), refuse_seconds)

    def decline(self, offer_ids: Sequence[str], refuse_seconds: float) -> None:
        self._node.acted()
        self._node.to_master("decline", tuple(offer_ids), refuse_seconds)

    def revive(self, roles: Sequence[str]) -> None:
        self._node.acted()
        self._node.to_master("revive")

    def suppress(self, roles: Sequence[str]) -> None:
        self._node.acted()
        self._node.to_master("suppress")

    def acknowledge(self, task_id: str, agent_id: str, uuid: str) -> None:
        self._node.acted()
        self._node.to_master("acknowledge", task_id, uuid)

    def kill(self, task_id: str, agent_id: str | None, grace_seconds: float | None) -> None:
        node = self._node
        node.acted()
        instance = node.store.instance(task_id.rpartition(".")[0].rpartition(".")[0])
        if instance is not None and not instance.leaving:
            raise node.world.violated(f"{task_id} is killed though it is wanted")
        node.world.note(f"kill {task_id}")
        node.killed_by_framework.append(task_id)
        node.to_master("kill", task_id)

    def reconcile(self, tasks: Sequence[tuple[str, str | None]]) -> None:
        self._node.acted()
        self._node.to_master("reconcile", tuple(tasks))


class SimProbes:
    """engine.perform.Probes: asks the simulated tasks how they are."""

    def __init__(self, node: Node) -> None:
        self._node, self._life = node, node.life

    def start(self, instance: Instance, spec: RunSpec, readiness: bool) -> None:
        node = self._node
        node.acted()
        assert isinstance(spec, App)
        turn = node._probing.get(instance.id, 0) + 1
        node._probing[instance.id] = turn
        life = node.life
        for index, check in enumerate(spec.health_checks):

            def probe(index: int = index, interval: float = check.interval_seconds) -> None:
                if node.life != life or node.engine is None or node._probing.get(instance.id) != turn:
                    return
                task = node.master.task(instance.tasks[0].id)
                reached = task is not None and task.alive and node.master.agents[task.agent_id].connected
                alive = reached and task is not None and task.healthy and not node.probe_cut
                node.post(Probed(instance.id, index, alive, "" if alive else "refused"))
                node.world.after(interval, probe)

            node.world.after(node.world.random.uniform(0, 1), probe)

    def stop(self, instance_id: str) -> None:
        self._node._probing.pop(instance_id, None)
