"""The framework under simulation: the real engine, loop and performer, on a simulated clock, Mesos and store, that may crash anywhere."""

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from framework.engine.actions import Launch
from framework.engine.bus import Bus
from framework.engine.commands import Answer, Command
from framework.engine.events import (
    CommandReceived,
)
from framework.engine.loop import Engine, LoopSettings
from framework.engine.settings import EngineSettings
from framework.store.base import StoreError
from tests.simulation.ensemble import SESSION, Crash, Ensemble, NodeStore, Session
from tests.simulation.hands import SimHand, SimProbes
from tests.simulation.link import Link
from tests.simulation.master import SimMaster
from tests.simulation.world import World, run_now, sleep


class SimEngine(Engine):
    node: "Node"
    world: World
    answered: dict[int, object]

    def _later(self, seconds: float, do: Callable[[], None]) -> None:
        self.node.later(seconds, do)

    def reply(self, ticket: int, answer: Answer) -> None:
        self.answered[ticket] = answer
        self.world.news = True

    def refuse(self, ticket: int, error: Exception) -> None:
        self.answered[ticket] = error
        self.world.news = True


class Cluster:
    """All that there is: the nodes of the framework, their store, and Mesos."""

    engine_class: type[SimEngine] = SimEngine
    ensemble_class: type[Ensemble] = Ensemble

    def __init__(self, world: World, *, nodes: int, agents: int, settings: EngineSettings) -> None:
        self.world, self.settings = world, settings
        self.ensemble = self.ensemble_class(world)
        self.master = SimMaster(world, agents)
        self.answered: dict[int, object] = {}
        self.probe_cut = False  # all probes fail, whatever the instances do
        self._ids = 0
        self.nodes = [Node(self, f"node{number}") for number in range(1, nodes + 1)]

    def start(self) -> None:
        for node in self.nodes:
            node.start()

    def ids(self) -> Iterator[str]:
        while True:
            self._ids += 1
            yield f"{self._ids:06d}"

    @property
    def leader(self) -> "Node | None":
        """The node that leads by right, if it is up."""
        session = self.ensemble.leader
        return session.node if session is not None and session.node.engine is not None and session.alive else None

    def believers(self) -> list["Node"]:
        """Nodes that take themselves for the leader; a deposed one may not know it yet."""
        return [node for node in self.nodes if node.engine is not None and node.engine.view.is_leader]


class Node:
    """One framework process after another, on one machine."""

    session: Session

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster, self.world, self.name = cluster, cluster.world, name
        self.link = Link(self)
        self.engine: SimEngine | None = None
        self.store = NodeStore(self)
        self.cut_from_store = False
        self.paused = False
        self.skew = 0.0  # how far this machine's clock is off
        self.life = 0
        self.actions_left: int | None = None  # crash after so many further actions
        self.acted_in_all = 0
        self.probing: dict[str, int] = {}
        self.launched_at: dict[str, float] = {}
        self._running: Coroutine[Any, Any, None] | None = None  # the batch that is under way
        self._woken = False
        self._alarm = float("inf")  # when the next deadline wakes it
        self._to_lead: Session | None = None  # elected, and not there yet

    # --- life and death

    def start(self) -> None:
        self.life += 1
        self.world.note(f"{self.name} starts, life {self.life}")
        self.store = NodeStore(self)
        engine = self.cluster.engine_class(
            self.store,
            self.cluster.settings,
            bus=Bus(history=0),
            loop_settings=LoopSettings(slice_seconds=1e9),
            ids=self.cluster.ids(),
            clock=lambda: self.world.now + self.skew,
            sleep=sleep,
        )
        engine.node, engine.world, engine.answered = self, self.world, self.cluster.answered
        engine.connect(SimHand(self), SimProbes(self))
        self.engine = engine
        self.probing = {}
        self._running, self._woken, self._alarm, self._to_lead = None, False, float("inf"), None
        self.cluster.ensemble.join(self)

    def crash(self, why: str) -> None:
        if self.engine is None:
            return
        self.world.note(f"{self.name} crashes: {why}")
        self.engine = None
        self.actions_left = None
        self.paused = False
        if self._running is not None:
            running, self._running = self._running, None
            running.close()
        self.link.leave()
        self.cluster.ensemble.ended(self.session)
        down = 0.5 if self.world.calm else self.world.random.choice([0.5, 3.0, 30.0])
        self.world.after(down, self.start)

    def pause(self, seconds: float) -> None:
        """SIGSTOP: everything waits, at whatever point it is."""
        if self.engine is None or self.paused:
            return
        self.world.note(f"{self.name} is stopped for {seconds:.0f} s")
        self.paused = True
        life = self.life
        self.cluster.ensemble.silent(self.session)
        self.world.after(seconds, lambda: self.resume(life))

    def resume(self, life: int) -> None:
        if self.life == life and self.paused:
            self.world.note(f"{self.name} goes on")
            self.paused = False
            if not self.cut_from_store:
                self.cluster.ensemble.heard(self.session)
            if self._running is not None:
                self._go_on(self._running)
            else:
                self._lead()
                self.wake()

    # --- leadership

    def elected(self, session: Session) -> None:
        """It leads as soon as the batch that is under way has ended."""
        self._to_lead = session
        if self._running is None:
            self._lead()

    def _lead(self) -> None:
        if self._running is not None:
            return  # its end comes here again
        session, self._to_lead = self._to_lead, None
        if session is None or self.engine is None or self.cluster.ensemble.leader is not session:
            return
        if self.paused:
            self._to_lead = session
            return
        try:
            run_now(self.engine.lead(f"{self.name}:8080"))
        except StoreError:
            self._to_lead = session
            self.world.after(1.0, lambda: self._running is None and self._lead())
        else:
            self.wake()

    def deposed(self) -> None:
        """It learns that it does not lead, if it did."""
        if self.engine is not None and self.engine.view.is_leader:
            self.world.note(f"{self.name} learns that it is deposed")
            self.engine.follow(None)
            self.wake()

    def cut_store(self, cut: bool) -> None:
        self.world.note(f"{self.name} is cut off from the store" if cut else f"{self.name} reaches the store again")
        self.cut_from_store = cut
        if self.engine is None or self.paused:
            return
        if cut:
            session = self.session
            self.cluster.ensemble.silent(session)
            if self.world.chance(0.5):  # the client notices before the session is over

                def notice() -> None:
                    if self.cut_from_store and self.session is session and session.alive:
                        self.deposed()
                        self.cluster.ensemble.give_up(session)

                self.world.after(self.world.between(0.5, SESSION), notice)
        else:
            self.cluster.ensemble.heard(self.session)

    @property
    def leads_by_right(self) -> bool:
        return self.store.epoch == self.cluster.ensemble.epoch

    # --- the loop

    def post(self, event: object) -> None:
        if self.engine is not None:
            self.engine.post(event)  # type: ignore[arg-type]
            self.wake()

    def command(self, ticket: int, command: Command) -> None:
        self.post(CommandReceived(ticket, command))

    def wake(self) -> None:
        if not self._woken and self._running is None and not self.paused:
            self._woken = True
            engine = self.engine
            self.world.after(self.world.random.random() * 0.02, lambda: self._step(engine))

    def _step(self, engine: SimEngine | None) -> None:
        if engine is not self.engine or engine is None:
            return
        self._woken = False
        if self.paused or self._running is not None:
            return
        self._running = engine.step()
        self._go_on(self._running)

    def _go_on(self, running: Coroutine[Any, Any, None]) -> None:
        engine = self.engine
        if engine is None or self._running is not running or self.paused:
            return
        try:
            while True:
                wait = running.send(None)
                if wait is not None:
                    self.world.after(wait, lambda: self._go_on(running))
                    return
        except StopIteration:
            self._running = None
        except Crash:
            self._running = None
            self.crash("in the middle of a batch")
            return
        if engine.figures.errors:
            raise self.world.violated("the engine met an error that it did not expect")
        self._after_step(engine)

    def _after_step(self, engine: SimEngine) -> None:
        self._lead()
        if engine.resigned.is_set():
            engine.resigned.clear()
            self.deposed()
            self.cluster.ensemble.give_up(self.session)
        if engine.waiting:
            self.wake()
            return
        deadline = engine.state.next_deadline()
        due = float("inf") if deadline is None else deadline - self.skew
        if engine.store_problem is not None:
            due = min(due, self.world.now + 1.0)
        if due < self._alarm:
            self._alarm = due
            self.world.at(due, lambda: self._ring(engine, due))

    def _ring(self, engine: SimEngine, due: float) -> None:
        if engine is self.engine and self._alarm == due:
            self._alarm = float("inf")
            deadline = engine.state.next_deadline()
            if engine.store_problem is None and (deadline is None or deadline > self.world.now + self.skew):
                self._after_step(engine)  # it was put off
            else:
                self.wake()

    def must_be_durable(self, launch: Launch) -> None:
        if not self.cluster.ensemble.has_instance(launch.instance.id):
            raise self.world.violated(f"{launch.instance.id} is launched before it is durable")

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        """What the engine does by itself after a while."""
        engine = self.engine

        def act() -> None:
            if self.engine is not engine:
                return
            if self.paused:
                self.world.after(1.0, act)
                return
            try:
                do()
            except Crash:
                self.crash("between two batches")

        self.world.after(seconds, act)

    def acted(self) -> None:
        """Each action passes here; one of them may be the last."""
        self.acted_in_all += 1
        if self.actions_left is not None:
            self.actions_left -= 1
            if self.actions_left < 0:
                raise Crash
