"""The load balancers that are to answer, all asked at once, and what they say of an app together.

A look waits for those that answer, however slow they are. One that kept a look waiting in vain is asked beside the looks that follow,
until it answers again.

http://edge:8001                        an edge of Dromos
haproxy+http://lb:9090/haproxy?stats;csv    any HAProxy, its statistics as CSV
haproxy-metrics+http://lb:8404/metrics  any HAProxy with its Prometheus exporter
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

import requests

from autoscale.errors import MetricsError
from autoscale.metrics import edge, haproxy
from autoscale.policy_mlb import name_of
from autoscale.sample import Reading, Readings, Traffic, together
from daemonkit.addresses import without_credentials


class Read(Protocol):
    def __call__(self, session: requests.Session, url: str, *, now: float, timeout: float) -> Reading: ...


KINDS: dict[str, tuple[Read, Callable[[str], str]]] = {
    "": (edge.read, str),
    "haproxy": (haproxy.read_csv, name_of),
    "haproxy-metrics": (haproxy.read_metrics, name_of),
}


def _names_a_host(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none
        return False


@dataclass
class Balancer:
    """One load balancer: where, how its numbers are read, and how an app is called there."""

    url: str
    read: Read
    name_of: Callable[[str], str]
    readings: Readings
    session: requests.Session
    error: str = ""
    hangs: bool = False  # it failed the last time, and was long in doing so
    asking: Future[None] | None = None  # while its answer is awaited

    @classmethod
    def of(cls, address: str, *, window: float) -> "Balancer":
        """Raises ValueError for an address of no known kind."""
        scheme = address.partition("://")[0]
        kind, plus, protocol = scheme.rpartition("+")
        if kind not in KINDS or protocol not in ("http", "https") or not _names_a_host(address):
            raise ValueError(
                f"{without_credentials(address)!r} is not the address of a load balancer:"
                " http://…, haproxy+http://… or haproxy-metrics+http://…"
            )
        read, naming = KINDS[kind]
        session = requests.Session()
        session.trust_env = False
        return cls(address.removeprefix(kind + plus), read, naming, Readings(window), session)

    def look(self, now: float, timeout: float, patience: float) -> None:
        began = time.monotonic()
        try:
            self.readings = self.readings.with_reading(self.read(self.session, self.url, now=now, timeout=timeout))
            self.error = ""
        except MetricsError as error:
            self.error = str(error)
        self.hangs = bool(self.error) and time.monotonic() - began > patience


class Balancers:
    def __init__(
        self, addresses: Sequence[str], *, quorum: int, window: float, patience: float = 1.0, most_threads: int = 16
    ) -> None:
        """`quorum`: how many have to answer well; 0 is more than half of them. `patience`: so many seconds a look waits for one that hangs.

        Raises ValueError.
        """
        self._all = [Balancer.of(address, window=window) for address in addresses]
        self._quorum = quorum or len(self._all) // 2 + 1
        self._patience = patience
        self._threads = ThreadPoolExecutor(max(1, min(most_threads, len(self._all))), "balancers")

    def look(self, now: float, timeout: float) -> None:
        """Asks those that are not being asked. Blocking: about `timeout` seconds at most; `patience` for one that hangs."""
        free = [one for one in self._all if one.asking is None]
        sound = [one for one in free if not one.hangs]
        for one in free:
            one.asking = self._threads.submit(one.look, now, timeout, self._patience)
        began = time.monotonic()
        wait([one.asking for one in sound if one.asking], timeout)
        wait([one.asking for one in free if one.asking], max(0.0, began + self._patience - time.monotonic()))
        for one in self._all:
            if one.asking and one.asking.done():
                asked, one.asking = one.asking, None
                asked.result()

    @property
    def errors(self) -> list[str]:
        found = (
            one.error or (f"{without_credentials(one.url)} has not answered yet" if one.asking else "")
            for one in self._all
        )
        return [error for error in found if error]

    @property
    def answering(self) -> int:
        return len(self._all) - len(self.errors)

    def __len__(self) -> int:
        return len(self._all)

    @property
    def has_quorum(self) -> bool:
        return self.answering >= self._quorum

    def traffic(self, app_id: str, now: float, *, fresh_for: float) -> Traffic:
        parts = [one.readings.traffic(one.name_of(app_id), now, fresh_for=fresh_for) for one in self._all]
        return together(parts, now, quorum=self._quorum)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for one in self._all:
            one.session.close()
