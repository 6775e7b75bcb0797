"""One watch per distinct query, shared by all who subscribe to it, each one task, over the source's bounded connections.

A watch never ends by an error: it backs off and asks again for ever, and says meanwhile what is wrong and since when its value is
stale. The last value stays. A subscriber hears of changes only: an answer equal to the last one is no event.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar, cast

from consul_template_py.errors import SourceError
from consul_template_py.query import Query
from consul_template_py.sources.base import DataSource
from consul_template_py.sources.consul import ConsulSettings, ConsulSource
from daemonkit.backoff import Backoff
from daemonkit.logs import get_logger

log = get_logger(__name__)

# Seconds that a restarted server may take until it has read its log again.
_LONGEST_BEHIND = 120.0
# Seconds that those who were told of a change have to work on it before the next request makes Consul want the processor too.
_HEAD_START = 0.001

T = TypeVar("T")
Listener = Callable[["Watched[Any]"], None]


@dataclass(slots=True)
class Watched(Generic[T]):
    """What is known of one query. Times are epoch seconds.

    received     there was an answer; an empty one counts
    value        the last good value; only with `received`
    version      counts changes of the value; 0 before the first answer
    error        why the last try failed, or "" when it went well
    stale_since  when tries began to fail, or None while the value is fresh
    behind       the last answer's index was lower than an earlier one: its server may know less than it did
    """

    query: Query[T]
    received: bool = False
    _value: T | None = None
    version: int = 0
    error: str = ""
    stale_since: float | None = None
    changed_at: float = 0.0
    answered_at: float = 0.0
    behind: bool = False

    @property
    def value(self) -> T:
        assert self.received
        return cast(T, self._value)

    @property
    def fresh(self) -> bool:
        return self.received and self.stale_since is None


@dataclass(frozen=True, slots=True)
class Retry:
    """Seconds. `attempts` in a row that fail are too many; 0: never."""

    first: float = 0.25
    most: float = 30.0
    attempts: int = 0


class Subscription(Generic[T]):
    """A share in a watch. `close()` it; the watch ends with its last subscription."""

    __slots__ = ("_listener", "_seen", "_watch", "state")

    def __init__(self, watch: "_Watch", listener: Listener | None) -> None:
        self._watch = watch
        self._listener = listener
        self._seen = 0
        self.state: Watched[T] = watch.state

    async def changed(self) -> Watched[T]:
        """Waits until the value is newer than at the last call (at the first: until there is one)."""
        while self.state.version == self._seen:
            future = asyncio.get_running_loop().create_future()
            self._watch.waiters.add(future)
            try:
                await future
            finally:
                self._watch.waiters.discard(future)
        self._seen = self.state.version
        return self.state

    def close(self) -> None:
        self._watch.leave(self._listener, self)


class Watcher:
    """`async with Watcher(consul) as watcher: subscription = watcher.watch(ServiceQuery("web"))`

    `sources` adds, or replaces, the data source of a kind of query. `first_retry` and `most_retry` bound the back-off, in seconds;
    `retries` says otherwise for some sources, by name. `on_error` may count failures, by source. `on_given_up` hears of a watch that
    has failed too often in a row; the watch goes on all the same, to end is for its owner.
    """

    def __init__(
        self,
        consul: ConsulSettings | None = None,
        *,
        sources: Mapping[str, DataSource] | None = None,
        first_retry: float = 0.25,
        most_retry: float = 30.0,
        retries: Mapping[str, Retry] | None = None,
        on_error: Callable[[str], None] = lambda source: None,
        on_given_up: Callable[[str], None] = lambda why: None,
    ) -> None:
        self._consul = ConsulSource(consul) if consul is not None else None
        self._sources: dict[str, DataSource] = {"consul": self._consul} if self._consul else {}
        self._sources |= sources or {}
        self._retry, self._retries = Retry(first_retry, most_retry), retries or {}
        self._on_error, self._on_given_up = on_error, on_given_up
        self._watches: dict[Query[Any], _Watch] = {}
        self._failing: dict[str, set[Query[Any]]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def watch(self, query: Query[T], listener: Callable[[Watched[T]], None] | None = None) -> Subscription[T]:
        """Subscribes. `listener` is called in the event loop after each change of the value, and when the watch begins or stops
        to fail, or stops to be behind; it must be quick and must not raise. It is also called, soon, if a value is there already."""
        watch = self._watches.get(query)
        if watch is None:
            watch = self._watches[query] = _Watch(self, query)
            self._count(query, 1)
            watch.start()
        subscription: Subscription[T] = Subscription(watch, listener)
        watch.join(listener, subscription)
        return subscription

    async def read(self, query: Query[T]) -> T:
        """One read, now, as consistent as the source can be: what confirms a doubtful change. Raises SourceError."""
        return cast(T, await self._source(query).read(query))

    @property
    def states(self) -> list[Watched[Any]]:
        return [watch.state for watch in self._watches.values()]

    async def close(self) -> None:
        tasks = [watch.stop() for watch in self._watches.values()]
        self._watches.clear()
        await asyncio.gather(*tasks, return_exceptions=True)
        for source in self._sources.values():
            await source.close()

    def _source(self, query: Query[Any]) -> DataSource:
        source = self._sources.get(query.source)
        if source is None:
            raise SourceError(f"{query}: no {query.source} is configured")
        return source

    def _drop(self, query: Query[Any]) -> None:
        watch = self._watches.pop(query, None)
        if watch is not None:
            watch.stop()
            self._failing.get(query.source, set()).discard(query)
            self._count(query, -1)

    def _failed(self, query: Query[Any], error: str) -> None:
        self._on_error(query.source)
        failing = self._failing.setdefault(query.source, set())
        if not failing:  # one line for an outage, not one for each watch
            log.warning("watches fail, will try again", source=query.source, query=str(query), error=error)
        failing.add(query)

    def _recovered(self, query: Query[Any]) -> None:
        failing = self._failing.setdefault(query.source, set())
        failing.discard(query)
        if not failing:
            log.info("watches recovered", source=query.source)

    def _count(self, query: Query[Any], more: int) -> None:
        if self._consul is not None and query.source == "consul":
            self._consul.watches += more


class _Watch:
    __slots__ = ("_behind_since", "_highest", "_listeners", "_subscriptions", "_task", "_watcher", "state", "waiters")

    def __init__(self, watcher: Watcher, query: Query[Any]) -> None:
        self._watcher = watcher
        self.state: Watched[Any] = Watched(query)
        self.waiters: set[asyncio.Future[None]] = set()
        self._listeners: list[Listener] = []
        self._subscriptions: set[Subscription[Any]] = set()
        self._task: asyncio.Task[None] | None = None
        self._highest = 0  # index
        self._behind_since = 0.0

    def start(self) -> None:
        self._task = asyncio.create_task(self._follow())

    def stop(self) -> "asyncio.Task[None]":
        assert self._task is not None
        self._task.cancel()
        return self._task

    def join(self, listener: Listener | None, subscription: Subscription[Any]) -> None:
        self._subscriptions.add(subscription)
        if listener is not None:
            self._listeners.append(listener)
            if self.state.received or self.state.error:
                asyncio.get_running_loop().call_soon(self._tell_one, listener)

    def leave(self, listener: Listener | None, subscription: Subscription[Any]) -> None:
        if subscription not in self._subscriptions:
            return
        self._subscriptions.discard(subscription)
        if listener is not None:
            self._listeners.remove(listener)
        if not self._subscriptions:
            self._watcher._drop(self.state.query)

    async def _follow(self) -> None:
        state, cursor = self.state, None
        retry = self._watcher._retries.get(state.query.source, self._watcher._retry)
        backoff, failures = Backoff(retry.first, retry.most), 0
        while True:
            try:
                source = self._watcher._source(state.query)
                answer = await source.poll(state.query, cursor, state._value)
            except asyncio.CancelledError:
                raise
            except Exception as error:  # whatever it is: a watch lives on
                self._failed(error)
                failures += 1
                if failures == retry.attempts:
                    self._watcher._on_given_up(f"{state.query}: given up after {failures} attempts: {state.error}")
                await asyncio.sleep(backoff.next())
                cursor = None  # a server that was away may have started over
                continue
            backoff.reset()
            failures = 0
            cursor = answer.cursor
            caught_up = self._note_index(answer.index)
            if self._answered(answer.value, caught_up):
                await asyncio.sleep(_HEAD_START)

    def _note_index(self, index: int) -> bool:
        """True where it is no longer behind. A server that stays so has started over: what it says is what there is."""
        now, was_behind = time.monotonic(), self.state.behind
        if index >= self._highest or (self.state.behind and now - self._behind_since > _LONGEST_BEHIND):
            self._highest, self.state.behind = index, False
        elif not self.state.behind:
            self._behind_since, self.state.behind = now, True
        return was_behind and not self.state.behind

    def _answered(self, value: Any, caught_up: bool) -> bool:
        """True if the listeners were told of another value."""
        state = self.state
        now = time.time()
        recovered, state.error, state.stale_since, state.answered_at = bool(state.error), "", None, now
        changed = not state.received or (value is not state._value and value != state._value)
        if changed:
            state.received, state._value, state.changed_at = True, value, now
            state.version += 1
        if recovered:
            self._watcher._recovered(state.query)
        if changed or recovered or caught_up:
            self._tell(changed)
        return changed

    def _failed(self, error: Exception) -> None:
        state = self.state
        first = not state.error
        if not isinstance(error, SourceError):
            log.error("watch failed in an unforeseen way", query=str(state.query), exc_info=error)
        state.error = str(error) or repr(error)
        self._watcher._failed(state.query, state.error)
        if first:
            state.stale_since = time.time()
            self._tell(False)

    def _tell(self, changed: bool) -> None:
        for listener in tuple(self._listeners):
            self._tell_one(listener)
        if changed:
            for waiter in self.waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def _tell_one(self, listener: Listener) -> None:
        try:
            listener(self.state)
        except Exception:
            log.exception("a listener of a watch failed", query=str(self.state.query))
