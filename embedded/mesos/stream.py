"""A subscription: events go in at one end without waiting, RecordIO comes out at the other as fast as the client reads."""

import asyncio
import uuid
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from daemonkit.recordio import record

Json = dict[str, Any]

# Events that wait are sent together, up to so many bytes at once.
CHUNK_BYTES = 64 * 1024


class Stream:
    """One client. One that reads so slowly that more than `max_bytes` wait for it is cut off, and may subscribe again."""

    def __init__(self, *, max_bytes: int, heartbeat: float) -> None:
        self.id = str(uuid.uuid4())
        self._max_bytes = max_bytes
        self._heartbeat = heartbeat
        self._heartbeats: asyncio.TimerHandle | None = None
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._arrived = asyncio.Event()
        self.closed = False

    def send(self, event: Json) -> None:
        self.send_record(record(event))

    def send_record(self, data: bytes) -> None:
        """An event that `record` encoded, which many streams may share."""
        if self.closed:
            return
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes > self._max_bytes:
            self._waiting.clear()
            self.close()
        self._arrived.set()

    def start_heartbeats(self) -> None:
        """Sends a HEARTBEAT now, and on at the interval."""
        if not self.closed:
            self.send({"type": "HEARTBEAT"})
            self._heartbeats = asyncio.get_running_loop().call_later(self._heartbeat, self.start_heartbeats)

    def close(self) -> None:
        """What waits is still sent."""
        self.closed = True
        if self._heartbeats:
            self._heartbeats.cancel()
        self._arrived.set()

    async def chunks(self) -> AsyncIterator[bytes]:
        while True:
            while self._waiting:
                yield self._next_chunk()
            if self.closed:
                return
            self._arrived.clear()
            await self._arrived.wait()

    def _next_chunk(self) -> bytes:
        chunk = [self._waiting.popleft()]
        size = len(chunk[0])
        while self._waiting and size + len(self._waiting[0]) <= CHUNK_BYTES:
            chunk.append(self._waiting.popleft())
            size += len(chunk[-1])
        self._waiting_bytes -= size
        return b"".join(chunk)
