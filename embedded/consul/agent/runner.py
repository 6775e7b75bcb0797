"""What runs the checks: a timer for each TTL check, a loop for each that asks somebody, a watch for each alias."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp

from daemonkit.logs import get_logger
from embedded.consul.agent.definition import CheckDefinition
from embedded.consul.agent.local import LocalAgent
from embedded.consul.agent.probe import probe
from embedded.consul.model import CRITICAL, PASSING, WARNING, Check
from embedded.consul.state.ledger import CHECKS
from embedded.consul.state.state import State

log = get_logger(__name__)


@dataclass
class Threshold:
    """A new status counts after so many findings in a row: successes for passing and warning, failures for critical."""

    successes: int
    failures: int
    _good: int = field(default=0, init=False)
    _bad: int = field(default=0, init=False)

    def reached(self, status: str) -> bool:
        if status == CRITICAL:
            self._bad, self._good = self._bad + 1, 0
            return self._bad >= self.failures
        self._good, self._bad = self._good + 1, 0
        return self._good >= self.successes


class CheckRunner:
    """Bound to its agent with `agent` before the first check starts. All runs in one event loop; `close()` ends it."""

    agent: LocalAgent

    def __init__(self, state: State, *, concurrency: int) -> None:
        self._state = state
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._later: dict[str, asyncio.TimerHandle] = {}
        self._slots = asyncio.Semaphore(concurrency)
        connector = aiohttp.TCPConnector(limit=0, force_close=True, use_dns_cache=False)
        self._session = aiohttp.ClientSession(connector=connector, trust_env=False, auto_decompress=False)

    def start(self, definition: CheckDefinition) -> None:
        self.stop(definition.id)
        if definition.maintenance:
            return
        if definition.ttl:
            self.heard(definition)
            return
        run = self._alias(definition) if definition.type == "alias" else self._in_intervals(definition)
        self._tasks[definition.id] = asyncio.create_task(run, name=f"check {definition.id}")

    def stop(self, id: str) -> None:
        if task := self._tasks.pop(id, None):
            task.cancel()
        if timer := self._timers.pop(id, None):
            timer.cancel()
        if timer := self._later.pop(f"output of {id}", None):
            timer.cancel()

    def heard(self, definition: CheckDefinition) -> None:
        if timer := self._timers.pop(definition.id, None):
            timer.cancel()
        self._timers[definition.id] = self._loop.call_later(definition.ttl, self._expire, definition.id)

    def later(self, name: str, seconds: float, call: Callable[[], None]) -> None:
        if name not in self._later:
            self._later[name] = self._loop.call_later(seconds, self._due, name, call)

    def now(self) -> float:
        return self._loop.time()

    async def close(self) -> None:
        for id in {*self._tasks, *self._timers}:
            self.stop(id)
        for timer in self._later.values():
            timer.cancel()
        await self._session.close()

    def _expire(self, id: str) -> None:
        self._timers.pop(id, None)
        self.agent.expired(id)

    def _due(self, name: str, call: Callable[[], None]) -> None:
        self._later.pop(name, None)
        call()

    async def _in_intervals(self, definition: CheckDefinition) -> None:
        threshold = Threshold(definition.success_before_passing, definition.failures_before_critical)
        size = self.agent.output_size(definition)
        # The first run is somewhere in the first interval, so that many checks that begin together do not run together.
        await asyncio.sleep(random.random() * definition.pace)
        while True:
            async with self._slots:
                finding = await probe(definition, self._session, size)
            if threshold.reached(finding.status):
                self.agent.update(definition.id, *finding)
            await asyncio.sleep(definition.pace)

    async def _alias(self, definition: CheckDefinition) -> None:
        while True:
            with self._state.ledger.watches.waiter([CHECKS]) as changed:
                self.agent.update(definition.id, *self._aliased(definition))
                await changed

    def _aliased(self, definition: CheckDefinition) -> tuple[str, str]:
        node = definition.alias_node or self.agent.node.name
        catalog = self._state.catalog
        checks = [check for check in catalog.checks_on(node) if check.id != definition.id]
        if definition.alias_service and catalog.service(node, definition.alias_service) is None:
            return CRITICAL, f"Service {definition.alias_service} could not be found on node {node}"
        return aliased(checks, definition.alias_service)


def aliased(checks: list[Check], service_id: str) -> tuple[str, str]:
    """The status of an alias of a service, or of a node alone, from all checks of the node."""
    status, output = PASSING, "No checks found."
    for check in checks:
        if check.service_id not in ("", service_id):
            continue
        if check.status in (CRITICAL, WARNING):
            status, output = check.status, f'Aliased check "{check.name}" failing: {check.output}'
            if status == CRITICAL:
                break
        elif status == PASSING:
            output = "All checks passing."
    return status, output
