"""The one writer: takes what happened in batches, lets the state handle it, commits once, then acts.

Persist comes before everything that leaves: an instance is durable before its ACCEPT, a status before its acknowledgement, a change
before its answer.
"""

import asyncio
import itertools
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from daemonkit.errors import OperatorError
from daemonkit.logs import get_logger
from framework.engine.actions import (
    Accept,
    Action,
    Announce,
    Decline,
    Kill,
    Reconcile,
    Refuse,
    Reply,
    Revive,
    Subscribe,
    Suppress,
    Unsubscribe,
    Warn,
)
from framework.engine.bus import Bus
from framework.engine.commands import Answer, CancelDeployment, Command, Declare
from framework.engine.errors import Busy, NotLeader, StoreUnavailable, Unstorable
from framework.engine.events import BatchEnded, CommandReceived, Deposed, Elected, Event, TimePassed
from framework.engine.ledger import Ledger, load_ledger
from framework.engine.perform import Drains, Mesos, Performer, Probes
from framework.engine.reading import StateView
from framework.engine.settings import EngineSettings
from framework.engine.state import State
from framework.store.base import Store, StoreError, StoreFenced, Write

log = get_logger(__name__)

PROBE_TABLE = "probe"  # of what is written only to learn whether the store takes it from this leader
RESUBSCRIBE_PAUSE = 1.0  # seconds; two that both insist do not wear the master out


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """`queue`: commands that may wait. `batch`: events handled between two commits. `slice_seconds`: how long the loop may handle events
    before others get a turn. `large`: changes of more apps and pods are worked out in a thread. `store_retry`: how often a store that
    failed is tried again, in seconds."""

    queue: int = 1000
    batch: int = 2000
    slice_seconds: float = 0.01
    large: int = 100
    store_retry: float = 1.0


@dataclass(slots=True)
class Figures:
    """What the loop did, for the metrics."""

    events: int = 0
    batches: int = 0
    writes: int = 0
    handle_seconds: float = 0.0
    commit_seconds: float = 0.0
    perform_seconds: float = 0.0
    failed_commits: int = 0
    errors: int = 0


def uuids() -> Iterator[str]:
    while True:
        yield str(uuid.uuid1())


class Engine:
    """Lives in one event loop; `post` may be called from that loop only (threads use `call_soon_threadsafe`)."""

    def __init__(
        self,
        store: Store,
        settings: EngineSettings | None = None,
        *,
        framework_name: str = "marathon",
        bus: Bus | None = None,
        loop_settings: LoopSettings | None = None,
        ids: Iterator[str] | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._settings = settings or EngineSettings()
        self._loop_settings = loop_settings or LoopSettings()
        self._ids = ids or uuids()
        self._clock, self._sleep = clock, sleep
        self._name = framework_name
        self.bus = bus or Bus()
        self.figures = Figures()
        self.store_problem: str | None = None
        self.resigned = asyncio.Event()
        self.fenced: str | None = None  # why the store refused this leader for good
        self._in_doubt = False  # whether this one still leads
        self._planning = ThreadPoolExecutor(1, thread_name_prefix="plan")
        self._turn = asyncio.Lock()  # a batch and a change of the leader exclude each other
        self.state = State(self._settings, Ledger(), self._ids)
        self.view = StateView(self.state, store, framework_name=framework_name)
        self._performer: Performer | None = None
        self._events: deque[Event] = deque()
        self._batch: list[Event] = []  # the events of the present batch
        self._one_by_one = 0  # so many events are to be batches of their own
        self._news = asyncio.Event()
        self._tickets = itertools.count(1)
        self._callers: dict[int, asyncio.Future[Answer]] = {}

    def connect(
        self,
        mesos: Mesos,
        probes: Probes,
        measure: Callable[[str, float], None] = lambda name, value: None,
        drains: Drains | None = None,
    ) -> None:
        """The hands; before `run`. Without `drains` every drain takes its whole time."""
        self._performer = Performer(
            mesos, probes, self.bus, self, resign=self.resigned.set, measure=measure, drains=drains
        )

    # --- for the API

    async def execute(self, command: Command) -> Answer:
        """Carries a command out; durable when it returns. Raises EngineError, or what the command's edit raised."""
        if not self.view.is_leader:
            raise NotLeader("this node does not lead")
        if self.store_problem is not None:
            raise StoreUnavailable(self.store_problem)
        if len(self._callers) >= self._loop_settings.queue:
            raise Busy(f"{self._loop_settings.queue} commands wait already")
        ticket = next(self._tickets)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._callers[ticket] = future
        self.post(CommandReceived(ticket, command))
        try:
            return await future
        finally:
            self._callers.pop(ticket, None)

    # --- for whatever tells of events

    def post(self, event: Event) -> None:
        self._events.append(event)
        self._news.set()

    @property
    def waiting(self) -> int:
        return len(self._events)

    # --- leadership

    async def lead(self, address: str, *, new_framework_id: bool = False) -> None:
        """Claims the store, so that nobody else writes any more, loads what is durable and begins to lead. Raises StoreError, and
        OperatorError where the state cannot be led.

        `new_framework_id`: the known id is void, and with it all instances; what is declared starts afresh.
        """
        async with self._turn:
            await self._lead(address, new_framework_id)

    async def _lead(self, address: str, new_framework_id: bool) -> None:
        started = time.monotonic()
        if self.view.is_leader:
            await self._perform(self.state.handle(Deposed(), self._clock()))
            self.bus.close()
        epoch = await self._store.claim(address)
        ledger = await load_ledger(self._store)
        if new_framework_id:
            ledger.forget_framework()
        elif ledger.framework_id is None and ledger.instances:
            raise OperatorError(
                f"the state holds {len(ledger.instances)} instances but no framework id: registering afresh would orphan their"
                " tasks; restore a backup that has the id, or start once with --new-framework-id to give the tasks up"
            )
        self.state = State(self._settings, ledger, self._ids)
        self.view.show(self.state)
        self.fenced = self.store_problem = None
        self._in_doubt = False
        self.bus.begin(epoch)
        self._forget_events()
        log.info(
            "state loaded",
            epoch=epoch,
            apps=len(ledger.declared.apps),
            instances=len(ledger.instances),
            deployments=len(ledger.deployments),
            seconds=round(time.monotonic() - started, 3),
        )
        self.resigned.clear()
        self.post(Elected(address))

    def _forget_events(self) -> None:
        """They were of another time."""
        for event in self._events:
            if isinstance(event, CommandReceived):
                self.refuse(event.ticket, NotLeader("this node did not lead"))
        self._events.clear()

    def follow(self, leader: str | None) -> None:
        """Stops leading, if it led: leaves Mesos (the tasks go on), ends the probes and the event streams."""
        self.post(Deposed(leader))

    def doubt(self) -> None:
        """Another scheduler subscribed as this framework. Leads on only if the store still takes this leader's writes; then it subscribes
        anew."""
        self._in_doubt = True
        self.post(BatchEnded())

    def _later(self, seconds: float, do: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(seconds, do)

    async def check_right(self) -> None:
        """A leader that has nothing to write for a while looks whether it still leads."""
        if self.view.is_leader and not await self._store.holds():
            self.doubt()

    def _subscribe_again(self) -> None:
        if self.view.is_leader and self._performer is not None:
            again = Subscribe(self.state.ledger.framework_id, self.state.launcher.roles)
            self._performer.perform(again, self._clock())

    # --- the loop

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; never ends by an error."""
        stopped = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                try:
                    await self._wait(stopped)
                    await self.step()
                except asyncio.CancelledError:
                    raise
                except Exception:
                    self.figures.errors += 1
                    log.exception("the engine's loop failed, it goes on")
                    await asyncio.sleep(0.1)
        finally:
            stopped.cancel()
            for future in self._callers.values():
                if not future.done():
                    future.set_exception(NotLeader("the framework stops"))
            self.bus.close()

    async def _wait(self, stopped: asyncio.Task[bool]) -> None:
        """For an event, a deadline, or the end."""
        if self._events:
            await asyncio.sleep(0)
            return
        self._news.clear()
        deadline = self.state.next_deadline()
        timeout = None if deadline is None else max(0.0, deadline - self._clock())
        if self.store_problem is not None:
            timeout = min(self._loop_settings.store_retry, timeout if timeout is not None else 3600.0)
        news = asyncio.ensure_future(self._news.wait())
        try:
            await asyncio.wait({news, stopped}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()

    async def step(self) -> None:
        """One batch."""
        async with self._turn:
            led = self.view.is_leader
            await self._step()
            if led and not self.view.is_leader:
                self.store_problem = None
                self.bus.close()  # listeners find the new leader, and go on there

    async def _step(self) -> None:
        actions, handled = await self._handle_batch()
        try:
            ledger = self.state.ledger
            writes = await self._encoded(ledger.pending()) if ledger.changed else []
        except Exception as error:
            await self._not_encodable(error)
            return
        if not writes and self.view.is_leader and self._needs_word(actions):
            writes = [Write(PROBE_TABLE, "writable", b"1")]
        elif not writes and not self.view.is_leader:
            actions = _harmless(actions)  # it was deposed in this very batch
        if writes:
            try:
                started = time.perf_counter()
                await self._store.commit(writes)
                self.figures.commit_seconds += time.perf_counter() - started
            except StoreFenced as error:
                await self._deposed_by_store(error, actions)
                return
            except StoreError as error:
                await self._not_kept(error, actions)
                return
            if self.store_problem is not None:
                log.info("the store can be written again")
                self.store_problem = None
        if self._in_doubt and self.view.is_leader:
            self._in_doubt = False
            self._later(RESUBSCRIBE_PAUSE, self._subscribe_again)
        self.state.ledger.committed()
        self.figures.batches += 1
        self.figures.events += handled
        self.figures.writes += len(writes)
        if actions:
            await self._perform(actions)

    def _needs_word(self, actions: list[Action]) -> bool:
        """Whether to ask the store first if this one still leads, or the store still writes."""
        return self._in_doubt or self.store_problem is not None or any(map(_needs_right, actions))

    async def _encoded(self, pending: Iterator[Write]) -> list[Write]:
        writes: list[Write] = []
        slice_started = time.perf_counter()
        for write in pending:
            writes.append(write)
            if time.perf_counter() - slice_started > self._loop_settings.slice_seconds:
                await asyncio.sleep(0)
                slice_started = time.perf_counter()
        return writes

    async def _handle_batch(self) -> tuple[list[Action], int]:
        state, now = self.state, self._clock()
        started = slice_started = time.perf_counter()
        actions: list[Action] = []
        handled = 0
        deadline = state.next_deadline()
        if deadline is not None and deadline <= now:
            actions += self._handle(TimePassed(), now)
        self._batch = []
        most = 1 if self._one_by_one else self._loop_settings.batch
        self._one_by_one = max(0, self._one_by_one - 1)
        while self._events and handled < most:
            event = self._events.popleft()
            self._batch.append(event)
            actions += self._handle(await self._planned(event, now), now)
            handled += 1
            if time.perf_counter() - slice_started > self._loop_settings.slice_seconds:
                await asyncio.sleep(0)
                slice_started = time.perf_counter()
        actions += self._handle(BatchEnded(), now)
        self.figures.handle_seconds += time.perf_counter() - started
        return actions, handled

    async def _planned(self, event: Event, now: float) -> Event:
        """A large change is worked out beside the event loop, which answers others meanwhile. Nothing changes before it is carried out, as
        nobody but this loop changes anything."""
        if not isinstance(event, CommandReceived) or not self.view.is_leader:
            return event
        command = event.command
        if not isinstance(command, Declare | CancelDeployment) or self._size(command) <= self._loop_settings.large:
            return event
        loop = asyncio.get_running_loop()
        return replace(event, plan=await loop.run_in_executor(self._planning, self.state.plan, command, now))

    def _size(self, command: Declare | CancelDeployment) -> int:
        """How many apps and pods it is about."""
        if isinstance(command, Declare):
            return command.size
        deployment = self.state.ledger.deployments.get(command.deployment_id)
        return len(deployment.changes) if deployment else 0

    def _handle(self, event: Event, now: float) -> list[Action]:
        try:
            return self.state.handle(event, now)
        except Exception:
            # One event that cannot be handled must not take the others of its batch with it.
            self.figures.errors += 1
            log.exception("an event could not be handled", event_type=type(event).__name__)
            lost, self.state.core.actions = self.state.core.actions, []
            return lost

    async def _perform(self, actions: list[Action]) -> None:
        assert self._performer is not None, "connect() comes before run()"
        now = self._clock()
        slice_started = started = time.perf_counter()
        for action in actions:
            try:
                self._performer.perform(action, now)
            except Exception:
                self.figures.errors += 1
                log.exception("an action could not be carried out", action=type(action).__name__)
            if time.perf_counter() - slice_started > self._loop_settings.slice_seconds:
                await asyncio.sleep(0)
                slice_started = time.perf_counter()
        self.figures.perform_seconds += time.perf_counter() - started

    async def _not_encodable(self, error: Exception) -> None:
        """Something in the batch cannot be written. Nothing of it has happened; its events come again, one at a time, until the one that
        is at fault stands alone: it is dropped, and who asked for it is told."""
        self.figures.errors += 1
        undone = self.state.undo(self._clock())
        if len(self._batch) > 1:
            self._one_by_one = len(self._batch)
            self._events.extendleft(reversed(self._batch))
        for event in self._batch if len(self._batch) == 1 else ():
            log.error(
                "what came of an event cannot be written, it is dropped",
                event_type=type(event).__name__,
                error=str(error),
            )
            if isinstance(event, CommandReceived):
                self.refuse(event.ticket, Unstorable(str(error)))
        if not self._batch:
            log.error("what is to be done now cannot be written", error=str(error))
            await self._sleep(self._loop_settings.store_retry)
        await self._perform([action for action in undone if not isinstance(action, Announce)])

    async def _not_kept(self, error: StoreError, actions: list[Action]) -> None:
        """Nothing of the batch has happened: callers are told so, offers go back, the rest is worked out anew."""
        self.figures.failed_commits += 1
        if self.store_problem is None:
            log.error("the store cannot be written, changes are refused until it can", error=str(error))
        self.store_problem = str(error)
        kept: list[Action] = []
        for action in actions:
            match action:
                case Reply(ticket) | Refuse(ticket):  # a refusal may come of what has not happened
                    kept.append(Refuse(ticket, StoreUnavailable(str(error))))
                case Accept(offer):
                    kept.append(Decline((offer.id,), self._loop_settings.store_retry))
                case Decline() | Revive() | Suppress() | Reconcile() | Subscribe() | Unsubscribe() | Warn():
                    kept.append(action)
                case _:
                    pass  # Mesos tells again what is not acknowledged; kills and probes are worked out anew
        kept += [action for action in self.state.undo(self._clock()) if not isinstance(action, Announce)]
        await self._perform(kept)
        await self._sleep(self._loop_settings.store_retry)

    async def _deposed_by_store(self, error: StoreFenced, actions: list[Action]) -> None:
        """Another leads, or may: nothing of the batch leaves, and what is in memory is not to be relied on any more."""
        self.figures.failed_commits += 1
        log.warning("the store refuses this leader, it gives up", error=str(error))
        self.fenced = str(error)
        kept: list[Action] = [
            Refuse(action.ticket, NotLeader(str(error))) for action in actions if isinstance(action, Reply | Refuse)
        ]
        self.state.ledger.undo()
        await self._perform([*kept, *self.state.handle(Deposed(), self._clock())])
        self.resigned.set()

    # --- Callers

    def reply(self, ticket: int, answer: Answer) -> None:
        future = self._callers.get(ticket)
        if future is not None and not future.done():
            future.set_result(answer)

    def refuse(self, ticket: int, error: Exception) -> None:
        future = self._callers.get(ticket)
        if future is not None and not future.done():
            future.set_exception(error)


_HARMFUL = (Kill, Reconcile)


def _harmless(actions: list[Action]) -> list[Action]:
    return [action for action in actions if not _needs_right(action)]


def _needs_right(action: Action) -> bool:
    """Whether it may do harm if another has begun to lead unnoticed: who does not know the other's launches would end them as strangers.
    Only the store knows who leads, so it is written to first."""
    return isinstance(action, _HARMFUL)
