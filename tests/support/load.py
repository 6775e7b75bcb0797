"""A load that does not forgive: keep-alive connections, no retry, every request that is not answered with 200 is a failure.

`under_load(url, host, rate=100)` sends about `rate` requests a second over `connections` connections, from a thread with its own event
loop, until the block ends; `rate=None` sends as fast as it can, `requests` ends it after so many.
"""

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.support.waiting import eventually

TIMEOUT = 10.0


@dataclass(frozen=True)
class Failure:
    """One request that failed: when it ended (`time.monotonic()`), and why."""

    at: float
    why: str


@dataclass
class Load:
    host: str
    port: int
    virtual_host: str
    path: str
    rate: float | None
    most: int | None
    started: int = 0
    requests: int = 0
    failures: list[Failure] = field(default_factory=list)
    bodies: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    stopped: bool = False

    def wait_for(self, requests: int, timeout: float = 30) -> None:
        wanted = self.requests + requests
        eventually(lambda: self.requests >= wanted, timeout, what=f"{requests} more requests")

    async def run(self, connections: int) -> None:
        began = time.monotonic()
        await asyncio.gather(*(self._connection(began) for _ in range(connections)))

    async def _connection(self, began: float) -> None:
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while await self._next(began):
            sent = time.monotonic()
            try:
                async with asyncio.timeout(TIMEOUT):
                    if streams is None:
                        streams = await asyncio.open_connection(self.host, self.port)
                    status, body, keep = await self._request(*streams)
                if status == 200:
                    self.bodies[body.strip()] += 1
                else:
                    self._failed(f"{status}: {body.strip()[:200]}")
                if not keep:
                    streams[1].close()
                    streams = None
            except (OSError, EOFError, TimeoutError, ValueError) as error:
                self._failed(repr(error))
                if streams:
                    streams[1].close()
                streams = None
            self.requests += 1
            self.seconds.append(time.monotonic() - sent)
        if streams:
            streams[1].close()

    async def _next(self, began: float) -> bool:
        """Waits for the next request's turn; False when there is to be none."""
        if self.stopped or (self.most is not None and self.started >= self.most):
            return False
        number = self.started
        self.started += 1
        if self.rate:
            await asyncio.sleep(max(0.0, began + number / self.rate - time.monotonic()))
        return not self.stopped

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, str, bool]:
        writer.write(f"GET {self.path} HTTP/1.1\r\nHost: {self.virtual_host}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int((await reader.readline()).split(b";")[0], 16):
                body += await reader.readexactly(size)
                await reader.readline()
            await reader.readline()
        elif "content-length" in headers:
            body = await reader.readexactly(int(headers["content-length"]))
        else:
            body = await reader.read()
        keep = headers.get("connection", "").lower() != "close" and (
            "content-length" in headers or "transfer-encoding" in headers
        )
        return int(head[0].split()[1]), body.decode(errors="replace"), keep

    def _failed(self, why: str) -> None:
        self.failures.append(Failure(time.monotonic(), why))


@contextlib.contextmanager
def under_load(
    url: str, host: str, *, path: str = "/", rate: float | None = 100, connections: int = 8, requests: int | None = None
) -> Iterator[Load]:
    parts = urlsplit(url)
    assert parts.hostname and parts.port
    load = Load(parts.hostname, parts.port, host, path, rate, requests)
    thread = threading.Thread(target=lambda: asyncio.run(load.run(connections)), daemon=True)
    thread.start()
    try:
        yield load
    finally:
        load.stopped = True
        thread.join(timeout=2 * TIMEOUT)
