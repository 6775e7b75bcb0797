"""How long an event loop stands still: a ticker in the loop that looks at how late it is woken."""

import asyncio
import time
from collections import deque

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

TICK_SECONDS = 0.01
WINDOW_SECONDS = 60.0
_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class StallWatch(Collector):
    """`<prefix>_loop_stall_seconds` counts every tick by how late it came; `<prefix>_loop_longest_stall_seconds` is the worst of the
    last minute."""

    def __init__(self, prefix: str, registry: CollectorRegistry) -> None:
        self._prefix, self._registry = prefix, registry
        self._histogram = Histogram(
            f"{prefix}_loop_stall_seconds", "how late the event loop ran", buckets=_BUCKETS, registry=registry
        )
        self._longest: deque[tuple[float, float]] = deque()  # (when, seconds), ever shorter
        registry.register(self)

    def close(self) -> None:
        self._registry.unregister(self)
        self._registry.unregister(self._histogram)

    def longest(self, now: float) -> float:
        """Seconds, of the last minute."""
        while self._longest and self._longest[0][0] < now - WINDOW_SECONDS:
            self._longest.popleft()
        return self._longest[0][1] if self._longest else 0.0

    def note(self, now: float, late: float) -> None:
        self._histogram.observe(late)
        while self._longest and self._longest[-1][1] <= late:
            self._longest.pop()
        self._longest.append((now, late))
        self.longest(now)

    async def run(self) -> None:
        while True:
            expected = time.monotonic() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            now = time.monotonic()
            self.note(now, max(0.0, now - expected))

    def collect(self) -> list[Metric]:
        gauge = GaugeMetricFamily(
            f"{self._prefix}_loop_longest_stall_seconds",
            "the longest time that the event loop stood still, of the last minute",
        )
        gauge.add_metric([], self.longest(time.monotonic()))
        return [gauge]

    def describe(self) -> list[Metric]:
        return []
