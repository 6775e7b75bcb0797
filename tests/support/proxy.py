"""A TCP proxy in front of a server, by which a test takes the server away, lets it hang, or has it answer with an error."""

import asyncio
import contextlib
import random
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.support.loops import running_in_a_thread


@dataclass
class Faults:
    """What happens to connections. Changed at any time; a change closes the connections that are open."""

    refuse: bool = False  # connections are closed at once
    hang: bool = False  # bytes are taken, none come back
    status: int | None = None  # every request is answered with this status
    share: float = 1.0  # of the connections that this happens to


class Proxy:
    def __init__(
        self,
        host: str,
        port: int | None = None,
        *,
        seed: int = 0,
        on_sent: Callable[[bytes], None] = lambda data: None,
    ) -> None:
        """In front of `host` and `port`, or of the UNIX socket at the path `host`. `on_sent` sees what clients send through it."""
        self._on_sent = on_sent
        self.upstream = (host, port)
        self.port = 0
        self._faults = Faults()
        self._random = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def set(self, faults: Faults | None = None) -> None:
        """Without faults all goes through. No connection that was open before is so, nor any byte on its way, when this returns."""
        changed = threading.Event()

        def change() -> None:
            self._faults = faults or Faults()
            for writer in self._open:
                writer.transport.abort()
            changed.set()

        self._loop.call_soon_threadsafe(change)
        assert changed.wait(60)

    @contextlib.contextmanager
    def running(self) -> Iterator["Proxy"]:
        with running_in_a_thread(self._loop, self._serve(), self._stop, "proxy"):
            self._ready.wait()
            yield self

    async def _serve(self) -> None:
        sock = socket.create_server(("127.0.0.1", 0))
        self.port = sock.getsockname()[1]
        server = await asyncio.start_server(self._connected, sock=sock)
        self._ready.set()
        await self._stop.wait()
        server.close()
        for writer in list(self._open):
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        # A cancelled handler would be logged by asyncio as if it were an error.
        with contextlib.suppress(asyncio.CancelledError):
            await self._handle(reader, writer)
        self._open.discard(writer)
        writer.close()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        faults = self._faults if self._random.random() < self._faults.share else Faults()
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if faults.refuse:
                writer.transport.abort()
            elif faults.hang:
                while await reader.read(65536):
                    pass
            elif faults.status is not None:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 %d Injected\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % faults.status)
                await writer.drain()
            else:
                await self._relay(reader, writer)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self.upstream
        upstream_reader, upstream_writer = await (
            asyncio.open_connection(host, port) if port else asyncio.open_unix_connection(host)
        )
        self._open.add(upstream_writer)

        async def pump(
            source: asyncio.StreamReader, sink: asyncio.StreamWriter, on_data: Callable[[bytes], None]
        ) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    on_data(data)
                    sink.write(data)
                    await sink.drain()
            sink.close()

        try:
            await asyncio.gather(
                pump(reader, upstream_writer, self._on_sent), pump(upstream_reader, writer, lambda data: None)
            )
        finally:
            self._open.discard(upstream_writer)
            upstream_writer.close()
