"""A round of the autoscaler over 1,000 apps, with the API and an edge as processes of their own, and its memory after a day.

Goals: all decided in under 200 ms a round; under 200 MB with 24 hours of history.
"""

import http.server
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from autoscale.api import Api
from autoscale.autoscaler import Autoscaler
from autoscale.sample import Quality, Sample, Traffic
from autoscale.settings import AutoscaleSettings
from daemonkit import logs
from daemonkit.health import Health

APPS = 1000
DAY = 86_400
STEP = 900  # seconds between two looks while the day is lived through
ROUNDS = 20
GOAL_SECONDS, GOAL_BYTES = 0.2, 200_000_000
CODES = ("1xx", "2xx", "3xx", "4xx", "5xx")
BUCKETS = ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "30", "60", "+Inf")


def rate_of(app: int, at: float) -> float:
    """Day and night, of another height and hour for each app."""
    return 20 * (1 + app % 10) * (1.2 + math.sin(2 * math.pi * (at / DAY + app / APPS)))


def apps_json() -> bytes:
    labels = {"DROMOS_AUTOSCALE_TARGET": "40", "DROMOS_AUTOSCALE_MAX": "50", "HAPROXY_0_VHOST": "app.example.org"}
    document = {
        "cmd": "run " * 30,
        "instances": 6,
        "tasksRunning": 6,
        "tasksHealthy": 6,
        "healthChecks": [{"protocol": "HTTP", "path": "/health"}],
        "version": "2024-01-01T00:00:00.000Z",
        "deployments": [],
        "env": {f"VARIABLE_{index}": "value" for index in range(20)},
        "labels": labels,
    }
    return orjson.dumps({"apps": [{"id": f"/group/app-{index}", **document} for index in range(APPS)]})


def metrics_text(now: float) -> bytes:
    """What an edge shows of so many services, with two endpoints each."""
    lines = ["dromos_edge_start_time_seconds 1700000000"]
    for index in range(APPS):
        labels = f'service="group.app-{index}",app="/group/app-{index}"'
        total = rate_of(index, now) * (now - 1_700_000_000)
        lines += [
            f'dromos_edge_requests_total{{{labels},code="{code}"}} {total if code == "2xx" else 0:.0f}'
            for code in CODES
        ]
        lines += [f'dromos_edge_request_seconds_bucket{{{labels},le="{le}"}} {total:.0f}' for le in BUCKETS]
        lines += [f"dromos_edge_request_seconds_sum{{{labels}}} {total / 50:.3f}"]
        lines += [f"dromos_edge_request_seconds_count{{{labels}}} {total:.0f}"]
        lines += [f"dromos_edge_active_requests{{{labels}}} 3"]
        lines += [
            f'dromos_edge_endpoint_requests_total{{{labels},endpoint="10.0.0.{host}:31000",code="2xx"}} {total / 2:.0f}'
            for host in (1, 2)
        ]
    return "\n".join(lines).encode()


def serve() -> None:
    """The neighbours. Prints the port."""
    apps = apps_json()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(metrics_text(time.time()) if self.path == "/metrics" else apps)

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(b"{}")

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


class Timed(Autoscaler):
    """Tells how much CPU time the deciding took, apart from the looking."""

    decided_in = 0.0

    def _decide_for(self, *arguments: object) -> bool:
        began = time.process_time()
        acted = super()._decide_for(*arguments)  # type: ignore[arg-type]
        self.decided_in += time.process_time() - began
        return acted


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def live_through_a_day(autoscaler: Autoscaler, apps: list, began: float) -> None:  # type: ignore[type-arg]
    """Every app's decisions of 24 hours, from rates that a perfect edge would show."""
    scaled = autoscaler._policies_of(apps, began)
    numbers = {app.id: index for index, app in enumerate(apps)}
    now = began - DAY
    rates = {"now": now}
    autoscaler.inputs.traffic = lambda app_id, at: Traffic(  # type: ignore[method-assign]
        Sample(at, rate_of(numbers[app_id], rates["now"]), Quality.FRESH)
    )
    while now < began - STEP:
        rates["now"] = now
        for app, policy in scaled:
            autoscaler._decide_for(app, policy, now)
        now += STEP


def main() -> None:
    logs.configure(daemon="bench")
    with tempfile.TemporaryDirectory() as directory:
        neighbours = subprocess.Popen(
            [sys.executable, "-m", "bench.autoscale_round", "serve"], stdout=subprocess.PIPE, text=True
        )
        try:
            assert neighbours.stdout
            url = f"http://127.0.0.1:{int(neighbours.stdout.readline())}"
            measure(url, Path(directory))
        finally:
            neighbours.kill()
            neighbours.wait()


def measure(url: str, directory: Path) -> None:
    settings = AutoscaleSettings.model_validate(
        {"marathon": url, "edge": (url,), "state_dir": directory, "dry_run": True, "timeout": 30}
    )
    autoscaler = Timed(settings, Api(url, timeout=30), Health())
    # As one that looks so seldom: else each look is after a gap in the data, and little is remembered.
    autoscaler.settings = settings.model_copy(update={"interval": STEP})
    before = resident()
    traffic = autoscaler.inputs.traffic
    began = time.perf_counter()
    live_through_a_day(autoscaler, autoscaler.api.apps(), time.time())
    lived = time.perf_counter() - began
    autoscaler.inputs.traffic, autoscaler.settings = traffic, settings  # type: ignore[method-assign]
    rounds, decided = [], []
    for _ in range(ROUNDS):
        autoscaler.decided_in = 0.0
        began = time.perf_counter()
        autoscaler.round()
        rounds.append(time.perf_counter() - began)
        decided.append(autoscaler.decided_in)
    after = resident()
    table = Table("what", "median", "worst", "goal", box=None, title=f"{APPS:,} apps", title_justify="left")
    for name, times, goal in (
        ("decide all, CPU", decided, f"{GOAL_SECONDS * 1000:.0f} ms"),
        ("whole round with looking, by the clock", rounds, ""),
    ):
        table.add_row(name, f"{statistics.median(times) * 1000:.0f} ms", f"{max(times) * 1000:.0f} ms", goal)
    table.add_row(
        "memory with a day of history",
        f"{after / 1e6:.0f} MB",
        f"{before / 1e6:.0f} MB at start",
        f"{GOAL_BYTES / 1e6:.0f} MB",
    )
    decisions = APPS * DAY // STEP
    table.add_row("a day's decisions", f"{decisions:,}", f"{lived:.0f} s", "")
    table.add_row("history on disk", f"{(directory / 'history.json').stat().st_size / 1e6:.1f} MB", "", "")
    Console(width=120).print(table)
    assert autoscaler.health.report()["parts"]["api"]["healthy"]  # type: ignore[index]
    if statistics.median(decided) > GOAL_SECONDS or after > GOAL_BYTES:
        sys.exit("the goal is missed")


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["serve"] else main()
