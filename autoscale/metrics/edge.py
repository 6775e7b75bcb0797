"""The edge's own metrics, of Nginx with Lua and of HAProxy: `dromos_edge_…` by app, as Prometheus text."""

from collections import defaultdict
from email.utils import parsedate_to_datetime

import requests

from autoscale.errors import MetricsError
from autoscale.metrics import fetching
from autoscale.metrics.prometheus_text import samples
from autoscale.sample import Reading

REQUESTS = "dromos_edge_requests_total"
STARTED = "dromos_edge_start_time_seconds"
NAMES = {
    REQUESTS: "totals",
    "dromos_edge_request_seconds_sum": "seconds",
    "dromos_edge_request_seconds_count": "answered",
    "dromos_edge_active_requests": "active",
    "dromos_edge_queued_requests": "queued",
    "dromos_edge_request_mean_seconds": "mean",
}

WANTED = frozenset(NAMES) | {STARTED}


def read(session: requests.Session, url: str, *, now: float, timeout: float) -> Reading:
    """Raises MetricsError where the edge does not answer, or not with these metrics."""
    answer = fetching.get(session, f"{url.rstrip('/')}/metrics", what="the edge's metrics", timeout=timeout)
    return parse(answer.text, now=now, beat=_date(answer.headers.get("Date")))


def parse(text: str, *, now: float, beat: float | None = None) -> Reading:
    found: dict[str, defaultdict[str, float]] = {part: defaultdict(float) for part in (*NAMES.values(), "errors")}
    started: float | None = None
    try:
        for name, labels, value in samples(text, WANTED):
            app = labels.get("app")
            if name == STARTED:
                started = value
            elif app and name == "dromos_edge_request_mean_seconds":
                found["mean"][app] = max(found["mean"][app], value)
            elif app:
                found[NAMES[name]][app] += value
                if labels.get("code") == "5xx":
                    found["errors"][app] += value
    except ValueError as error:
        raise MetricsError(f"the edge's metrics are not Prometheus text: {error}") from None
    if started is None:
        raise MetricsError(f"the edge's metrics lack {STARTED}")
    return Reading(now, started, beat=beat, **{part: dict(numbers) for part, numbers in found.items()})


def _date(text: str | None) -> float | None:
    """The moment of which the answer is a picture: what caches and frozen servers repeat."""
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (TypeError, ValueError):
        return None
