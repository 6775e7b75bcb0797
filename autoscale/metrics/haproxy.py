"""Any HAProxy, by its statistics as CSV or by its Prometheus exporter. Apps are known by the names that marathon-lb gives backends:
the id with `_` for `/`, and the service port.

Requests are counted at backends: traffic that comes in by host name passes through a frontend that all apps share.
Source: HAProxy's management guide, section "Statistics and monitoring".
"""

import csv
import math
from collections import defaultdict
from collections.abc import Iterator

import requests

from autoscale.errors import MetricsError
from autoscale.metrics import fetching
from autoscale.metrics.prometheus_text import samples
from autoscale.sample import Reading

STATISTICS = "/haproxy?stats;csv"
PREFIX = "haproxy_backend_"
NAMES = {
    "http_requests_total": "totals",
    "sessions_total": "sessions",
    "current_sessions": "active",
    "current_queue": "queued",
    "total_time_average_seconds": "mean",
}
STARTED, UPTIME = "haproxy_process_start_time_seconds", "haproxy_process_uptime_seconds"
WANTED = frozenset({*(PREFIX + name for name in NAMES), PREFIX + "http_responses_total", STARTED, UPTIME})


def app_of(backend: str) -> str:
    """`shop_web_10001` -> `shop_web`."""
    name, _, port = backend.rpartition("_")
    return name if name and port.isdecimal() else backend


def read_csv(session: requests.Session, url: str, *, now: float, timeout: float) -> Reading:
    """Raises MetricsError."""
    whole = url if url.partition("://")[2].partition("/")[2] else url.rstrip("/") + STATISTICS
    return parse_csv(fetching.get(session, whole, what="HAProxy's statistics", timeout=timeout).text, now=now)


def parse_csv(text: str, *, now: float) -> Reading:
    if not text.startswith("# pxname"):
        raise MetricsError("HAProxy's statistics are not CSV; the address is to end with ;csv")
    found = _parts()
    oldest: float | None = None
    for row in _rows(text):
        # No proxy of a process is older than the process, and those that never changed are as old as it.
        if (changed := _number(row.get("lastchg"))) is not None:
            oldest = max(oldest or 0.0, changed)
        if row.get("svname") != "BACKEND":
            continue
        app = app_of(row["pxname"])
        http = row.get("mode") == "http"
        found["totals"][app] += _number(row.get("req_tot" if http else "stot")) or _number(row.get("stot")) or 0.0
        found["errors"][app] += _number(row.get("hrsp_5xx")) or 0.0
        found["active"][app] += _number(row.get("scur")) or 0.0
        found["queued"][app] += _number(row.get("qcur")) or 0.0
        found["mean"][app] = max(found["mean"][app], (_number(row.get("ttime")) or 0.0) / 1000)
    if oldest is None:
        raise MetricsError("HAProxy's statistics name no backend with its last change")
    return _reading(now, now - oldest, oldest, found)


def _rows(text: str) -> Iterator[dict[str, str]]:
    try:
        yield from csv.DictReader(text.removeprefix("# ").splitlines())
    except csv.Error as error:
        raise MetricsError(f"HAProxy's statistics are not CSV: {error}") from None


def read_metrics(session: requests.Session, url: str, *, now: float, timeout: float) -> Reading:
    """Raises MetricsError."""
    whole = url if url.partition("://")[2].partition("/")[2] else url.rstrip("/") + "/metrics"
    return parse_metrics(fetching.get(session, whole, what="HAProxy's metrics", timeout=timeout).text, now=now)


def parse_metrics(text: str, *, now: float) -> Reading:
    found = _parts()
    started = beat = None
    try:
        for name, labels, value in samples(text, WANTED):
            app = app_of(labels.get("proxy", ""))
            match name.removeprefix(PREFIX):
                case "haproxy_process_start_time_seconds":
                    started = value
                case "haproxy_process_uptime_seconds":
                    beat = value
                case "http_responses_total":
                    found["errors"][app] += value if labels.get("code") == "5xx" else 0.0
                case "total_time_average_seconds":
                    found["mean"][app] = max(found["mean"][app], value)
                case short:
                    found[NAMES[short]][app] += value
    except ValueError as error:
        raise MetricsError(f"HAProxy's metrics are not Prometheus text: {error}") from None
    if started is None:
        raise MetricsError(f"HAProxy's metrics lack {STARTED}")
    sessions = found.pop("sessions")
    for app, total in sessions.items():  # proxies in TCP mode count sessions
        found["totals"].setdefault(app, total)
    return _reading(now, started, beat, found)


def _parts() -> dict[str, defaultdict[str, float]]:
    return {part: defaultdict(float) for part in (*NAMES.values(), "errors")}


def _reading(now: float, started: float, beat: float | None, found: dict[str, defaultdict[str, float]]) -> Reading:
    parts = {part: dict(numbers) for part, numbers in found.items() if part != "sessions"}
    return Reading(now, started, beat=beat, **parts)


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None
