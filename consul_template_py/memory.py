"""What is known: the value of every query that a template reads, as received and believed.

Between a watch and the templates stands the shrink guard (`guard.py`): a value that holds much less than the one before is kept back
until a consistent read has confirmed it and it has lasted.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from consul_template_py.errors import SourceError
from consul_template_py.guard import Doubt, Guard, Hold, confirmed, judge
from consul_template_py.query import Query
from consul_template_py.watch import Subscription, Watched, Watcher
from daemonkit.logs import get_logger

log = get_logger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Guards:
    """`default` for all queries; `rules` by pattern of the query as shown, such as `service(web*`; the first that matches."""

    default: Guard = field(default_factory=Guard)
    rules: Mapping[str, Guard] = field(default_factory=dict)

    def of(self, query: Query[Any]) -> Guard:
        shown = str(query)
        return next((guard for pattern, guard in self.rules.items() if fnmatchcase(shown, pattern)), self.default)


class _Held:
    __slots__ = ("confirming", "doubt", "hold", "received", "subscription", "value")

    def __init__(self) -> None:
        self.subscription: Subscription[Any] | None = None
        self.received = False
        self.value: Any = None
        self.doubt: Doubt | None = None
        self.hold: Hold | None = None
        self.confirming: asyncio.Task[None] | None = None


class Memory:
    """`on_change(query)` is called in the event loop when a query has its first or another value."""

    def __init__(
        self, watcher: Watcher, on_change: Callable[[Query[Any]], None], *, guards: Guards | None = None
    ) -> None:
        self._watcher = watcher
        self._on_change = on_change
        self._guards = guards or Guards()
        self._held: dict[Query[Any], _Held] = {}

    def get(self, query: Query[T]) -> tuple[bool, T | None]:
        held = self._held.get(query)
        return (False, None) if held is None else (held.received, held.value)

    def begin(self, query: Query[Any]) -> None:
        """Starts to watch; each call is to be paired with `end`."""
        assert query not in self._held
        held = self._held[query] = _Held()
        held.subscription = self._watcher.watch(query, lambda state: self._heard(held, state))

    def end(self, query: Query[Any]) -> None:
        held = self._held.pop(query)
        if held.subscription is not None:
            held.subscription.close()
        if held.confirming is not None:
            held.confirming.cancel()

    @property
    def queries(self) -> list[Query[Any]]:
        return list(self._held)

    def state(self, query: Query[Any]) -> Watched[Any] | None:
        held = self._held.get(query)
        return held.subscription.state if held and held.subscription else None

    @property
    def holds(self) -> dict[str, str]:
        """Values that are being held back: query as shown -> why."""
        return {str(query): held.hold.why for query, held in self._held.items() if held.hold}

    def _heard(self, held: _Held, state: Watched[Any]) -> None:
        if not state.received or (held.received and state.value is held.value):
            return
        guard = self._guards.of(state.query)
        if not guard.active or not isinstance(state.value, tuple):
            self._believe(held, state)
            return
        before = len(held.value) if held.received else None
        verdict = judge(guard, before, len(state.value), held.doubt, time.monotonic(), behind=state.behind)
        if not isinstance(verdict, Hold):
            self._believe(held, state)
            return
        if held.hold is None:
            log.warning("held back", query=str(state.query), why=verdict.why)
        held.doubt, held.hold = verdict.doubt, verdict
        if held.confirming is None or held.confirming.done():
            held.confirming = asyncio.create_task(self._settle(held, guard))

    def _believe(self, held: _Held, state: Watched[Any]) -> None:
        if held.hold is not None:
            log.info("no longer held back", query=str(state.query))
        held.doubt = held.hold = None
        held.received, held.value = True, state.value
        self._on_change(state.query)

    async def _settle(self, held: _Held, guard: Guard) -> None:
        """Asks for a consistent read until there is one that agrees, waits until the drop has lasted, and judges again."""
        assert held.subscription is not None
        state = held.subscription.state
        while held.hold is not None and held.doubt is not None:
            if not held.doubt.confirmed:
                offered = len(state.value)
                try:
                    agrees = len(await self._watcher.read(state.query)) <= offered
                except SourceError:
                    agrees = False
                if held.hold is None:
                    return
                if agrees:
                    held.doubt = confirmed(held.doubt)
                else:
                    await asyncio.sleep(max(0.5, min(guard.hold_down, 5.0)))
                    continue
            await asyncio.sleep(max(0.0, held.hold.again_at - time.monotonic()))
            self._heard(held, state)
            if held.hold is not None and held.doubt is not None and held.doubt.confirmed:
                # It changed meanwhile, and what it is now is as doubtful: that is to be confirmed too.
                held.doubt = Doubt(held.doubt.since)
