"""What the engine did and holds, for Prometheus."""

from collections import Counter
from collections.abc import Callable, Iterator
from operator import attrgetter

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from framework.engine.loop import Engine

_CONDITION = attrgetter("condition._value_")  # a tenth of the time that `.value` takes, and there may be many
_LAUNCH_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class EngineMetrics(Collector):
    """`waiting_calls`: calls that wait for the master; `lag`: how late the event loop runs, in seconds."""

    def __init__(
        self,
        engine: Engine,
        registry: CollectorRegistry,
        *,
        waiting_calls: Callable[[], int],
        lag: Callable[[], float],
    ) -> None:
        self._engine, self._waiting_calls, self._lag = engine, waiting_calls, lag
        self.launch_seconds = Histogram(
            "dromos_framework_launch_seconds",
            "from the match with an offer until the instance runs",
            buckets=_LAUNCH_BUCKETS,
            registry=registry,
        )
        registry.register(self)

    def measure(self, name: str, value: float) -> None:
        if name == "launch_seconds":
            self.launch_seconds.observe(value)

    def collect(self) -> Iterator[Metric]:
        engine, state = self._engine, self._engine.state
        figures, ledger = engine.figures, state.ledger
        yield from (
            _gauge("leading", "1 if this node leads", float(state.core.leading)),
            _gauge("connected", "1 if subscribed to the master", float(state.core.connected)),
            _gauge("store_writable", "0 while the store refuses writes", float(engine.store_problem is None)),
            _gauge("apps", "declared apps", len(ledger.declared.apps)),
            _gauge("deployments", "running deployments", len(ledger.deployments)),
            _gauge("queued_instances", "instances that wait for an offer", state.launcher.waiting),
            _gauge("unhealthy_instances", "instances that fail a health check", state.prober.failing),
            _gauge("unreconciled_tasks", "tasks that the master has not answered for", state.reconciler.open),
            _gauge("queued_events", "events that wait for the engine", engine.waiting),
            _gauge("queued_calls", "calls that wait for the master", self._waiting_calls()),
            _gauge("loop_lag_seconds", "how late the event loop runs", self._lag()),
        )
        conditions = GaugeMetricFamily("dromos_framework_instances", "instances by condition", labels=["condition"])
        for condition, count in Counter(map(_CONDITION, ledger.instances.values())).items():
            conditions.add_metric([condition], count)
        yield conditions
        yield from (
            _counter("events", "events handled", figures.events),
            _counter("batches", "batches committed", figures.batches),
            _counter("writes", "entries written to the store", figures.writes),
            _counter("failed_commits", "batches that the store refused", figures.failed_commits),
            _counter("errors", "events or actions that failed by an unexpected error", figures.errors),
            _counter("handle_seconds", "time spent handling events", figures.handle_seconds),
            _counter("commit_seconds", "time spent waiting for the store", figures.commit_seconds),
            _counter("perform_seconds", "time spent carrying actions out", figures.perform_seconds),
            _counter("offers", "offers received", state.launcher.offers_received),
            _counter("offers_used", "offers used", state.launcher.offers_used),
            _counter("launches", "instances launched", state.launcher.launched),
            _counter("strangers_killed", "unwanted tasks killed", state.reconciler.strangers_killed),
            _counter("deployments_succeeded", "deployments that succeeded", state.deployer.succeeded),
            _counter("deployments_failed", "deployments that failed or were cancelled", state.deployer.failed),
        )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"dromos_framework_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"dromos_framework_{name}", text, value=value)
