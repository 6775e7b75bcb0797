"""HTTP/1.1 in as little memory as a held request needs.

A watch is a request that waits for minutes, and there may be thousands of them. A general client keeps tens of kilobytes for each:
streams, a response object, timers, a connector's bookkeeping. Here a held request is one protocol object, one parser and one future.
What a source needs of HTTP, and no more: TLS, Unix sockets, keep-alive, bounds on time and size. No redirects, no cookies.
"""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from urllib.parse import quote, urlsplit

import httptools

from consul_template_py.errors import SourceUnavailableError


@dataclass(frozen=True)
class Endpoint:
    """Where a server listens: `http://host:port/prefix`, `https://…`, or `unix:///path/to/socket`."""

    host: str
    port: int
    prefix: str = ""
    tls: ssl.SSLContext | None = field(default=None, compare=False)
    server_name: str | None = None
    unix_socket: str | None = None

    @staticmethod
    def parse(address: str, *, tls: ssl.SSLContext | None = None, server_name: str | None = None) -> "Endpoint":
        """`host:port` is plain HTTP. Raises ValueError with what is wrong with the address."""
        if address.startswith("unix://"):
            return Endpoint("localhost", 0, unix_socket=address.removeprefix("unix://"))
        parts = urlsplit(address if "://" in address else f"http://{address}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{address!r} is not an address: give http://host:port, https://host:port or unix:///path")
        secure = parts.scheme == "https"
        context = (tls or ssl.create_default_context()) if secure else None
        port = parts.port or (443 if secure else 80)
        return Endpoint(parts.hostname, port, parts.path.rstrip("/"), context, server_name)

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port else host

    def __str__(self) -> str:
        if self.unix_socket:
            return f"unix://{self.unix_socket}"
        return f"{'https' if self.tls else 'http'}://{self.authority}{self.prefix}"


@dataclass(slots=True)
class Response:
    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes

    def text(self, limit: int = 200) -> str:
        """The body as one short line, for messages."""
        return " ".join(self.body[: limit * 4].decode("utf-8", "replace").split())[:limit]


class _Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    __slots__ = ("_body", "_future", "_headers", "_limit", "_parser", "_reusable", "_size", "transport")

    def __init__(self, limit: int) -> None:
        self.transport: asyncio.Transport | None = None
        self._limit = limit
        self._future: asyncio.Future[Response] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._reset()

    def _reset(self) -> None:
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._reusable = False

    @property
    def open(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def send(self, request: bytes) -> asyncio.Future[Response]:
        assert self._future is None
        self._reset()
        self._future = future = asyncio.get_running_loop().create_future()
        if self.transport is not None:
            self.transport.write(request)
        else:
            self._fail("connection lost")  # between its opening and now
        return future

    @property
    def idle(self) -> bool:
        """The last answer is complete and the server keeps the connection."""
        return self._future is None and self._reusable and self.open

    def close(self) -> None:
        self._future = None
        if self.transport is not None:
            self.transport.abort()

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"connection lost{f': {exc}' if exc else ''}")
        self.transport = None

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"not HTTP: {error}")
            self.close()

    # the parser's callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._limit:
            self._fail(f"the answer is larger than max_body_bytes, {self._limit}")
            self.close()
            return
        self._body.append(data)

    def on_message_complete(self) -> None:
        self._reusable = self._parser.should_keep_alive()
        future, self._future = self._future, None
        if future is not None and not future.done():
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            future.set_result(Response(self._parser.get_status_code(), self._headers, body))
        elif future is None:
            self._reusable = False
        self._body = []

    def _fail(self, why: str) -> None:
        future, self._future = self._future, None
        if future is not None and not future.done():
            future.set_exception(SourceUnavailableError(why))


class Client:
    """Requests to one endpoint over at most `max_connections` connections, kept alive between requests.

    `max_body_bytes` bounds one answer. `max_idle`: how many connections without a request are kept. `tcp_keep_alive`: after how long
    without traffic the kernel asks whether the other side is still there; 0 for never. Durations in seconds.
    A request waits for a free connection in order of arrival.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        headers: Mapping[str, str] | None = None,
        max_connections: int = 128,
        connect_timeout: float = 5.0,
        tls_handshake_timeout: float = 10.0,
        tcp_keep_alive: float = 30.0,
        max_idle: int = 1 << 30,
        max_body_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self.endpoint = endpoint
        self.max_connections = max_connections
        self._connect_timeout, self._tls_timeout = connect_timeout, tls_handshake_timeout
        self._tcp_keep_alive = round(tcp_keep_alive)
        self._max_idle = max_idle
        self._max_body = max_body_bytes
        self._free = asyncio.Semaphore(max_connections)
        self._idle: deque[_Connection] = deque()
        self._head = _head_lines({"Host": endpoint.authority, "Accept": "*/*", **(headers or {})})

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
    ) -> Response:
        """`path` is percent-encoded by `quote_path` where it must be. Raises SourceUnavailableError, within `timeout` seconds
        (apart from the wait for a free connection)."""
        target = f"{self.endpoint.prefix}{path}{'?' + query if query else ''}"
        length = f"Content-Length: {len(body)}\r\n" if body is not None else ""
        request = f"{method} {target} HTTP/1.1\r\n{self._head}{_head_lines(headers or {})}{length}\r\n".encode() + (
            body or b""
        )
        async with self._free:
            return await self._send(request, timeout, retry=method == "GET")

    async def _send(self, request: bytes, timeout: float, *, retry: bool) -> Response:
        connection = self._take_idle()
        reused = connection is not None
        if connection is None:
            connection = await self._connect()
        future = connection.send(request)
        try:
            async with asyncio.timeout(timeout):
                response = await future
        except TimeoutError:
            connection.close()
            raise SourceUnavailableError(f"{self.endpoint} did not answer within {timeout:.0f} s") from None
        except SourceUnavailableError as error:
            connection.close()
            if reused and retry:  # the server may have closed a kept-alive connection while we wrote
                return await self._send(request, timeout, retry=False)
            raise SourceUnavailableError(f"{self.endpoint}: {error}") from None
        except BaseException:
            connection.close()
            raise
        if connection.idle and len(self._idle) < self._max_idle:
            self._idle.append(connection)
        else:
            connection.close()
        return response

    def _take_idle(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.idle:
                return connection
            connection.close()
        return None

    async def _connect(self) -> _Connection:
        loop, end = asyncio.get_running_loop(), self.endpoint
        try:
            async with asyncio.timeout(self._connect_timeout):
                if end.unix_socket:
                    _, connection = await loop.create_unix_connection(self._new_connection, end.unix_socket)
                else:
                    name = (end.server_name or end.host) if end.tls else None
                    _, connection = await loop.create_connection(
                        self._new_connection,
                        end.host,
                        end.port,
                        ssl=end.tls,
                        server_hostname=name,
                        ssl_handshake_timeout=self._tls_timeout if end.tls else None,
                    )
                    self._keep_alive(connection)
        except TimeoutError:
            raise SourceUnavailableError(f"{end} did not accept within {self._connect_timeout:.0f} s") from None
        except OSError as error:
            raise SourceUnavailableError(f"{end} cannot be reached: {error.strerror or error}") from None
        return connection

    def _keep_alive(self, connection: _Connection) -> None:
        """A held request is silent for minutes: without this a path that has died is noticed only by its time-out."""
        sock = connection.transport.get_extra_info("socket") if connection.transport else None
        if sock is not None and self._tcp_keep_alive > 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, self._tcp_keep_alive)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, self._tcp_keep_alive)

    def _new_connection(self) -> _Connection:
        return _Connection(self._max_body)

    async def close(self) -> None:
        while self._idle:
            self._idle.pop().close()
        await asyncio.sleep(0)  # lets the transports go


def tls_context(
    ca: Path | None, cert: Path | None, key: Path | None, *, verify: bool, ca_path: Path | None = None
) -> ssl.SSLContext:
    """`ca` is a file, `ca_path` a folder of certificates. Raises OSError (ssl.SSLError is one) for what cannot be used."""
    context = ssl.create_default_context(cafile=ca, capath=ca_path)
    if cert:
        context.load_cert_chain(cert, key)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def quote_path(segment: str) -> str:
    """A path segment that may hold anything; slashes stay, as in KV paths."""
    return quote(segment, safe="/")


def _head_lines(headers: Mapping[str, str]) -> str:
    for name, value in headers.items():
        if any(char in name + value for char in "\r\n\0"):
            raise ValueError(f"header {name!r} holds a line break")
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())
