"""Small HTTP servers that stand behind an edge in tests. Each answers with its name and remembers what it was asked."""

import asyncio
import base64
import contextlib
import hashlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from tests.support.processes import free_port


@dataclass
class Backend:
    """`requests` are (method, target, headers in lower case, body). `delay` (seconds), `status` and `held` may be changed at any time.

    `answer(target)` gives the body; WebSocket upgrades are echoed. `hang_up`: the connection is closed without an answer. `held`: requests
    are answered once it is set.
    """

    name: str
    host: str = "127.0.0.1"
    port: int = 0
    delay: float = 0.0
    held: asyncio.Event | None = None
    status: int = 200
    hang_up: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    active: int = 0
    _server: asyncio.Server | None = None
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, self.host, self.port, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stops listening and ends all connections, as a killed process does."""
        if self._server is None:
            return
        self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._connections.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        method, target, _ = first.split(" ", 2)
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        body = await reader.readexactly(int(fields.get("content-length", "0")))
        self.requests.append((method, target, fields, body))
        if self.hang_up:
            return False
        if fields.get("upgrade") == "websocket":
            return await self._echo(fields.get("sec-websocket-key", ""), reader, writer)
        self.active += 1
        try:
            if self.held:
                await self.held.wait()
            if self.delay:
                await asyncio.sleep(self.delay)
        finally:
            self.active -= 1
        text = b"" if method == "HEAD" else self.name.encode()
        extra = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        writer.write(
            f"HTTP/1.1 {self.status} Fine\r\nContent-Length: {len(text)}\r\nX-Backend: {self.name}\r\n{extra}\r\n".encode()
            + text
        )
        await writer.drain()
        return fields.get("connection", "").lower() != "close"

    async def _echo(self, key: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Not the WebSocket framing: what comes in goes out, which is all that a proxy knows of it."""
        accept = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
        )
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        return False


@contextlib.asynccontextmanager
async def backends(*names: str) -> AsyncIterator[list[Backend]]:
    """One running backend for each name."""
    made = [Backend(name) for name in names]
    for backend in made:
        await backend.start()
    try:
        yield made
    finally:
        for backend in made:
            await backend.stop()


def free_udp_port() -> int:
    """As `free_port`, for UDP: none of those that the kernel gives to clients."""
    while True:
        port = free_port()
        with socket.socket(type=socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
