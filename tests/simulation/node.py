"""The framework under simulation: the real engine, loop and performer, on a simulated clock, Mesos and store, that may crash anywhere."""

from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

from framework.engine.actions import Launch
from framework.engine.bus import Bus
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
from framework.store.base import StoreError
from tests.simulation.ensemble import SESSION, Crash, Ensemble, NodeStore, Session
from tests.simulation.master import SimMaster
from tests.simulation.world import World, run_now, sleep

WATCHDOG = 20.0  # without a heartbeat of the master for so long the driver subscribes anew
CALL_TIMEOUT = 5.0
IN_ORDER = (
    "accept",
    "decline",
    "revive",
    "suppress",
    "kill",
    "reconcile",
)  # calls that go by one connection, as in mesos.scheduler


class SimEngine(Engine):
    world: World
    answered: dict[int, object]

    def _later(self, seconds: float, do: Callable[[], None]) -> None:
        self.world.after(seconds, do)

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
        engine.world, engine.answered = self.world, self.cluster.answered
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

    def acted(self) -> None:
        """Each action passes here; one of them may be the last."""
        self.acted_in_all += 1
        if self.actions_left is not None:
            self.actions_left -= 1
            if self.actions_left < 0:
                raise Crash


class Link:
    """Between a node and the master: a stream of messages, calls the other way. Each way may be cut."""

    def __init__(self, node: Node) -> None:
        self._node, self._world = node, node.world
        self.stream = 0
        self.cut_in = self.cut_out = False
        self._wanted = False  # the driver is to be subscribed
        self._arrival = 0.0  # when the last message of the master arrives
        self._lane = 0.0  # when the last of the ordered calls arrives
        self._held: list[tuple[int, object]] = []  # on their way while it is cut

    @property
    def _master(self) -> SimMaster:
        return self._node.cluster.master

    # --- the subscription

    def join(self, framework_id: str | None) -> None:
        self.leave()
        self._wanted = True
        self._subscribe_in(0.01, framework_id)

    def leave(self) -> None:
        """Without a word the master notices only if it can hear the connection close."""
        self._wanted = False
        self._hang_up()

    def _hang_up(self) -> None:
        stream, self.stream = self.stream, 0
        self._held.clear()
        if stream and not self.cut_out:
            self._master.unsubscribe(stream)

    def break_off(self, why: str) -> None:
        """The connection breaks; the driver comes back by itself."""
        engine = self._node.engine
        if engine is None or not self._wanted:
            return
        self._hang_up()
        self._node.post(Disconnected(why))
        self._subscribe_in(self._world.between(0.2, 5.0), engine.state.ledger.framework_id)

    def _subscribe_in(self, seconds: float, framework_id: str | None) -> None:
        engine = self._node.engine

        def subscribe() -> None:
            node = self._node
            if node.engine is not engine or engine is None or not self._wanted or self.stream:
                return
            known = engine.state.ledger.framework_id or framework_id
            if self.cut_in or self.cut_out or node.paused:
                self._subscribe_in(self._world.between(1.0, 5.0), known)
                return
            given, self.stream = self._master.subscribe(self, known)
            self._receive(Subscribed(given, "master:5050", {}, known is not None))

        self._world.after(seconds, subscribe)

    def closed(self, why: str) -> None:
        if self.stream and not self.cut_in:
            self.stream = 0
            self.break_off(why)

    def failed_over(self) -> None:
        """Another scheduler has subscribed as this framework, and the master says so before it closes the stream."""
        engine = self._node.engine
        if engine is None or not self.stream or self.cut_in or self._node.paused:
            self.closed("failed over")
            return
        self.stream = 0
        self.leave()
        self._node.post(Disconnected("failed over"))
        engine.doubt()
        self._node.wake()

    # --- messages of the master

    def hear(self, stream: int, message: tuple[str, object]) -> None:
        if stream != self.stream:
            return
        kind, content = message
        if kind == "status":
            event: object = StatusReceived(content)  # type: ignore[arg-type]
            if self._world.chance(0.003):
                self._world.note("an update is lost")
                return
            if self._world.chance(0.01):
                self._world.note("an update comes twice")
                self._receive(event)
            if self._world.chance(0.01):
                self._world.note("an update comes out of its turn")
                self._deliver_at(self._world.now + self._world.between(0.001, 2.0), stream, event)
                return
            self._receive(event)
        elif kind == "offers":
            self._receive(OffersReceived(content))  # type: ignore[arg-type]
        elif kind == "rescind":
            self._receive(OfferRescinded(str(content)))

    def _receive(self, event: object) -> None:
        """Over the subscription's stream: in order, sometimes late, and lost if it breaks meanwhile."""
        delay = self._world.between(0.001, 0.05)
        if self._world.chance(0.02):
            delay += self._world.between(0, 5)
        self._arrival = max(self._world.now + delay, self._arrival)
        self._deliver_at(self._arrival, self.stream, event)

    def _deliver_at(self, when: float, stream: int, event: object) -> None:
        def arrive() -> None:
            if stream == self.stream:
                if self.cut_in:
                    self._held.append((stream, event))
                else:
                    self._node.post(event)

        self._world.at(when, arrive)

    # --- calls to the master

    def call(self, name: str, *arguments: object) -> None:
        """It may take time, be lost with its connection, come twice, or overtake another."""
        world, stream = self._world, self.stream
        if not stream:
            if name == "accept":
                self._uncertain(arguments, "not connected")
            return
        if self.cut_out or world.chance(0.004):
            world.note(f"call {name} is lost")
            seconds = CALL_TIMEOUT if self.cut_out else 0.01
            world.after(seconds, lambda: self._lost(stream, name, arguments))
            return
        when = world.now + world.between(0.001, 0.05)
        if name in IN_ORDER:
            when = self._lane = max(when, self._lane)
        again = name != "accept" and world.chance(0.005)

        def arrive() -> None:
            if name == "accept" and stream == self._master.stream:
                for launch in arguments[1]:  # type: ignore[attr-defined]
                    self._node.must_be_durable(launch)
            if not self._master.call(stream, name, arguments):
                if name == "accept":
                    self._uncertain(arguments, "the subscription is over")
                if stream == self.stream:
                    self.closed("the master does not know the subscription")
            if again:
                self._master.call(stream, name, arguments)

        world.at(when, arrive)

    def _lost(self, stream: int, name: str, arguments: tuple[object, ...]) -> None:
        if name == "accept":
            self._uncertain(arguments, "lost")
        if name in ("accept", "decline") and stream == self.stream:
            self.break_off("a call about offers was lost")  # as mesos.scheduler does

    def _uncertain(self, arguments: tuple[object, ...], why: str) -> None:
        launches: Sequence[Launch] = arguments[1]  # type: ignore[assignment]
        self._node.post(LaunchUncertain(tuple(launch.instance.id for launch in launches), why))

    # --- faults

    def cut(self, *, inwards: bool, outwards: bool) -> None:
        ways = " and ".join(way for way, cut in (("from", inwards), ("to", outwards)) if cut)
        self._world.note(f"{self._node.name}: nothing arrives {ways} the master")
        self.cut_in, self.cut_out = inwards, outwards
        stream = self.stream

        def watchdog() -> None:
            if self.cut_in and self.stream == stream and stream:
                self.break_off("no heartbeat")

        if inwards:
            self._world.after(WATCHDOG, watchdog)

    def heal(self) -> None:
        if self.cut_in or self.cut_out:
            self._world.note(f"{self._node.name} and the master hear each other again")
        self.cut_in = self.cut_out = False
        if self.stream != self._master.stream:
            self.closed("the stream was closed meanwhile")
        held, self._held = self._held, []
        for stream, event in held:
            if stream == self.stream:
                self._node.post(event)


class SimHand:
    """engine.perform.Mesos"""

    def __init__(self, node: Node) -> None:
        self._node = node

    def subscribe(self, framework_id: str | None, roles: Sequence[str]) -> None:
        self._node.acted()
        self._node.link.join(framework_id)

    def unsubscribe(self) -> None:
        self._node.link.leave()

    def accept(
        self, offer: Offer, launches: Sequence[Launch], refuse_seconds: float, releases: Sequence[object] = ()
    ) -> None:
        node = self._node
        node.acted()
        for launch in launches:
            if node.leads_by_right:
                node.must_be_durable(launch)
            node.world.note(f"{node.name}: launch {launch.instance.id} on {offer.agent.id}")
        node.link.call("accept", offer.id, tuple(launches), refuse_seconds)

    def decline(self, offer_ids: Sequence[str], refuse_seconds: float) -> None:
        self._node.acted()
        self._node.link.call("decline", tuple(offer_ids), refuse_seconds)

    def revive(self, roles: Sequence[str]) -> None:
        self._node.acted()
        self._node.link.call("revive")

    def suppress(self, roles: Sequence[str]) -> None:
        self._node.acted()
        self._node.link.call("suppress")

    def acknowledge(self, task_id: str, agent_id: str, uuid: str) -> None:
        self._node.acted()
        self._node.link.call("acknowledge", task_id, uuid)

    def kill(self, task_id: str, agent_id: str | None, grace_seconds: float | None) -> None:
        node = self._node
        node.acted()
        instance = node.cluster.ensemble.instance(task_id.rpartition(".")[0].rpartition(".")[0])
        if instance is not None and not instance.leaving:
            raise node.world.violated(f"{task_id} is killed though it is wanted")
        node.world.note(f"{node.name}: kill {task_id}")
        node.link.call("kill", task_id)

    def reconcile(self, tasks: Sequence[tuple[str, str | None]]) -> None:
        self._node.acted()
        self._node.link.call("reconcile", tuple(tasks))


class SimProbes:
    """engine.perform.Probes: asks the simulated tasks how they are. Probes of the same interval are made at the same moments."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def start(self, instance: Instance, spec: RunSpec, readiness: bool) -> None:
        node, world = self._node, self._node.world
        node.acted()
        assert isinstance(spec, App)
        turn = node.probing.get(instance.id, 0) + 1
        node.probing[instance.id] = turn
        life = node.life
        for index, check in enumerate(spec.health_checks):

            def probe(index: int = index, interval: float = check.interval_seconds) -> None:
                if node.life != life or node.engine is None or node.probing.get(instance.id) != turn:
                    return
                if not node.paused:
                    task = node.cluster.master.task(instance.tasks[0].id)
                    reached = task is not None and task.alive and node.cluster.master.agents[task.agent_id].connected
                    alive = reached and task is not None and task.healthy and not node.cluster.probe_cut
                    node.post(Probed(instance.id, index, alive, "" if alive else "refused"))
                world.at(world.now - world.now % interval + interval, probe)

            world.after(world.random.random(), probe)

    def stop(self, instance_id: str) -> None:
        self._node.probing.pop(instance_id, None)
