"""Calls to the master: some lanes, each a thread with a connection of its own that sends what has gathered in one go.

A call names its lane by a key, so that calls about the same thing keep their order while others overtake them. Several calls are written
before the first answer is read (HTTP pipelining), which is what lets one thread acknowledge thousands of updates a second.
"""

import base64
import contextlib
import queue
import socket
import ssl
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httptools
import orjson

from daemonkit.logs import get_logger

log = get_logger(__name__)

Outcome = Callable[["Call", int, str], None]  # status 0: it is not known whether the master got it

_SAFE_TO_REPEAT = frozenset({"ACKNOWLEDGE", "DECLINE", "KILL", "RECONCILE", "REVIVE", "SUPPRESS"})


@dataclass(slots=True)
class Call:
    """`body` is the v1 scheduler call, for the subscription `stream_id` at `master` and no other."""

    body: dict[str, Any]
    master: str
    stream_id: str
    about: tuple[str, ...] = ()
    tries: int = field(default=0)

    @property
    def type(self) -> str:
        return str(self.body["type"])

    @property
    def way(self) -> tuple[str, str]:
        """The master, and the subscription there."""
        return self.master, self.stream_id


class CallPool:
    """`settled` is called, in a lane's thread, with each call that was not accepted: its status and the answer's text."""

    def __init__(
        self,
        settled: Outcome,
        *,
        lanes: int = 4,
        pipeline: int = 64,
        bound: int = 100_000,
        timeout: float = 10.0,
        credentials: tuple[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        header = ""
        if credentials:
            token = base64.b64encode(":".join(credentials).encode()).decode()
            header = f"Authorization: Basic {token}\r\n"
        self._lanes = [_Lane(index, settled, pipeline, bound, timeout, header, tls) for index in range(lanes)]

    def start(self) -> None:
        for lane in self._lanes:
            lane.start()

    def send(self, call: Call, key: str) -> None:
        self._lanes[zlib.crc32(key.encode()) % len(self._lanes)].put(call)

    def stop(self, timeout: float = 5.0) -> None:
        """Sends what waits, then ends."""
        for lane in self._lanes:
            lane.stop()
        for lane in self._lanes:
            lane.join(timeout)

    @property
    def waiting(self) -> int:
        return sum(lane.waiting for lane in self._lanes)


class _Lane(threading.Thread):
    def __init__(
        self,
        index: int,
        settled: Outcome,
        pipeline: int,
        bound: int,
        timeout: float,
        authorization: str,
        tls: ssl.SSLContext | None,
    ) -> None:
        super().__init__(name=f"mesos-calls-{index}", daemon=True)
        self._queue: queue.Queue[Call | None] = queue.Queue(bound)
        self._settled, self._pipeline, self._timeout, self._authorization = settled, pipeline, timeout, authorization
        self._tls = tls
        self._connection: _Connection | None = None

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    def put(self, call: Call) -> None:
        try:
            self._queue.put_nowait(call)
        except queue.Full:
            self._settled(call, 0, "too many calls wait for the master")

    def stop(self) -> None:
        self._queue.put(None)

    def run(self) -> None:
        while True:
            batch = self._gather()
            calls = [call for call in batch if call is not None]
            if calls:
                try:
                    self._exchange(calls)
                except Exception:
                    log.exception("sending calls failed")
            if len(calls) < len(batch):
                self._close()
                return

    def _gather(self) -> list[Call | None]:
        batch: list[Call | None] = [self._queue.get()]
        with contextlib.suppress(queue.Empty):
            while len(batch) < self._pipeline and batch[-1] is not None:
                batch.append(self._queue.get_nowait())
        return batch

    def _exchange(self, calls: Sequence[Call]) -> None:
        """Sends calls and reads their answers; what fails is settled, or tried once more where that does no harm."""
        while calls:
            way = calls[0].way
            mine = [call for call in calls if call.way == way]
            others = [call for call in calls if call.way != way]
            answered = 0
            try:
                connection = self._connect(way)
                for status, text in connection.exchange([self._request(call) for call in mine]):
                    call = mine[answered]
                    answered += 1
                    if status != 202:
                        self._settled(call, status, text)
            except (OSError, httptools.HttpParserError) as error:
                self._close()
                calls = self._after_failure(mine[answered:], str(error) or type(error).__name__) + others
                continue
            calls = others

    def _after_failure(self, calls: Sequence[Call], why: str) -> list[Call]:
        again = []
        for call in calls:
            call.tries += 1
            if call.tries < 3 and call.type in _SAFE_TO_REPEAT:
                again.append(call)
            else:
                self._settled(call, 0, why)
        return again

    def _request(self, call: Call) -> bytes:
        body = orjson.dumps(call.body)
        head = (
            f"POST /api/v1/scheduler HTTP/1.1\r\nHost: {call.master}\r\nContent-Type: application/json\r\n"
            f"Accept: application/json\r\nMesos-Stream-Id: {call.stream_id}\r\n{self._authorization}"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def _connect(self, way: tuple[str, str]) -> "_Connection":
        """A new one for each subscription: one that is kept from before may have died with the master that it led to, and a launch that
        is sent on it would be lost."""
        if self._connection is None or self._connection.way != way:
            self._close()
            self._connection = _Connection(way, self._timeout, self._tls)
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def connect(master: str, timeout: float, tls: ssl.SSLContext | None) -> socket.socket:
    """To host:port. Raises OSError, of which a certificate that does not convince is one."""
    host, _, port = master.rpartition(":")
    host = host.strip("[]")
    plain = socket.create_connection((host, int(port)), timeout=timeout)
    if tls is None:
        return plain
    try:
        return tls.wrap_socket(plain, server_hostname=host)
    except OSError:
        plain.close()
        raise


class _Connection:
    """A kept-alive connection; answers come in the order of the requests."""

    def __init__(self, way: tuple[str, str], timeout: float, tls: ssl.SSLContext | None) -> None:
        self.way = way
        self._socket = connect(way[0], timeout, tls)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers: list[tuple[int, str]] = []
        self._body = bytearray()
        self._parser = httptools.HttpResponseParser(self)

    def exchange(self, requests: Sequence[bytes]) -> Iterator[tuple[int, str]]:
        """Sends all of them together; (status, text) of each answer as it arrives. Raises OSError."""
        self._socket.sendall(b"".join(requests))
        left = len(requests)
        while left > 0:
            for answer in self._read():
                left -= 1
                yield answer

    def close(self) -> None:
        self._socket.close()

    # What httptools calls.

    def on_message_begin(self) -> None:
        self._body.clear()

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        text = self._body.decode(errors="replace").strip()
        self._answers.append((self._parser.get_status_code(), text))

    def _read(self) -> list[tuple[int, str]]:
        """Further answers, one at least. Raises OSError."""
        self._answers = []
        while not self._answers:
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionResetError("the master closed the connection")
            self._parser.feed_data(data)
        return self._answers
