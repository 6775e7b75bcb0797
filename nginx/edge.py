"""The loop of the edge: whenever Consul's services change, build the model and make the proxy follow. Level-triggered.

Endpoints follow at once. Reloads wait for the token bucket. A failure is shown, logged and tried again.
"""

import asyncio
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from daemonkit.backoff import Backoff
from daemonkit.errors import OperatorError
from daemonkit.health import Health
from daemonkit.lifecycle import sleep_or_stop
from daemonkit.logs import get_logger
from nginx import names
from nginx.errors import RefusedError
from nginx.model import Instance, Model
from nginx.routes import Policy, build, claims_of
from nginx.table import Table, table_of
from nginx.targets.nginx_lua import Applied

log = get_logger(__name__)

RESOLVE_SECONDS = 30.0


class Target(Protocol):
    """A proxy that follows the model."""

    @property
    def is_running(self) -> bool: ...

    async def start(self) -> bool: ...

    async def apply(self, model: Model, table: Table, *, may_reload: bool = True) -> Applied: ...

    def pending(self, model: Model) -> bool: ...


@dataclass
class TokenBucket:
    """`burst` at once, then one in `interval` seconds. `now` is monotonic."""

    interval: float
    burst: int
    _tokens: float = field(init=False)
    _at: float = 0.0

    def __post_init__(self) -> None:
        self._tokens = float(self.burst)

    def wait(self, now: float) -> float:
        """Seconds until there is a token; 0: now."""
        self._tokens = min(self.burst, self._tokens + (now - self._at) / self.interval)
        self._at = now
        return max(0.0, (1.0 - self._tokens) * self.interval)

    def take(self) -> None:
        self._tokens -= 1.0


class Services(Protocol):
    """Where instances come from."""

    @property
    def complete(self) -> bool: ...

    @property
    def services(self) -> Mapping[str, Sequence[Instance]]: ...

    @property
    def problem(self) -> str: ...

    def forget(self) -> None: ...


class Edge:
    """`model` is the last one that was built; `applied_at` when the proxy last followed one (epoch seconds)."""

    def __init__(self, target: Target, policy: Policy, bucket: TokenBucket, health: Health) -> None:
        self._target = target
        self._policy = policy
        self._bucket = bucket
        self._health = health
        self._addresses: dict[str, tuple[str, float]] = {}
        self.dirty = asyncio.Event()
        self.model = Model()
        self.applied_at = 0.0
        self.reloads = 0
        self.changes = 0

    async def run(self, services: Services, stop: asyncio.Event) -> None:
        """Until `stop`. Raises OperatorError if the proxy cannot be started the first time."""
        adopted = await self._target.start()
        log.info("nginx adopted" if adopted else "nginx started")
        self._health.ok("proxy")
        backoff = Backoff(first=0.2, most=10.0)
        wait = 0.0
        while not stop.is_set():
            await self._wait_for_work(wait, stop)
            try:
                services.forget()
                wait = await self._step(services)
                backoff.reset()
            except Exception as error:
                self._health.failing("proxy", str(error) or repr(error))
                foreseen = isinstance(error, (OperatorError, RefusedError, OSError))
                log.error("the proxy did not follow, will try again", error=str(error), exc_info=not foreseen)
                await sleep_or_stop(backoff.next(), stop)
                self.dirty.set()

    async def _wait_for_work(self, seconds: float, stop: asyncio.Event) -> None:
        """Until something changed, at most `seconds` (0: a second, in which the proxy's life is looked at)."""
        waits = [asyncio.create_task(self.dirty.wait()), asyncio.create_task(stop.wait())]
        await asyncio.wait(waits, timeout=seconds or 1.0, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        self.dirty.clear()

    async def _step(self, services: Services) -> float:
        """One comparison of what is wanted with what is. Seconds until a reload that is due may come; 0 if none is due."""
        if services.problem:
            self._health.failing("consul", services.problem)
        else:
            self._health.ok("consul")
        if not services.complete:
            return 0.0
        policy = await self._with_addresses(services.services)
        self.model = build(services.services, policy, claims_of(self.model))
        wait = self._bucket.wait(time.monotonic())
        applied = await self._target.apply(self.model, table_of(self.model), may_reload=wait == 0.0)
        if applied.reloaded:
            self._bucket.take()
            self.reloads += 1
        self.changes += applied.changed
        self.applied_at = time.time()
        self._health.ok("proxy")
        return wait if wait and self._target.pending(self.model) else 0.0

    async def _with_addresses(self, services: Mapping[str, Sequence[Instance]]) -> Policy:
        """The policy with the addresses of all host names among the instances, looked up again now and then."""
        hosts = {one.address for instances in services.values() for one in instances if not _is_address(one.address)}
        now = time.monotonic()
        for host in hosts:
            known = self._addresses.get(host)
            if known is None or now - known[1] > RESOLVE_SECONDS:
                self._addresses[host] = (await _resolve(host) or (known[0] if known else ""), now)
        self._addresses = {host: found for host, found in self._addresses.items() if host in hosts}
        if not hosts:
            return self._policy
        addresses = {host: found[0] for host, found in self._addresses.items() if found[0]}
        return Policy(
            self._policy.groups,
            self._policy.expose_all,
            self._policy.stream_ports,
            addresses,
            self._policy.authorities,
        )


def _is_address(value: str) -> bool:
    try:
        names.address(value)
    except RefusedError:
        return False
    return True


async def _resolve(host: str) -> str:
    """The first address of a host name, "" if it has none."""
    try:
        names.host(host)
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (RefusedError, OSError, UnicodeError):
        return ""
    return str(sorted(found, key=lambda one: one[0])[0][4][0])
