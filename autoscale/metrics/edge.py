"""The edge's own metrics: `dromos_edge_requests_total{app}` and `dromos_edge_start_time_seconds`, as Prometheus text."""

from collections import defaultdict

import requests
from prometheus_client.parser import text_string_to_metric_families

from autoscale.errors import MetricsError
from autoscale.sample import Reading

REQUESTS = "dromos_edge_requests_total"
STARTED = "dromos_edge_start_time_seconds"


def read(url: str, *, now: float, timeout: float) -> Reading:
    """Raises MetricsError where the edge does not answer, or not with these metrics."""
    try:
        response = requests.get(f"{url.rstrip('/')}/metrics", timeout=timeout)
        response.raise_for_status()
    except requests.RequestException as error:
        raise MetricsError(f"the edge's metrics at {url} cannot be read: {error}") from None
    return parse(response.text, now=now)


def parse(text: str, *, now: float) -> Reading:
    totals: defaultdict[str, float] = defaultdict(float)
    started: float | None = None
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == REQUESTS and sample.labels.get("app"):
                    totals[sample.labels["app"]] += sample.value
                elif sample.name == STARTED:
                    started = sample.value
    except ValueError as error:
        raise MetricsError(f"the edge's metrics are not Prometheus text: {error}") from None
    if started is None:
        raise MetricsError(f"the edge's metrics lack {STARTED}")
    return Reading(now, started, dict(totals))
