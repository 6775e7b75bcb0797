"""What the registrator counts, in a registry of its own."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_LATENCIES = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.registered = Gauge(
            "dromos_registrator_services", "Services in Consul that are ours", registry=self.registry
        )
        self.instances = Gauge(
            "dromos_registrator_instances", "Instances by verdict", ["verdict"], registry=self.registry
        )
        self.waiting = Gauge(
            "dromos_registrator_removals_waiting", "Removals not confirmed yet", registry=self.registry
        )
        self.refused = Gauge("dromos_registrator_refused", "Services that Consul or we refuse", registry=self.registry)
        self.writes = Counter(
            "dromos_registrator_writes_total", "Writes that Consul has taken", ["kind"], registry=self.registry
        )
        self.errors = Counter(
            "dromos_registrator_errors_total", "Failed looks and writes", ["at"], registry=self.registry
        )
        self.source_up = Gauge(
            "dromos_registrator_source_up", "1 if the last look gave an answer", ["source"], registry=self.registry
        )
        self.look_seconds = Histogram(
            "dromos_registrator_look_seconds",
            "Duration of a look",
            ["source"],
            buckets=_LATENCIES,
            registry=self.registry,
        )
        self.reconcile_seconds = Histogram(
            "dromos_registrator_reconcile_seconds",
            "Duration of a comparison",
            buckets=_LATENCIES,
            registry=self.registry,
        )
        self.lag_seconds = Histogram(
            "dromos_registrator_lag_seconds",
            "From the first hint to Consul having all of it",
            buckets=_LATENCIES,
            registry=self.registry,
        )
