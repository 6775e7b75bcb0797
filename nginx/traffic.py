"""The numbers of plain Nginx' traffic, read from its access log, under the names of the other proxies' (lua/dromos/metrics.lua).

Nginx without Lua counts nothing by service. Its status port passes questions for numbers on to the daemon, which answers with these. They
begin with the daemon, and there are none of what is under way.
"""

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from nginx.model import Service

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
MOST_BYTES = 16 * 1024 * 1024  # read at one look


@dataclass
class Numbers:
    """Of one service. `buckets` by the index of the first of BUCKETS that a request's seconds fit in; classes are `2xx` …"""

    requests: Counter[str] = field(default_factory=Counter)
    buckets: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0
    endpoints: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, line: Mapping[str, Any]) -> None:
        status = int(line["status"])
        self.requests[_class(status)] += 1
        if status != 101:  # the life of a WebSocket is no latency
            seconds = float(line["seconds"])
            self.buckets[next((i for i, most in enumerate(BUCKETS) if seconds <= most), len(BUCKETS))] += 1
            self.seconds += seconds
        statuses = line["endpoint_status"].split(", ")
        for address, said in zip(line["endpoint"].split(", "), statuses, strict=False):
            if address and not address.startswith("unix:"):
                self.endpoints.setdefault(address, Counter())[_class(int(said) if said.isdigit() else 502)] += 1

    def cumulative(self) -> list[tuple[str, int]]:
        """(le, requests that took no longer)"""
        found, total = [], 0
        for number, most in enumerate((*map(str, BUCKETS), "+Inf")):
            total += self.buckets[number]
            found.append((most, total))
        return found


class Traffic(Collector):
    """Follows an access log from its present end on. `look` now and then; `services` are those that the numbers are told of."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._rest = b""
        self._moved = False
        self._started = time.time()
        self.services: Mapping[str, Service] = {}
        self._numbers: dict[str, Numbers] = {}
        self._registry = CollectorRegistry()
        self._open(at_end=True)
        self._registry.register(self)

    def look(self) -> None:
        """Reads what has been written since. A file that was rotated away is read to its end first, which workers may still write to."""
        moved_before, self._moved = self._moved, self._has_moved()
        if self._file is not None:
            data = self._file.read(MOST_BYTES)
            self._take(data)
        if self._moved and (self._file is None or (moved_before and not data)):
            self._open(at_end=False)
        for gone in self._numbers.keys() - self.services.keys():
            del self._numbers[gone]

    def prometheus(self) -> bytes:
        return generate_latest(self._registry)

    def json(self) -> dict[str, object]:
        return {
            "start": int(self._started),
            "services": {
                name: {
                    "app": service.app,
                    "requests": numbers.requests,
                    "seconds": {
                        "sum": round(numbers.seconds, 6),
                        "count": numbers.buckets.total(),
                        "buckets": dict(numbers.cumulative()),
                    },
                    "endpoints": numbers.endpoints,
                }
                for name, service, numbers in self._each()
            },
        }

    def collect(self) -> Iterator[Metric]:
        labels = ("service", "app")
        requests = CounterMetricFamily("dromos_edge_requests", "By class of status code.", labels=(*labels, "code"))
        seconds = HistogramMetricFamily("dromos_edge_request_seconds", "To the last byte of the answer.", labels=labels)
        tries = CounterMetricFamily(
            "dromos_edge_endpoint_requests", "Tries at an endpoint.", labels=(*labels, "endpoint", "code")
        )
        for name, service, numbers in self._each():
            for code in ("1xx", "2xx", "3xx", "4xx", "5xx"):
                requests.add_metric((name, service.app, code), numbers.requests[code])
            seconds.add_metric((name, service.app), numbers.cumulative(), numbers.seconds)
            for endpoint, codes in sorted(numbers.endpoints.items()):
                for code, count in sorted(codes.items()):
                    tries.add_metric((name, service.app, endpoint, code), count)
        yield requests
        yield seconds
        yield tries
        yield GaugeMetricFamily("dromos_edge_start_time_seconds", "Since when the numbers count.", int(self._started))

    def _each(self) -> Iterator[tuple[str, Service, Numbers]]:
        for name, service in sorted(self.services.items()):
            yield name, service, self._numbers.get(name) or Numbers()

    def _take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for text in lines:
            try:
                line = orjson.loads(text)
                service = line["service"]
                if service in self.services:
                    self._numbers.setdefault(service, Numbers()).add(line)
            except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
                continue  # half a line of a disk that was full

    def _has_moved(self) -> bool:
        try:
            there = self._path.stat()
        except OSError:
            return False
        if self._file is None:
            return True
        mine = os.fstat(self._file.fileno())
        return (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino)

    def _open(self, *, at_end: bool) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        try:
            self._file = self._path.open("rb")
        except OSError:
            return
        self._rest = b""
        if at_end:
            self._file.seek(0, os.SEEK_END)


def _class(status: int) -> str:
    return f"{min(max(status // 100, 1), 5)}xx"
