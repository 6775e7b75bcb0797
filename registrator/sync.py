"""The loop: look, compare, write the difference. Hints only make it look sooner; it needs none."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

from daemonkit.backoff import Backoff
from daemonkit.health import Health
from daemonkit.lifecycle import sleep_or_stop
from daemonkit.logs import get_logger
from registrator.apply import Applier
from registrator.diff import Limits, Memory, Plan, diff, names_that_drain
from registrator.errors import ConsulAwayError
from registrator.merge import Age, Judged, Patience, Verdict, judge, merge
from registrator.metrics import Metrics
from registrator.model import Instance, Phase, Service
from registrator.naming import Named, Naming, services_of
from registrator.observe import Observer
from registrator.status import Report, status_of

log = get_logger(__name__)

_RECHECK = 0.1  # seconds between looks at checks on which a drain waits


class Sync:
    def __init__(
        self,
        observer: Observer,
        applier: Applier,
        *,
        naming: Naming,
        limits: Limits,
        patience: Patience,
        debounce: float,
        metrics: Metrics,
        health: Health,
    ) -> None:
        self.report = Report()
        self._observer = observer
        self._applier = applier
        self._naming = naming
        self._limits = limits
        self._patience = patience
        self._debounce = debounce
        self._metrics = metrics
        self._health = health
        self._memory = Memory(tokens=limits.burst)
        self._known_since: dict[str, float] = {}
        self._unreachable_since: dict[str, float] = {}
        self._names: dict[str, tuple[Instance, Named]] = {}
        self._wake = asyncio.Event()
        self._hinted_at: float | None = None
        self._due = 0.0  # when (loop time) there is something to do without any hint
        self._blocked_until = 0.0  # and before when nothing is tried
        self._rests_until = 0.0
        self._confirm = False
        self._backoff = Backoff(first=0.25, most=10.0)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`. No error ends it."""
        watching = asyncio.create_task(self._observer.watch(self._hint, stop), name="watch")
        stopping = asyncio.create_task(self._wake_at(stop), name="stop")
        try:
            while not stop.is_set():
                await self._round()
                await self._wait(stop)
        finally:
            for task in (watching, stopping):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    def status(self) -> dict[str, Any]:
        """What runs, what became of it, and why; see registrator.status."""
        return status_of(self.report, self._observer.seen, self._applier.refusals, self._health)

    def _hint(self, source: str, reason: str) -> None:
        self._observer.mark(source)
        if self._hinted_at is None:
            self._hinted_at = _now()
            log.debug("hint", source=source, reason=reason)
        self._wake.set()

    async def _wake_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()

    async def _wait(self, stop: asyncio.Event) -> None:
        """Until something is due. A hint after a quiet time is answered at once; those of a swarm are gathered."""
        while not stop.is_set():
            # A hint for a source that may not be looked at yet is kept, and waited for.
            ready = max(self._blocked_until, self._rests_until, min(self._due, self._observer.next_look()))
            if (left := ready - _now()) <= 0:
                break
            self._wake.clear()
            await sleep_or_stop(left, self._wake)

    async def _round(self) -> None:
        """One comparison. What fails is tried again after a while."""
        began, hinted_at, self._hinted_at = _now(), self._hinted_at, None
        confirm, self._confirm = self._confirm, False
        try:
            await self._observer.look(fresh=confirm)
            await self._reconcile()
            # At most half of the time is spent here, however fast the hints come.
            self._rests_until = _now() + max(self._debounce, _now() - began)
        except Exception as error:
            delay = self._backoff.next()
            self._blocked_until = _now() + delay
            self._confirm = confirm
            self._hinted_at = hinted_at if self._hinted_at is None else self._hinted_at
            self._health.failing("consul", str(error) or repr(error))
            self._metrics.errors.labels(at="consul").inc()
            if isinstance(error, ConsulAwayError):
                log.warning("Consul is away, will try again", error=str(error), retry_in=round(delay, 2))
            else:
                log.exception("a comparison failed, will try again", error=repr(error), retry_in=round(delay, 2))
            return
        self._backoff.reset()
        self._health.ok("consul", f"{len(self.report.registered)} services are ours")
        self._metrics.reconcile_seconds.observe(_now() - began)
        if hinted_at is not None:
            self._metrics.lag_seconds.observe(_now() - hinted_at)

    async def _reconcile(self) -> None:
        now = _now()
        seen = self._observer.seen
        truth = merge(seen)
        judged, patience_ends = self._judge(truth.instances, now)
        named = self._name(truth.instances)
        wanted, duplicates = _one_owner_each(judged, named)
        actual = await self._applier.actual()
        await self._applier.refresh(names_that_drain(judged, actual, self._naming.owner))
        plan = diff(
            judged=judged,
            wanted=wanted,
            unsure=frozenset(key for key, found in named.items() if found.unsure),
            ended=truth.ended,
            proofs=self._observer.proofs(truth),
            actual=actual,
            owner=self._naming.owner,
            memory=self._memory,
            now=now,
            limits=self._limits,
        )
        self._memory = plan.memory
        try:
            await self._applier.apply(plan)
            next_beat = await self._applier.beat(service for services in wanted.values() for service in services)
        finally:
            self._report(judged, named, plan, duplicates)
        self._confirm = plan.look_again_in is not None
        again = None if plan.look_again_in is None else now + plan.look_again_in
        recheck = now + _RECHECK if plan.postponed else None
        dues = (self._applier.next_read(), self._applier.next_retry(), next_beat, again, patience_ends, recheck)
        self._due = min(due for due in dues if due is not None)

    def _judge(self, instances: Mapping[str, Instance], now: float) -> tuple[dict[str, Judged], float | None]:
        """The verdicts, and when the next patience ends."""
        self._known_since = {key: self._known_since.get(key, now) for key in instances}
        self._unreachable_since = {
            key: self._unreachable_since.get(key, now)
            for key, instance in instances.items()
            if instance.phase is Phase.UNREACHABLE
        }
        seen, judged, ends = self._observer.seen, {}, []
        for key, instance in instances.items():
            since = self._unreachable_since.get(key, now)
            age = Age(known=now - self._known_since[key], unreachable=now - since)
            judged[key] = judge(instance, seen, age, self._patience)
            if judged[key].verdict is Verdict.WAIT:
                waits = self._patience.unreachable if key in self._unreachable_since else self._patience.framework
                begun = self._unreachable_since.get(key, self._known_since[key])
                ends.append(begun + waits + 0.01)
        return judged, min(ends, default=None)

    def _name(self, instances: Mapping[str, Instance]) -> dict[str, Named]:
        """Names are worked out anew only for instances that have changed."""
        names = {}
        for key, instance in instances.items():
            known = self._names.get(key)
            same = known is not None and (known[0] is instance or known[0] == instance)
            names[key] = known if known and same else (instance, services_of(instance, self._naming))
        self._names = names
        return {key: named for key, (_, named) in names.items()}

    def _report(
        self, judged: Mapping[str, Judged], named: Mapping[str, Named], plan: Plan, duplicates: Mapping[str, str]
    ) -> None:
        registered = self._applier.ours(self._naming.owner)
        for key, judgement in judged.items():
            if judgement.doubt and not (key in self.report.judged and self.report.judged[key].doubt):
                log.warning("registered, though there is a doubt", id=key, doubt=judgement.doubt)
        self.report = Report(judged, named, {**plan.conflicts, **duplicates}, plan.waiting, registered)
        self._metrics.registered.set(len(registered))
        self._metrics.waiting.set(len(plan.waiting))
        self._metrics.refused.set(len(self._applier.refusals) + sum(len(found.refused) for found in named.values()))
        counts = Counter(judgement.verdict for judgement in judged.values())
        for verdict in Verdict:
            self._metrics.instances.labels(verdict=verdict.value).set(counts[verdict])


def _one_owner_each(
    judged: Mapping[str, Judged], named: Mapping[str, Named]
) -> tuple[dict[str, tuple[Service, ...]], dict[str, str]]:
    """Services by instance, and the ids that a second instance asks for too (SERVICE_ID): the first by key has it."""
    owners: dict[str, str] = {}
    wanted, duplicates = {}, {}
    for key, found in named.items():
        if judged[key].verdict is not Verdict.REMOVE:
            wanted[key] = found.services
    # The ids of tasks contain the task's; only containers may choose theirs.
    for key in sorted(key for key in wanted if judged[key].instance.kind == "container"):
        for service in named[key].services:
            if owners.setdefault(service.id, key) != key:
                duplicates[service.id] = f"{key} asks for it too, but {owners[service.id]} has it"
        wanted[key] = tuple(service for service in named[key].services if owners[service.id] == key)
    return wanted, duplicates


def _now() -> float:
    return asyncio.get_running_loop().time()
