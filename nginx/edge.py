"""The loop of the edge: whenever Consul's services change, build the model and make the proxy follow. Level-triggered.

Endpoints follow at once. Routes are handed to consul_template_py's Applier, which checks, rolls back, bounds reloads and tries again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from consul_template_py.apply import Applier
from consul_template_py.guard import Guard, confirmed
from consul_template_py.targets.base import ApplyResult, Outcome
from consul_template_py.token_bucket import Rate
from daemonkit.backoff import Backoff
from daemonkit.errors import OperatorError
from daemonkit.health import Health
from daemonkit.lifecycle import sleep_or_stop
from daemonkit.logs import get_logger
from nginx.addresses import Addresses
from nginx.belief import Belief, Census, believe, healthy_count
from nginx.certificates import Bundle
from nginx.errors import RefusedError
from nginx.model import Instance, Model
from nginx.ports import Ports
from nginx.routes import Builder, Policy, ports_of
from nginx.standby import Switchboard
from nginx.table import Entries, table_of
from nginx.targets.base import Proxy

log = get_logger(__name__)

MOST_TOLD = 20  # refusals that one change is logged with; /status has them all
LOOK_SECONDS = 1.0  # how often the proxy's life, and what is due by time, is looked at


class Services(Protocol):
    """Where instances come from."""

    @property
    def complete(self) -> bool: ...

    @property
    def services(self) -> Mapping[str, Sequence[Instance]]: ...

    @property
    def problem(self) -> str: ...

    @property
    def behind(self) -> bool: ...

    def forget(self) -> None: ...

    async def read(self, names: Sequence[str]) -> Mapping[str, Sequence[Instance]]: ...


class Edge:
    """`model` is the last one that was built; `applied_at` when the proxy last followed one (epoch seconds)."""

    def __init__(
        self,
        proxy: Proxy,
        policy: Policy,
        switchboard: Switchboard,
        health: Health,
        *,
        reloads: Rate,
        reload_due: Path,
        guard: Guard,
        guard_from: int,
        ports: Ports,
        chores: Sequence[Callable[[], Awaitable[None]]] = (),
    ) -> None:
        """`reload_due` is the file that notes an unfinished reload; `chores` are called about once a second."""
        self._proxy = proxy
        self._applier = Applier(proxy, note=reload_due, rate=reloads, on_result=self._on_result)
        self._policy = policy
        self._guard, self._guard_from = guard, guard_from
        self._switchboard = switchboard
        self._ports = ports
        self._health = health
        self.chores = list(chores)
        self._addresses = Addresses()
        self._census = Census()
        self._builder = Builder()
        self._entries: Entries = {}
        self._belief: Belief | None = None
        self.dirty = asyncio.Event()
        self.model = Model()
        self.applied_at = 0.0
        self.reloads = 0
        self.changes = 0

    @property
    def held(self) -> str:
        """Why a drop of instances is not believed yet, "" if there is none."""
        return self._belief.held if self._belief else ""

    async def take(self, certificates: Bundle) -> None:
        """New certificates for the proxy. Raises EdgeError."""
        if await self._proxy.take(certificates):
            self.dirty.set()

    def _on_result(self, result: ApplyResult) -> None:
        self.reloads += result.did_reload
        if result.ok:
            self._health.ok("routes")
        else:
            self._health.failing("routes", f"{result.outcome.value}: {result.error}")
            self._ports.doubt()
        if result.outcome is Outcome.applied:
            self.applied_at = time.time()
            self.dirty.set()

    async def run(self, services: Services, stop: asyncio.Event) -> None:
        """Until `stop`. Raises OperatorError if the proxy cannot be started the first time."""
        adopted = await self._proxy.start()
        log.info("proxy adopted" if adopted else "proxy started", proxy=self._proxy.name)
        self._health.ok("proxy")
        applying = asyncio.create_task(self._applier.run(), name="applier")
        backoff = Backoff(first=0.2, most=10.0)
        try:
            while not stop.is_set():
                try:
                    await self._look_after(services)
                    if await self._has_work(stop):
                        await self._step(services)
                    backoff.reset()
                except Exception as error:
                    self._health.failing("proxy", str(error) or repr(error))
                    foreseen = isinstance(error, OperatorError | RefusedError | OSError)
                    log.error("the proxy did not follow, will try again", error=str(error), exc_info=not foreseen)
                    await sleep_or_stop(backoff.next(), stop)
                    self.dirty.set()
        finally:
            applying.cancel()
            await asyncio.gather(applying, return_exceptions=True)

    async def _has_work(self, stop: asyncio.Event) -> bool:
        """Waits for a change, at most LOOK_SECONDS. Whether there is one, or something that time alone may change."""
        waits = [asyncio.create_task(self.dirty.wait()), asyncio.create_task(stop.wait())]
        await asyncio.wait(waits, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        work = self.dirty.is_set() or bool(self.held) or self._switchboard.is_waiting
        self.dirty.clear()
        return work

    async def _look_after(self, services: Services) -> None:
        """What is due by time: the proxy's life, logs, services that have been gone for long enough."""
        if await self._proxy.ensure_running():
            self.dirty.set()
        for chore in self.chores:
            await chore()
        services.forget()
        if self._ports.is_due and await self._ports.look(ports_of(self.model)):
            self.dirty.set()
        if services.problem:
            self._health.failing("consul", services.problem)
        else:
            self._health.ok("consul")

    async def _step(self, services: Services) -> None:
        """One comparison of what is wanted with what is."""
        if not services.complete:
            return
        belief = await self._believe(services)
        self.model = await self._build(belief.services)
        switched = self._switchboard.judge(self.model, time.monotonic())
        self.changes += await self._proxy.follow(self.model, table_of(self.model, switched, self._entries))
        self._applier.want(self.model)
        self._health.ok("proxy")

    async def _build(self, services: Mapping[str, Sequence[Instance]]) -> Model:
        """The model, without the routes whose port cannot be had: one of those would cost all others their place."""
        addresses = await self._addresses.of(services)
        policy = replace(self._policy, addresses=addresses, taken=self._ports.taken)
        model = self._builder.build(services, policy, self.model)
        if await self._ports.look(ports_of(model)):
            model = self._builder.build(services, replace(policy, taken=self._ports.taken), self.model)
        new = sorted(set(model.refusals) - set(self.model.refusals))
        for refusal in new[:MOST_TOLD]:
            log.warning("refused", service=refusal.service, what=refusal.what, why=refusal.why)
        if new[MOST_TOLD:]:
            log.warning("more were refused, see /status", count=len(new) - MOST_TOLD)
        return model

    async def _believe(self, services: Services) -> Belief:
        """What of Consul's answer is believed; a doubtful drop is confirmed by a consistent read, and waits."""
        last = self._belief
        now = time.monotonic()
        belief = believe(
            self._guard,
            self._guard_from,
            last.services if last else None,
            services.services,
            last.doubt if last else None,
            now,
            self._census.count,
            behind=services.behind,
        )
        if belief.held and belief.confirm and belief.doubt:
            if not (last and last.held):
                log.warning("a drop of instances is doubted", why=belief.held, services=belief.lost[:10])
            consistent = await services.read(belief.lost)
            offered = {name: services.services.get(name, ()) for name in belief.lost}
            if healthy_count(consistent) <= healthy_count(offered):
                belief = replace(belief, doubt=confirmed(belief.doubt))
        if last and last.held and not belief.held:
            log.info("the drop of instances is settled", instances=healthy_count(belief.services))
        self._belief = belief
        return belief
