"""Between a node and the master: what may happen to messages, calls and the subscription on their way."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from framework.engine.actions import Launch
from framework.engine.events import (
    Disconnected,
    InverseOfferRescinded,
    InverseOffersReceived,
    LaunchUncertain,
    OfferRescinded,
    OffersReceived,
    StatusReceived,
    Subscribed,
)
from tests.simulation.master import SimMaster

if TYPE_CHECKING:
    from tests.simulation.node import Node

WATCHDOG = 20.0  # without a heartbeat of the master for so long the driver subscribes anew
CALL_TIMEOUT = 5.0
# Calls that go by one connection, one after the other, as in mesos.scheduler.
IN_ORDER = ("accept", "decline", "revive", "suppress", "update_roles", "kill", "reconcile")


class Link:
    """Between a node and the master: a stream of messages, calls the other way. Each way may be cut."""

    def __init__(self, node: "Node") -> None:
        self._node, self._world = node, node.world
        self.stream = 0
        self.roles: tuple[str, ...] = ()
        self.cut_in = self.cut_out = False
        self._wanted = False  # the driver is to be subscribed
        self._arrival = 0.0  # when the last message of the master arrives
        self._lane = 0.0  # when the last of the ordered calls arrives
        self._held: list[tuple[int, object]] = []  # on their way while it is cut

    @property
    def _master(self) -> SimMaster:
        return self._node.cluster.master

    # --- the subscription

    def join(self, framework_id: str | None, roles: tuple[str, ...]) -> None:
        self.leave()
        self.roles = roles
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
        elif kind == "inverse":
            self._receive(InverseOffersReceived(content))  # type: ignore[arg-type]
        elif kind == "inverse rescinded":
            self._receive(InverseOfferRescinded(str(content)))

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
