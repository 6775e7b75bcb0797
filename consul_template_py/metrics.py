"""What Prometheus is told. Labels are templates and targets of the configuration, so their number is bounded by it."""

from prometheus_client import Counter, Gauge, Histogram

_PREFIX = "dromos_consul_template"

EVALUATIONS = Counter(f"{_PREFIX}_evaluations", "Evaluations of templates", ["template"])
EVALUATION_SECONDS = Histogram(
    f"{_PREFIX}_evaluation_seconds",
    "How long evaluations take",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)
BROKEN = Gauge(f"{_PREFIX}_template_broken", "1 while a template's last evaluation failed", ["template"])
REFUSED = Gauge(f"{_PREFIX}_refused_values", "Values kept out of the output", ["template"])
WAITING = Gauge(f"{_PREFIX}_waiting_queries", "Queries without an answer yet", ["template"])
WATCHES = Gauge(f"{_PREFIX}_watches", "Distinct queries watched")
HELD_BACK = Gauge(f"{_PREFIX}_held_back", "Values held back by the shrink guard")
WATCH_ERRORS = Counter(f"{_PREFIX}_watch_errors", "Failed tries of watches", ["source"])
APPLIED = Counter(f"{_PREFIX}_applied", "Attempts to apply a configuration", ["target", "outcome"])
TARGET_FAILING = Gauge(f"{_PREFIX}_target_failing", "1 while a target does not have what is wanted", ["target"])
LAST_APPLIED = Gauge(f"{_PREFIX}_last_applied_timestamp_seconds", "When a target was last changed", ["target"])
