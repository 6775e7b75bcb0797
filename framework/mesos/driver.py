"""pymesos' scheduler driver, made fit for a daemon that never stops.

What is changed: large reads instead of 4 KB with a growing copy; a watchdog on the master's heartbeats; redirects, refusals and a removed
framework become events instead of the end of the thread; calls go out on lanes of their own (`calls`) instead of one at a time under a
lock; a master is found by `detector`; nothing touches signals or the main thread; stopping leaves the tasks alone.
"""

import contextlib
import logging
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import httptools
import orjson

from daemonkit.backoff import Backoff
from daemonkit.logs import get_logger
from framework.mesos.calls import Call, CallPool, connect
from framework.mesos.detector import ZooKeeperDetector, parse_master

_before = signal.getsignal(signal.SIGINT)
from pymesos import MesosSchedulerDriver  # noqa: E402  it takes SIGINT over when it is imported, and logs to stderr by itself

if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, _before)
logging.getLogger("pymesos").handlers.clear()

log = get_logger(__name__)

Json = dict[str, Any]
READ_SIZE = 1 << 18
MISSED_HEARTBEATS = 5
DEFAULT_HEARTBEAT = 15.0


class Refused(Exception):  # noqa: N818  it says what happened
    """The master did not take the subscription."""

    def __init__(self, status: int, text: str, redirect: str | None = None) -> None:
        super().__init__(f"the master answered {status}: {text}" if not redirect else f"redirected to {redirect}")
        self.status, self.redirect = status, redirect


class Driver(MesosSchedulerDriver):  # type: ignore[misc]
    """`on_message(type, content)` is called in the stream's thread with every event of the master, and with these of the driver's own:
    CONNECTED is the master's SUBSCRIBED with `master` (host:port) added, DISCONNECTED has `why`.

    `on_failed_call(call, status, text)`: a call that was not accepted; status 0 where it is not known whether it arrived.
    """

    _master: str | None
    _framework: Json
    stream_id: str | None
    detector: ZooKeeperDetector | None

    def __init__(
        self,
        framework: Json,
        master: str,
        on_message: Callable[[str, Json], None],
        on_failed_call: Callable[[Call, int, str], None],
        *,
        credentials: tuple[str, str] | None = None,
        backoff: Backoff | None = None,
        connect_timeout: float = 5.0,
        lanes: int = 4,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(
            None, framework, master, implicit_acknowledgements=False, failover=True,
            principal=credentials and credentials[0], secret=credentials and credentials[1],
        )  # fmt: skip
        self._on_message, self._on_failed_call = on_message, on_failed_call
        self._backoff = backoff or Backoff(first=0.2, most=5.0)
        self._connect_timeout, self._tls = connect_timeout, tls
        self._calls = CallPool(self._settled, lanes=lanes, credentials=credentials, tls=tls)
        self._stopping = threading.Event()
        self._reconnect = threading.Event()
        self._socket: socket.socket | None = None
        self._found_master = threading.Event()
        self._thread: threading.Thread | None = None

    # --- life

    def start(self) -> None:
        if self._thread is not None:
            return
        address = parse_master(self.master_uri)
        self._stopping.clear()
        self._calls.start()
        self._thread = threading.Thread(target=self._run, name="mesos-stream", daemon=True)
        self._started = True
        if isinstance(address, str):
            self.change_master(address)
        else:
            self.detector = ZooKeeperDetector(address, self.change_master)
            self.detector.start()
        self._thread.start()

    def stop(self, failover: bool = True) -> None:
        """Leaves the master; the tasks go on (whatever `failover` says)."""
        if self._thread is None:
            return
        self._stopping.set()
        self._found_master.set()
        self._calls.stop()
        self._interrupt()
        self._thread.join(5.0)
        self._thread = None
        if self.detector is not None:
            self.detector.stop()
            self.detector = None

    def change_master(self, master: str | None) -> None:
        """None: there is no leader."""
        with self._lock:
            if master == self._master:
                return
            self._master = master
        if master:
            self._found_master.set()
        else:
            self._found_master.clear()
        self._interrupt()

    def reconnect(self) -> None:
        """Gives up the present subscription and makes a new one."""
        self._interrupt()

    def reconnect_from(self, stream_id: str) -> None:
        """The same, if the present subscription is still that one."""
        if stream_id == self.stream_id:
            self._interrupt()

    def update_framework(self, framework: Json) -> None:
        """For the next subscription."""
        framework_id = self._framework.get("id")
        self._framework = {**framework, **({"id": framework_id} if framework_id else {})}

    @property
    def framework(self) -> Json:
        return dict(self._framework)

    @property
    def waiting_calls(self) -> int:
        return self._calls.waiting

    # --- the stream

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._found_master.wait()
            if self._stopping.is_set():
                return
            why = "the stream ended"
            try:
                self._subscribe_and_read()
            except Refused as refused:
                why = str(refused)
                if refused.redirect:
                    with self._lock:
                        self._master = refused.redirect
            except (OSError, httptools.HttpParserError, ValueError, KeyError) as error:
                why = str(error) or type(error).__name__
            except Exception as error:
                log.exception("the stream's thread failed, it goes on")
                why = str(error)
            self._disconnected(why)
            if not self._stopping.is_set():
                self._stopping.wait(self._backoff.next())

    def _disconnected(self, why: str) -> None:
        self.stream_id = None
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None
        if not self._stopping.is_set():
            self._tell("DISCONNECTED", {"why": why})

    def _subscribe_and_read(self) -> None:
        master = self.master
        if not master:
            return
        connection = connect(master, self._connect_timeout, self._tls)
        with self._lock:
            self._socket = connection
        self._reconnect.clear()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.sendall(self.gen_request())
        stream = _Stream()
        heartbeat = DEFAULT_HEARTBEAT
        while not self._stopping.is_set() and not self._reconnect.is_set():
            connection.settimeout(heartbeat * MISSED_HEARTBEATS)
            try:
                data = connection.recv(READ_SIZE)
            except TimeoutError:
                raise TimeoutError(f"no heartbeat for {heartbeat * MISSED_HEARTBEATS:.0f} s") from None
            if not data:
                return
            for event in stream.feed(data):
                self.stream_id = stream.stream_id
                if event.get("type") == "SUBSCRIBED":
                    heartbeat = self._subscribed(event["subscribed"], master)
                else:
                    self._event(event)

    def _subscribed(self, content: Json, master: str) -> float:
        self._backoff.reset()
        self.framework_id = content["framework_id"]["value"]
        self._tell("CONNECTED", {**content, "master": master})
        return float(content.get("heartbeat_interval_seconds") or DEFAULT_HEARTBEAT)

    def _event(self, event: Json) -> None:
        kind = str(event.get("type", "UNKNOWN"))
        if kind == "ERROR":
            log.error("the master reports an error", message=event.get("error", {}).get("message"))
        self._tell(kind, event.get(kind.lower(), {}))

    def _tell(self, kind: str, content: Mapping[str, Any]) -> None:
        try:
            self._on_message(kind, dict(content))
        except Exception:
            log.exception("an event of the master could not be taken", kind=kind)

    def _interrupt(self) -> None:
        self._reconnect.set()
        with self._lock:
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    # --- calls; pymesos' methods build the bodies

    def call(self, body: Json, key: str, about: tuple[str, ...] = ()) -> bool:
        """Sends a call; False, and nothing sent, while there is no subscription."""
        stream_id, master, framework_id = self.stream_id, self.master, self.framework_id
        if not stream_id or not master or not framework_id or self._stopping.is_set():
            return False
        body.setdefault("framework_id", {"value": framework_id})
        self._calls.send(Call(body, master, stream_id, about), key)
        return True

    def _send(self, body: Json, path: str = "", method: str = "POST", headers: Mapping[str, str] | None = None) -> Json:
        """What pymesos' own methods call."""
        self.call(body, str(body["type"]))
        return {}

    def _settled(self, call: Call, status: int, text: str) -> None:
        stale = call.stream_id != self.stream_id
        if status == 307 or (status in (400, 403) and not stale):
            # Another master leads, or this one does not know the subscription (any more).
            self.reconnect()
        if not stale or status == 0:
            log.warning("a call to the master failed", call=call.type, status=status, answer=text[:200])
        self._on_failed_call(call, status, text)


class _Stream:
    """HTTP response with RecordIO -> events."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._buffer = bytearray()
        self._ended = False
        self.stream_id: str | None = None

    def feed(self, data: bytes) -> list[Json]:
        """Raises Refused for any answer but 200."""
        self._parser.feed_data(data)
        status = self._parser.get_status_code()
        if self._ended or (status != 200 and status >= 300 and "location" in self._headers):
            self._refuse(status)
        if status != 200:
            return []
        return self._records()

    def _refuse(self, status: int) -> None:
        if status == 307:
            location = self._headers.get("location", "")
            raise Refused(status, "", urlsplit(location).netloc or location.strip("/"))
        if status != 200:
            raise Refused(status, self._buffer.decode(errors="replace").strip())

    def _records(self) -> list[Json]:
        found: list[Json] = []
        buffer, start = self._buffer, 0
        while (newline := buffer.find(b"\n", start)) >= 0:
            end = newline + 1 + int(buffer[start:newline])
            if len(buffer) < end:
                break
            found.append(orjson.loads(memoryview(buffer)[newline + 1 : end]))
            start = end
        if start:
            del buffer[:start]
        return found

    # What httptools calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.stream_id = self._headers.get("mesos-stream-id")

    def on_body(self, body: bytes) -> None:
        self._buffer += body

    def on_message_complete(self) -> None:
        self._ended = True
