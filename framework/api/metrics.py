"""Metrics of the API's side of the framework: Marathon's names as JSON, and the same gauges for Prometheus."""

import time
from collections import Counter
from collections.abc import Iterator
from operator import attrgetter
from typing import Any

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client import Counter as CounterMetric
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from framework.api.answers.tasks import STAGING
from framework.engine.bus import Bus
from framework.engine.view import View
from framework.model.instance import Condition

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_CONDITION = attrgetter("condition._value_")


class Metrics:
    def __init__(self, view: View, bus: Bus) -> None:
        self._view, self._bus, self._started = view, bus, time.monotonic()
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
        self.requests.labels(method, f"{status // 100}xx").inc()
        self.seconds.labels(method).observe(seconds)

    def gauges(self) -> dict[str, float]:
        """By Marathon's names."""
        view, declared = self._view, self._view.declared
        # By the text inside the enumeration's member: hashing the members themselves would take ten times as long.
        counted = Counter(map(_CONDITION, view.all_instances()))
        return {
            "marathon.apps.active.gauge": len(declared.apps),
            "marathon.pods.active.gauge": len(declared.pods),
            "marathon.groups.active.gauge": len(declared.groups),
            "marathon.deployments.active.gauge": len(view.deployments()),
            "marathon.instances.running.gauge": counted[Condition.RUNNING.value],
            "marathon.instances.staged.gauge": sum(counted[condition.value] for condition in STAGING),
            "marathon.http.event-streams.active.gauge": self._bus.listeners,
            "marathon.uptime.gauge.seconds": round(time.monotonic() - self._started, 3),
        }

    def json(self) -> dict[str, Any]:
        """As Marathon's `/metrics`."""
        counted: dict[str, int] = {}
        for metric in self.requests.collect():
            for sample in metric.samples:
                if sample.name == "dromos_http_requests_total":
                    name = f"marathon.http.responses.{sample.labels['code']}.counter"
                    counted[name] = counted.get(name, 0) + int(sample.value)
        return {
            "version": "4.0.0",
            "gauges": {name: {"value": value} for name, value in self.gauges().items()},
            "counters": {name: {"count": count} for name, count in sorted(counted.items())},
            "histograms": {},
            "meters": {},
            "timers": {},
        }


class _Gauges(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        for name, value in self._metrics.gauges().items():
            yield GaugeMetricFamily(name.replace(".", "_").replace("-", "_"), name, value=value)

    def describe(self) -> list[Metric]:
        return []
