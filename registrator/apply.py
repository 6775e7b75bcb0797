"""Carries a plan out at one Consul agent, and keeps what the agent has in mind, so that it is read only now and then."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from daemonkit.backoff import Backoff
from daemonkit.logs import get_logger
from registrator.consul import Consul
from registrator.diff import DRAINING, HELD, Plan
from registrator.errors import ConsulAwayError, RefusedError
from registrator.metrics import Metrics
from registrator.model import Registered, Service
from registrator.naming import OWNER

log = get_logger(__name__)

# Reading the agent's list takes at most this share of the time, however long it is.
_READ_SHARE = 0.05


@dataclass
class Refusal:
    """What Consul does not take, and when it is asked again."""

    asked: object
    why: str
    backoff: Backoff = field(default_factory=lambda: Backoff(first=0.5, most=300.0))
    retry_at: float = 0.0


class Applier:
    def __init__(self, consul: Consul, *, verify: float, metrics: Metrics) -> None:
        self.consul = consul
        self.refusals: dict[str, Refusal] = {}  # service id ->
        self._actual: dict[str, Registered] | None = None
        self._read_at = 0.0
        self._read_took = 0.0
        self._verify = verify
        self._beats: dict[str, tuple[str, float]] = {}  # check id -> the status that was sent, and when
        self._metrics = metrics

    async def actual(self) -> Mapping[str, Registered]:
        """What the agent has. Raises ConsulAwayError."""
        now = _now()
        if self._actual is None or now >= self.next_read():
            self._actual = await self.consul.services()
            self._read_at, self._read_took = now, _now() - now
            self.refusals = {id: refusal for id, refusal in self.refusals.items() if refusal.retry_at > now - 600}
        return self._actual

    async def refresh(self, names: Collection[str]) -> None:
        """Looks at the checks of the services of these names. Raises ConsulAwayError."""
        if self._actual is not None and names:
            for id, statuses in (await self.consul.statuses(names)).items():
                if id in self._actual:
                    self._actual[id] = replace(self._actual[id], statuses=statuses)

    def next_read(self) -> float:
        return self._read_at + max(self._verify, self._read_took / _READ_SHARE) if self._actual is not None else 0.0

    def next_retry(self) -> float | None:
        now = _now()
        return min((refusal.retry_at for refusal in self.refusals.values() if refusal.retry_at > now), default=None)

    def ours(self, owner: str) -> frozenset[str]:
        """The ids of the services that are ours, as far as is known."""
        return frozenset(id for id, found in (self._actual or {}).items() if found.meta.get(OWNER) == owner)

    async def apply(self, plan: Plan) -> None:
        """Makes the writes; what comes into rotation before what leaves it. Raises ConsulAwayError once all under way have ended."""
        await self._all(
            [
                *(self._write("register", service.id, service, self._register(service)) for service in plan.register),
                *(self._write("register", s.id, (s, HELD), self._register(s, HELD)) for s in plan.held),
                *(self._write("maintenance", id, on, self._maintain(id, on)) for id, on in plan.maintenance if not on),
            ]
        )
        await self._all(
            [
                *(self._write("maintenance", id, on, self._maintain(id, on)) for id, on in plan.maintenance if on),
                *(self._write("drop_check", id, id, self._drop_check(id)) for id in plan.drop_checks),
                *(self._write("deregister", id, why, self._deregister(id, why)) for id, why in plan.deregister),
            ]
        )

    async def beat(self, services: Iterable[Service]) -> float | None:
        """Sends the heartbeats of TTL checks that are due or have changed; when (loop time) the next is due.

        Services that are not registered, or are another owner's, get none.
        """
        now, next_due, sends = _now(), None, []
        wanted = set()
        for service in services:
            if not service.has_heartbeat:
                continue
            there = self._actual.get(service.id) if self._actual is not None else None
            for check in service.checks:
                if check.heartbeat is None or there is None or check.id not in there.check_ids:
                    continue
                if there.meta.get(OWNER) != service.meta[OWNER]:
                    continue
                wanted.add(check.id)
                status, sent = self._beats.get(check.id, ("", 0.0))
                if status != check.status or now >= sent + check.heartbeat:
                    sends.append(
                        self._write("heartbeat", check.id, check.status, self._heartbeat(check.id, check.status))
                    )
                    sent = now
                next_due = min(next_due or sent + check.heartbeat, sent + check.heartbeat)
        self._beats = {id: beat for id, beat in self._beats.items() if id in wanted}
        await self._all(sends)
        return next_due

    async def _all(self, writes: Sequence[Awaitable[None]]) -> None:
        for outcome in await asyncio.gather(*writes, return_exceptions=True):
            if isinstance(outcome, BaseException):
                self._actual = None  # a write without an answer may have been made all the same
                raise outcome

    async def _write(self, kind: str, id: str, asked: object, act: Callable[[], Awaitable[None]]) -> None:
        refusal = self.refusals.get(id)
        if refusal and refusal.asked == asked and _now() < refusal.retry_at:
            return
        try:
            await act()
        except RefusedError as error:
            if refusal is None or refusal.asked != asked:
                refusal = self.refusals[id] = Refusal(asked, str(error))
                log.warning("Consul refuses a write", kind=kind, id=id, error=str(error))
            refusal.why, refusal.retry_at = str(error), _now() + refusal.backoff.next()
            self._metrics.errors.labels(at="refused").inc()
            return
        self.refusals.pop(id, None)
        self._metrics.writes.labels(kind=kind).inc()

    def _register(self, service: Service, maintenance: str | None = None) -> Callable[[], Awaitable[None]]:
        async def act() -> None:
            await self.consul.register(service, maintenance)
            before = self._known.get(service.id)
            self._known[service.id] = Registered(
                service.id,
                service.name,
                service.address,
                service.port,
                service.tags,
                service.meta,
                frozenset(check.id for check in service.checks) | (before.check_ids if before else frozenset()),
                before.maintenance if before else maintenance,
                {check.id: check.status for check in service.checks} | (dict(before.statuses) if before else {}),
            )
            what = "changed" if before else "registered, held" if maintenance else "registered"
            log.info(what, id=service.id, at=f"{service.address}:{service.port}")

        return act

    def _maintain(self, id: str, on: bool) -> Callable[[], Awaitable[None]]:
        async def act() -> None:
            await self.consul.set_maintenance(id, on, DRAINING)
            self._known[id] = replace(self._known[id], maintenance=DRAINING if on else None)
            log.info("drains" if on else "is in rotation", id=id)

        return act

    def _deregister(self, id: str, why: str) -> Callable[[], Awaitable[None]]:
        async def act() -> None:
            await self.consul.deregister(id)
            self._known.pop(id, None)
            log.info("removed", id=id, why=why)

        return act

    def _drop_check(self, id: str) -> Callable[[], Awaitable[None]]:
        async def act() -> None:
            await self.consul.drop_check(id)
            for service, found in self._known.items():
                if id in found.check_ids:
                    self._known[service] = replace(found, check_ids=found.check_ids - {id})

        return act

    def _heartbeat(self, id: str, status: str) -> Callable[[], Awaitable[None]]:
        async def act() -> None:
            await self.consul.heartbeat(id, status, "healthy" if status == "passing" else "not healthy")
            self._beats[id] = (status, _now())

        return act

    @property
    def _known(self) -> dict[str, Registered]:
        if self._actual is None:
            raise ConsulAwayError("what the agent has is not known")
        return self._actual


def _now() -> float:
    return asyncio.get_running_loop().time()
