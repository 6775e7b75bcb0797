"""Metrics of the API's side of the framework: Marathon's names as JSON, and the same for Prometheus."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client import Counter as CounterMetric
from prometheus_client.core import GaugeMetricFamily, Metric, UnknownMetricFamily
from prometheus_client.registry import Collector

from framework.api.answers.tasks import STAGING
from framework.engine.bus import Bus
from framework.engine.view import View
from framework.model.instance import Condition

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_METHODS = ("get", "post", "put", "delete")
_KINDS = ("1xx", "2xx", "3xx", "4xx", "5xx")
_MOST_DURATIONS = 1024  # the last ones, of which a timer tells

_CONDITION = attrgetter("condition._value_")


class Metrics:
    """`requests_active`, `bytes_in` and `bytes_out` are counted by whoever serves the requests."""

    def __init__(self, view: View, bus: Bus, clock: Callable[[], float] = time.time) -> None:
        self._view, self._bus, self._clock, self._started = view, bus, clock, time.monotonic()
        self.requests_active = self.bytes_in = self.bytes_out = 0
        self._responses = dict.fromkeys(_KINDS, 0)
        self._timers = {method: Timer() for method in ("", *_METHODS)}
        self.registry = CollectorRegistry()
        self.requests = CounterMetric(
            "dromos_http_requests", "requests answered", ("method", "code"), registry=self.registry
        )
        self.seconds = Histogram(
            "dromos_http_request_seconds",
            "time to the end of an answer, event streams aside",
            ("method",),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.registry.register(_Gauges(self))

    def observe(self, method: str, status: int, seconds: float) -> None:
        kind = f"{status // 100}xx"
        self.requests.labels(method, kind).inc()
        self.seconds.labels(method).observe(seconds)
        self._responses[kind] = self._responses.get(kind, 0) + 1
        self._timers[""].add(seconds)
        if method.lower() in self._timers:
            self._timers[method.lower()].add(seconds)

    def gauges(self) -> dict[str, float]:
        """By Marathon's names."""
        view, declared, activity = self._view, self._view.declared, self._view.activity
        # By the text inside the enumeration's member: hashing the members themselves would take ten times as long.
        counted = Counter(map(_CONDITION, view.all_instances()))
        led = 0.0 if activity.leading_since is None else self._clock() - activity.leading_since
        return {
            "marathon.apps.active.gauge": len(declared.apps),
            "marathon.pods.active.gauge": len(declared.pods),
            "marathon.groups.active.gauge": len(declared.groups),
            "marathon.deployments.active.gauge": len(view.deployments()),
            "marathon.instances.running.gauge": counted[Condition.RUNNING.value],
            "marathon.instances.staged.gauge": sum(counted[condition.value] for condition in STAGING),
            "marathon.instances.inflight-kills.gauge": activity.kills_in_flight,
            "marathon.instances.inflight-kill-attempts.gauge": activity.kill_attempts,
            "marathon.http.event-streams.active.gauge": self._bus.listeners,
            "marathon.http.requests.active.gauge": self.requests_active,
            "marathon.leadership.duration.gauge.seconds": round(max(0.0, led), 3),
            "marathon.uptime.gauge.seconds": round(time.monotonic() - self._started, 3),
        }

    def counters(self) -> dict[str, int]:
        """By Marathon's names. Those of the leader's work begin anew with each leader."""
        did = self._view.activity
        return {
            "marathon.deployments.counter": did.deployments,
            "marathon.deployments.dismissed.counter": did.deployments_dismissed,
            "marathon.tasks.launched.counter": did.tasks_launched,
            "marathon.mesos.calls.revive.counter": did.revives,
            "marathon.mesos.calls.suppress.counter": did.suppresses,
            "marathon.mesos.offer-operations.launch-group.counter": did.groups_launched,
            "marathon.mesos.offer-operations.launch.counter": did.tasks_launched - did.groups_launched,
            "marathon.mesos.offer-operations.reserve.counter": did.reserved,
            "marathon.mesos.offers.declined.counter": did.offers_declined,
            "marathon.mesos.offers.incoming.counter": did.offers_received,
            "marathon.mesos.offers.used.counter": did.offers_used,
            "marathon.http.requests.size.counter.bytes": self.bytes_in,
            "marathon.http.responses.size.counter.bytes": self.bytes_out,
        }

    def json(self) -> dict[str, Any]:
        """As Marathon's `/metrics`."""
        elapsed = max(time.monotonic() - self._started, 0.001)
        meters = {
            f"marathon.http.responses.{kind}.rate.meter": {"count": count, "mean_rate": count / elapsed}
            for kind, count in self._responses.items()
        }
        timers = {
            f"marathon.http.requests{'.' * bool(method)}{method}.duration.timer.seconds": timer.json(elapsed)
            for method, timer in self._timers.items()
        }
        return {
            "version": "4.0.0",
            "gauges": {name: {"value": value} for name, value in self.gauges().items()},
            "counters": {name: {"count": count} for name, count in self.counters().items()},
            "histograms": {},
            "meters": {name: {**meter, "units": "events/second"} for name, meter in meters.items()},
            "timers": timers,
        }


class Timer:
    """How often, and how long: of the last ones."""

    def __init__(self) -> None:
        self._count = 0
        self._last: deque[float] = deque(maxlen=_MOST_DURATIONS)

    def add(self, seconds: float) -> None:
        self._count += 1
        self._last.append(seconds)

    def json(self, elapsed: float) -> dict[str, Any]:
        known = sorted(self._last) or [0.0]
        parts = {
            f"p{text}": known[int(float(f"0.{text}") * (len(known) - 1))] for text in ("50", "75", "95", "99", "999")
        }
        return {
            "count": self._count,
            "min": known[0],
            "mean": sum(known) / len(known),
            "max": known[-1],
            **parts,
            "mean_rate": self._count / elapsed,
            "duration_units": "seconds",
            "rate_units": "calls/second",
        }


class _Gauges(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        for name, value in self._metrics.gauges().items():
            yield GaugeMetricFamily(_spelled(name), name, value=value)
        for name, count in self._metrics.counters().items():
            # Prometheus' own counters end in `_total`, which Marathon's do not.
            yield UnknownMetricFamily(_spelled(name), name, value=count)

    def describe(self) -> list[Metric]:
        return []


def _spelled(name: str) -> str:
    return name.replace(".", "_").replace("-", "_")
