"""How long an event loop stands still: a ticker in the loop that looks at how late it is woken, and at what its thread did meanwhile."""

import asyncio
import time
from collections import deque

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

TICK_SECONDS = 0.01
WINDOW_SECONDS = 15.0
_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class StallWatch(Collector):
    """`<prefix>_loop_stall_seconds` counts every tick by how late it came, `<prefix>_loop_busy_seconds` by the CPU time of the loop's
    thread since the tick before: a tick that is late and not busy was kept waiting by the machine. `…_loop_longest_stall_seconds` and
    `…_loop_longest_busy_seconds` are the worst of the last 15 s."""

    def __init__(self, prefix: str, registry: CollectorRegistry) -> None:
        self._prefix, self._registry = prefix, registry
        self._late, self._busy = (
            Histogram(f"{prefix}_loop_{name}_seconds", text, buckets=_BUCKETS, registry=registry)
            for name, text in (
                ("stall", "how late the event loop ran"),
                ("busy", "CPU time of the event loop's thread between two ticks"),
            )
        )
        self._longest_late, self._longest_busy = Longest(WINDOW_SECONDS), Longest(WINDOW_SECONDS)
        registry.register(self)

    def close(self) -> None:
        for collector in (self, self._late, self._busy):
            self._registry.unregister(collector)

    def note(self, now: float, late: float, busy: float) -> None:
        self._late.observe(late)
        self._busy.observe(busy)
        self._longest_late.add(now, late)
        self._longest_busy.add(now, busy)

    async def run(self) -> None:
        while True:
            before, used = time.monotonic(), time.thread_time()
            await asyncio.sleep(TICK_SECONDS)
            now = time.monotonic()
            self.note(now, max(0.0, now - before - TICK_SECONDS), time.thread_time() - used)

    def collect(self) -> list[Metric]:
        now = time.monotonic()
        found: list[Metric] = []
        for name, text, longest in (
            ("stall", "the longest time that the event loop stood still, of the last 15 s", self._longest_late),
            ("busy", "the most CPU time between two ticks of the event loop, of the last 15 s", self._longest_busy),
        ):
            gauge = GaugeMetricFamily(f"{self._prefix}_loop_longest_{name}_seconds", text)
            gauge.add_metric([], longest.of(now))
            found.append(gauge)
        return found

    def describe(self) -> list[Metric]:
        return []


class Longest:
    """The greatest of the values that came in the last `window` seconds."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._values: deque[tuple[float, float]] = deque()  # (when, value), ever smaller

    def add(self, now: float, value: float) -> None:
        while self._values and self._values[-1][1] <= value:
            self._values.pop()
        self._values.append((now, value))
        self.of(now)

    def of(self, now: float) -> float:
        while self._values and self._values[0][0] < now - self._window:
            self._values.popleft()
        return self._values[0][1] if self._values else 0.0
