"""The parts of Docker's API that answer as long as a container runs: its end, its output, a command inside it.

They go over an asynchronous connection of their own; in the SDK each would hold a thread for the container's whole life.
"""

import asyncio
import contextlib
import datetime
import json
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import aiohttp

from embedded.mesos.errors import MesosError

Json = dict[str, Any]
STDOUT, STDERR = 1, 2

_HEADER = struct.Struct(">BxxxI")
_MOST_FRAME = 16 * 1024 * 1024
_ANSWER_TIMEOUT = 30.0


class DockerStreamError(MesosError):
    """Docker answered with an error. `status` is HTTP's."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class Frame:
    """A piece of output. `stamp` is RFC 3339 with nanoseconds, empty where none was asked for."""

    stream: int
    stamp: str
    data: bytes


@dataclass
class DockerStreams:
    """`url` is `unix:///path` or `tcp://host:port`."""

    url: str
    _session: aiohttp.ClientSession | None = field(default=None, init=False)

    async def wait(self, container: str) -> int:
        """The exit code, once the container has ended."""
        async with self._request("POST", f"/containers/{quote(container)}/wait") as response:
            answer = await response.json(content_type=None)
            return int(answer["StatusCode"])

    async def logs(self, container: str, since: str = "") -> AsyncIterator[list[Frame]]:
        """Batches of output from `since` on (a stamp, inclusive), until the container ends."""
        parameters = {"follow": "1", "stdout": "1", "stderr": "1", "timestamps": "1"}
        if since:
            parameters["since"] = unix_time(since)
        async with self._request("GET", f"/containers/{quote(container)}/logs", parameters) as response:
            parser = FrameParser(stamped=True)
            async for piece in response.content.iter_any():
                if frames := parser.feed(piece):
                    yield frames

    async def run_exec(self, exec_id: str) -> None:
        """Starts what `exec_create` made, and returns when it has ended."""
        async with self._request(
            "POST", f"/exec/{quote(exec_id)}/start", body={"Detach": False, "Tty": False}
        ) as response:
            async for _ in response.content.iter_any():
                pass

    async def attach_exec(self, exec_id: str, *, tty: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Starts it; the connection is the command's streams from now on, multiplexed where there is no terminal.

        Raises DockerStreamError, OSError.
        """
        if self.url.startswith("unix://"):
            reader, writer = await asyncio.open_unix_connection(self.url.removeprefix("unix://"))
        else:
            host, _, port = self.url.removeprefix("tcp://").rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
        try:
            body = json.dumps({"Detach": False, "Tty": tty}).encode()
            head = f"POST /exec/{quote(exec_id)}/start HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\n"
            head += f"Content-Length: {len(body)}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
            writer.write(head.encode() + body)
            async with asyncio.timeout(_ANSWER_TIMEOUT):
                answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                status = int(answer.split(" ", 2)[1])
                if status not in (101, 200):
                    raise DockerStreamError((await reader.read(4096)).decode(errors="replace").strip(), status)
        except (EOFError, asyncio.LimitOverrunError, ValueError, IndexError):
            writer.close()
            raise DockerStreamError("Docker broke off, or does not speak HTTP", 502) from None
        except BaseException:
            writer.close()
            raise
        return reader, writer

    async def close(self) -> None:
        if self._session:
            await self._session.close()
            self._session = None

    @contextlib.asynccontextmanager
    async def _request(
        self, method: str, path: str, parameters: dict[str, str] | None = None, body: Json | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            unix = self.url.startswith("unix://")
            connector: aiohttp.BaseConnector
            connector = (
                aiohttp.UnixConnector(self.url.removeprefix("unix://"), limit=0)
                if unix
                else aiohttp.TCPConnector(limit=0)
            )
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        base = "http://docker" if self.url.startswith("unix://") else self.url.replace("tcp://", "http://", 1)
        async with self._session.request(method, base + path, params=parameters, json=body) as response:
            if response.status >= 400:
                text = await response.text()
                raise DockerStreamError(text.strip() or response.reason or "", response.status)
            yield response


class FrameParser:
    """Docker's multiplexed stream: eight bytes of header (stream, length), then the data; cut anywhere."""

    def __init__(self, *, stamped: bool) -> None:
        self._stamped = stamped
        self._buffer = bytearray()

    def feed(self, piece: bytes) -> list[Frame]:
        """Raises DockerStreamError for what is no such stream."""
        self._buffer += piece
        frames: list[Frame] = []
        start = 0
        while len(self._buffer) - start >= _HEADER.size:
            stream, length = _HEADER.unpack_from(self._buffer, start)
            if stream not in (0, STDOUT, STDERR) or length > _MOST_FRAME:
                raise DockerStreamError("the container's output is not multiplexed; it has a terminal", 500)
            end = start + _HEADER.size + length
            if len(self._buffer) < end:
                break
            data = bytes(self._buffer[start + _HEADER.size : end])
            stamp = b""
            if self._stamped:
                stamp, _, data = data.partition(b" ")
            frames.append(Frame(stream or STDOUT, stamp.decode(), data))
            start = end
        del self._buffer[:start]
        return frames


def unix_time(stamp: str) -> str:
    """`2026-11-21T03:56:10.123456789Z` -> `1795233370.123456789`, which is how `since` has to be given. Raises ValueError."""
    whole, _, fraction = stamp.removesuffix("Z").partition(".")
    seconds = int(datetime.datetime.fromisoformat(whole).replace(tzinfo=datetime.UTC).timestamp())
    return f"{seconds}.{fraction or '0'}"
