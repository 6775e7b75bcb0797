"""All that is measured: the load balancers, Mesos, Prometheus and queues, asked as far as the apps' policies need them.

A round waits for the load balancers that answer. The others, and a load balancer that hangs, are asked beside it: what is slow to answer,
or does not, delays no other app.
"""

import threading
from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any

import requests

from autoscale.api import Api
from autoscale.demand import Measured
from autoscale.errors import ApiError, MetricsError
from autoscale.metrics import queue
from autoscale.metrics.balancers import Balancers
from autoscale.metrics.mesos import Mesos
from autoscale.metrics.prometheus import Prometheus
from autoscale.policy import Policy, Signal
from autoscale.sample import Quality, Sample, Traffic
from autoscale.settings import AutoscaleSettings
from autoscale.steer import Saturation
from daemonkit.health import Health

FRESH_ROUNDS = 2.5  # how many rounds old a sample may be
AT_EDGE = ("requests", "concurrency", "latency")
IN_MESOS = ("cpu", "memory")
PATIENCE = 0.5  # of the interval: so long a round waits for what it has just asked before it goes on with what it has
SATURATED_ERRORS = 0.05  # share of requests that are answered with 5xx


@dataclass(frozen=True)
class Asked:
    """The last answer of Prometheus or a queue."""

    at: float
    sample: Sample
    error: str = ""


class Inputs:
    def __init__(self, settings: AutoscaleSettings, api: Api, health: Health) -> None:
        self._settings, self._api, self._health = settings, api, health
        self._patience = PATIENCE * settings.interval
        self._balancers = Balancers(
            settings.edge, quorum=settings.quorum, window=settings.window, patience=self._patience
        )
        self._mesos = Mesos(settings.mesos, timeout=settings.timeout) if settings.mesos else None
        self._prometheus = (
            Prometheus(settings.prometheus, timeout=settings.timeout, lookback=settings.prometheus_lookback)
            if settings.prometheus
            else None
        )
        self._threads = ThreadPoolExecutor(16, "signals")
        self._asking: dict[Signal, Future[Asked]] = {}
        self._looking: Future[Mapping[str, list[str]]] | None = None  # at Mesos
        self._looked_at = float("-inf")
        self._sessions = threading.local()
        self._tasks: Mapping[str, list[str]] = {}
        self._asked: dict[Signal, Asked] = {}
        self._mesos_at = float("-inf")

    def look_at_edge(self, now: float) -> None:
        """Asks the load balancers. Blocking; those that do not answer are told by /health."""
        self._balancers.look(now, self._settings.timeout)
        if self._balancers.has_quorum:
            self._health.ok("metrics")
        else:
            errors = self._balancers.errors
            self._health.failing("metrics", "; ".join(errors[:3]))

    def look(self, policies: Collection[Policy], now: float) -> None:
        """Asks what else these policies need. What does not answer is told by /health, and its samples grow stale."""
        signals = {signal for policy in policies for signal in policy.signals}
        with_mesos = any(signal.kind in IN_MESOS for signal in signals)
        outside = [signal for signal in signals if signal.kind in ("query", "queue")]
        asked: list[Future[Any]] = []
        if with_mesos and self._mesos and self._looking is None and self._is_time(now, self._looked_at):
            self._looked_at, self._looking = now, self._threads.submit(self._look_at_mesos)
            asked.append(self._looking)
        for signal in outside:
            if signal not in self._asking and self._is_due(signal, now):
                self._asking[signal] = self._threads.submit(self._ask, signal, now)
                asked.append(self._asking[signal])
        wait(asked, timeout=self._patience)
        if with_mesos:
            self._hear_of_mesos()
        else:
            self._health.forget("mesos")
        for signal in [signal for signal, asking in self._asking.items() if asking.done()]:
            self._asked[signal] = self._asking.pop(signal).result()
        self._asked = {signal: self._asked[signal] for signal in outside if signal in self._asked}
        if outside:
            errors = [answer.error for answer in self._asked.values() if answer.error]
            if errors:
                self._health.failing("signals", "; ".join(errors[:3]))
            else:
                self._health.ok("signals")
        else:
            self._health.forget("signals")

    def traffic(self, app_id: str, now: float) -> Traffic:
        return self._balancers.traffic(app_id, now, fresh_for=FRESH_ROUNDS * self._settings.interval)

    def measured(self, policy: Policy, app_id: str, traffic: Traffic, now: float) -> list[Measured]:
        return [Measured(signal, self._sample(signal, app_id, traffic, now)) for signal in policy.measured]

    def _sample(self, signal: Signal, app_id: str, traffic: Traffic, now: float) -> Sample:
        if signal.kind in AT_EDGE:
            return _at_edge(signal, traffic)
        if signal.kind in IN_MESOS:
            if self._mesos is None or not self._is_fresh(now, self._mesos_at):
                return Sample(now, 0.0, Quality.STALE)
            tasks = self._tasks.get(app_id, [])
            return self._mesos.cpu(tasks, now) if signal.kind == "cpu" else self._mesos.memory(tasks, now)
        asked = self._asked.get(signal)
        if asked is None or not self._is_fresh(now, asked.sample.at):
            return Sample(now, 0.0, Quality.STALE)
        return asked.sample

    def _look_at_mesos(self) -> Mapping[str, list[str]]:
        """The ids of each app's tasks. Raises MetricsError or ApiError."""
        assert self._mesos is not None
        self._mesos.look()
        return self._api.tasks()

    def _hear_of_mesos(self) -> None:
        if self._mesos is None:
            self._health.failing("mesos", "apps ask for cpu or memory; name the master with --mesos")
            return
        if self._looking is None or not self._looking.done():
            return
        looking, self._looking = self._looking, None
        try:
            self._tasks, self._mesos_at = looking.result(), self._looked_at
        except (MetricsError, ApiError) as error:
            self._health.failing("mesos", str(error))
            return
        if self._mesos.errors:
            self._health.failing("mesos", "; ".join(self._mesos.errors[:3]))
        else:
            self._health.ok("mesos")

    def _is_due(self, signal: Signal, now: float) -> bool:
        asked = self._asked.get(signal)
        return asked is None or self._is_time(now, asked.at)

    def _is_time(self, now: float, last: float) -> bool:
        """To ask again: at once where the clock was set back."""
        return not 0 <= now - last < self._settings.signal_interval

    def _is_fresh(self, now: float, at: float) -> bool:
        return 0 <= now - at <= FRESH_ROUNDS * self._settings.signal_interval

    def _ask(self, signal: Signal, now: float) -> Asked:
        known = self._asked.get(signal)
        try:
            return Asked(now, self._answer(signal, now))
        except MetricsError as error:
            # The last good one stays until it is too old.
            before = known.sample if known else Sample(float("-inf"), 0.0, Quality.STALE)
            return Asked(now, before, str(error))

    def _answer(self, signal: Signal, now: float) -> Sample:
        if signal.kind == "query":
            if self._prometheus is None:
                raise MetricsError("apps ask for a query; name Prometheus with --prometheus")
            return self._prometheus.value(signal.query, now)
        if not hasattr(self._sessions, "one"):
            self._sessions.one = requests.Session()
            self._sessions.one.trust_env = False
        return queue.read(self._sessions.one, signal.url, signal.path, now=now, timeout=self._settings.timeout)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._balancers.close()
        if self._mesos:
            self._mesos.close()


def _at_edge(signal: Signal, traffic: Traffic) -> Sample:
    sample = traffic.sample
    if signal.kind == "requests" or sample.quality is Quality.STALE:
        return sample
    value = traffic.active if signal.kind == "concurrency" else traffic.latency
    if value is None:
        # Nothing was answered: if no request came that is as true a zero as that of the requests, else nothing is known.
        return sample if sample.rate == 0 else replace(sample, rate=0.0, quality=Quality.STALE)
    if sample.quality is Quality.PARTIAL:
        return replace(sample, rate=value)
    zero = sample.quality if sample.rate == 0 else Quality.TRUE_ZERO
    return replace(sample, rate=value, quality=Quality.FRESH if value > 0 else zero)


def saturation(traffic: Traffic, *, settled: bool) -> Saturation | None:
    """What says that the edge is short of instances, whatever the rate: it may raise (once the last start is through), never lower.

    Errors only hold: a broken release answers 5xx on any number of instances.
    """
    if traffic.queued > 0:
        return Saturation(f"{traffic.queued:g} requests wait in the edge's queue", settled)
    rate = traffic.sample.rate
    if rate > 0 and traffic.error_rate / rate > SATURATED_ERRORS:
        return Saturation(f"{100 * traffic.error_rate / rate:.0f} % of requests fail", False)
    return None
