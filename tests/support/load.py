"""Load on an HTTP server: keep-alive connections that retry nothing but what HTTP bids them (RFC 9112, 9.3.1 and 9.5: a request on a
connection that was used before and is closed without a byte of an answer), so that each request that goes wrong is seen.

async with load(url, connections=8) as result:      # or `with load_in_thread(url) as result:` in a plain test
    ... what is to go unnoticed ...
assert result.failures == []
"""

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

MAX_FAILURES_KEPT = 1000


@dataclass
class LoadResult:
    """Live while the load runs. `failures` are (seconds since the start, what); `clean_closes` are idle connections that the
    server closed before anything was sent: no request was lost; `repeated` are requests that crossed such a close on their way."""

    started: float = field(default_factory=time.monotonic)
    requests: int = 0
    failed: int = 0
    failures: list[tuple[float, str]] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    bodies: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    clean_closes: int = 0
    repeated: int = 0

    def fail(self, what: str) -> None:
        self.failed += 1
        if len(self.failures) < MAX_FAILURES_KEPT:
            self.failures.append((round(time.monotonic() - self.started, 3), what))

    def percentile(self, share: float) -> float:
        """Latency in seconds: `percentile(0.99)`."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0

    @property
    def rate(self) -> float:
        """Requests per second since the start."""
        return self.requests / max(0.001, time.monotonic() - self.started)


@contextlib.asynccontextmanager
async def load(
    url: str,
    *,
    connections: int = 8,
    rate: float = 0.0,
    headers: dict[str, str] | None = None,
    method: str = "GET",
    body: bytes = b"",
    expect: Callable[[int], bool] = lambda status: status == 200,
    timeout: float = 60.0,
    keep_bodies: bool = True,
) -> AsyncIterator[LoadResult]:
    """Requests from `connections` clients, as fast as they are answered or `rate` a second over all of them, until the block ends.

    A request fails when it gets no whole answer within `timeout`, or one whose status is not as expected.
    """
    result = LoadResult()
    stop = asyncio.Event()
    request = _request(url, method, headers or {}, body)
    pause = connections / rate if rate else 0.0
    clients = [
        asyncio.create_task(_client(url, request, result, stop, pause, expect, timeout, keep_bodies))
        for _ in range(connections)
    ]
    try:
        yield result
    finally:
        stop.set()
        await asyncio.gather(*clients)


@contextlib.contextmanager
def load_in_thread(url: str, **options: object) -> Iterator[LoadResult]:
    """As `load`, for tests without an event loop: it runs in a thread of its own."""
    ready, finish = threading.Event(), threading.Event()
    found: list[LoadResult] = []

    async def run() -> None:
        async with load(url, **options) as result:  # type: ignore[arg-type]
            found.append(result)
            ready.set()
            while not finish.is_set():
                await asyncio.sleep(0.02)

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="load")
    thread.start()
    try:
        assert ready.wait(60)
        yield found[0]
    finally:
        finish.set()
        thread.join()


def _request(url: str, method: str, headers: dict[str, str], body: bytes) -> bytes:
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = {"Host": parts.netloc, **headers}
    if body or method in ("POST", "PUT", "PATCH"):
        lines["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


async def _client(
    url: str,
    request: bytes,
    result: LoadResult,
    stop: asyncio.Event,
    pause: float,
    expect: Callable[[int], bool],
    timeout: float,
    keep_bodies: bool,
) -> None:
    connection = _Connection(url, result)
    while not stop.is_set():
        began = time.monotonic()
        result.requests += 1
        try:
            async with asyncio.timeout(timeout):
                status, text = await connection.ask(request)
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            result.fail(f"{type(error).__name__}: {error}")
            connection.close()
            await asyncio.sleep(0.01)  # a server that is away must not turn the loop into a spin
        else:
            result.statuses[status] += 1
            result.latencies.append(time.monotonic() - began)
            if keep_bodies:
                result.bodies[text[:200].decode("latin-1")] += 1
            if not expect(status):
                result.fail(f"status {status}: {text[:100]!r}")
        if pause:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), max(0.0, pause - (time.monotonic() - began)))
    connection.close()


class _Connection:
    """To one server, opened when there is something to ask and kept as long as the server keeps it."""

    def __init__(self, url: str, result: LoadResult) -> None:
        self._server = urlsplit(url)
        self._result = result
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        if self._streams and self._streams[0].at_eof():
            self._result.clean_closes += 1
            self.close()
        used_before = self._streams is not None
        head = await self._head(request)
        if not head and used_before and not request.startswith((b"POST", b"PATCH")):
            self._result.repeated += 1
            self.close()
            head = await self._head(request)
        if not head or self._streams is None:
            raise EOFError("closed without an answer")
        status, text, keep = await _answer(head, self._streams[0])
        if not keep:
            self.close()
        return status, text

    async def _head(self, request: bytes) -> bytes:
        """Empty where the server closed without a byte."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._server.hostname, self._server.port)
        reader, writer = self._streams
        try:
            writer.write(request)
            return await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            return b""

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _answer(head: bytes, reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """(status, body, whether the connection stays). Raises EOFError when the server goes away in between."""
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = {
        name.strip().lower(): value.strip().lower()
        for name, _, value in (line.partition(":") for line in lines if line)
    }
    keep = fields.get("connection") != "close" and first.startswith("HTTP/1.1")
    status = int(first.split()[1])
    if fields.get("transfer-encoding") == "chunked":
        body = b""
        while size := int((await reader.readline()).split(b";")[0], 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    elif "content-length" in fields:
        body = await reader.readexactly(int(fields["content-length"]))
    elif status in (204, 304):
        body = b""
    else:
        body, keep = await reader.read(), False
    return status, body, keep
