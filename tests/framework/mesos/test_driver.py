"""The driver against a master that misbehaves: a server on a real socket that speaks the scheduler API and does what each test says."""

import contextlib
import queue
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httptools
import orjson
import pytest

from daemonkit.backoff import Backoff
from framework.mesos.calls import Call
from framework.mesos.driver import Driver
from tests.support.certificates import make_certificate
from tests.support.waiting import eventually

Json = dict[str, Any]
SUBSCRIBED = {
    "type": "SUBSCRIBED",
    "subscribed": {
        "framework_id": {"value": "f-1"},
        "heartbeat_interval_seconds": 15.0,
        "master_info": {"version": "1.11.0"},
    },
}


class Request:
    """One request as the server read it."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = b""
        self.done = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.done = True

    @property
    def call(self) -> Json:
        found: Json = orjson.loads(self.body)
        return found


class Connection:
    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._data = b""

    def requests(self) -> Iterator[Request]:
        while True:
            request = Request()
            parser = httptools.HttpRequestParser(request)
            while not request.done:
                if not self._data:
                    self._data = self.socket.recv(65536)
                    if not self._data:
                        return
                # Byte by byte up to the end of this message: what is behind it is the next, pipelined one.
                head, _, _ = self._data.partition(b"\r\n\r\n")
                length = len(head) + 4 + _content_length(head)
                part, self._data = self._data[:length], self._data[length:]
                parser.feed_data(part)
            yield request

    def answer(self, status: str, body: str = "", **headers: str) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *(f"{k}: {v}" for k, v in headers.items())]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode())

    def stream(self, *events: Json, stream_id: str = "stream-1") -> None:
        self.socket.sendall(
            (
                f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nMesos-Stream-Id: {stream_id}\r\n"
                "Content-Type: application/json\r\n\r\n"
            ).encode()
        )
        for event in events:
            self.send(event)

    def send(self, event: Json, pieces: int = 1) -> None:
        data = orjson.dumps(event)
        record = str(len(data)).encode() + b"\n" + data
        size = -(-len(record) // pieces)
        for start in range(0, len(record), size):
            part = record[start : start + size]
            self.socket.sendall(f"{len(part):x}\r\n".encode() + part + b"\r\n")


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


class Master:
    """`on_subscribe` and `on_call` answer; all that came in is in `subscriptions` and `calls`."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.subscriptions: list[Request] = []
        self.calls: list[Json] = []
        self.on_subscribe: Callable[[Connection, int], None] = lambda connection, number: connection.stream(SUBSCRIBED)
        self.on_call: Callable[[Connection, Request], None] = lambda connection, request: connection.answer(
            "202 Accepted"
        )
        self.streams: list[Connection] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(sock)
            thread = threading.Thread(target=self._greet, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _greet(self, sock: socket.socket) -> None:
        if self._tls is not None:
            try:
                sock = self._tls.wrap_socket(sock, server_side=True)
            except OSError:
                return
            self._sockets.append(sock)
        self._serve(Connection(sock))

    def _serve(self, connection: Connection) -> None:
        try:
            for request in connection.requests():
                if request.call["type"] == "SUBSCRIBE":
                    self.subscriptions.append(request)
                    self.streams.append(connection)
                    self.on_subscribe(connection, len(self.subscriptions))
                else:
                    self.calls.append(request.call)
                    self.on_call(connection, request)
        except OSError:
            pass

    def close(self) -> None:
        for sock in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # or a thread that waits there goes on waiting
            sock.close()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def master() -> Iterator[Master]:
    server = Master()
    yield server
    server.close()


class Told:
    """What the driver told."""

    def __init__(self) -> None:
        self.events: queue.Queue[tuple[str, Json]] = queue.Queue()
        self.failed: list[tuple[Call, int, str]] = []

    def next(self, kind: str, timeout: float = 60) -> Json:
        deadline = time.monotonic() + timeout
        while True:
            found, content = self.events.get(timeout=max(0.01, deadline - time.monotonic()))
            if found == kind:
                return content


@pytest.fixture
def told() -> Told:
    return Told()


Start = Callable[..., Driver]


@pytest.fixture
def start(master: Master, told: Told) -> Iterator[Start]:
    drivers: list[Driver] = []

    def make(framework: Json | None = None, **more: Any) -> Driver:
        driver = Driver(
            framework or {"name": "test", "user": "root", "roles": ["*"]},
            more.pop("address", master.address),
            lambda kind, content: told.events.put((kind, content)),
            lambda call, status, text: told.failed.append((call, status, text)),
            backoff=Backoff(first=0.01, most=0.05),
            **more,
        )
        drivers.append(driver)
        driver.start()
        return driver

    yield make
    for driver in drivers:
        driver.stop()


def test_it_subscribes_and_tells_events_in_order(master: Master, told: Told, start: Start) -> None:
    start()
    assert told.next("CONNECTED")["framework_id"] == {"value": "f-1"}
    master.streams[0].send({"type": "RESCIND", "rescind": {"offer_id": {"value": "o1"}}})
    master.streams[0].send({"type": "HEARTBEAT"})
    assert told.next("RESCIND") == {"offer_id": {"value": "o1"}}
    assert told.next("HEARTBEAT") == {}


@pytest.mark.parametrize("pieces", [1, 2, 7, 40])
def test_records_are_put_together_wherever_they_were_cut(master: Master, told: Told, start: Start, pieces: int) -> None:
    start()
    told.next("CONNECTED")
    event = {"type": "MESSAGE", "message": {"data": "ä" * 5000, "agent_id": {"value": "a\n3\n{"}}}
    for _ in range(3):
        master.streams[0].send(event, pieces)
        assert told.next("MESSAGE") == event["message"]


def test_a_large_record_takes_no_quadratic_time(master: Master, told: Told, start: Start) -> None:
    start()
    told.next("CONNECTED")
    large = {"type": "OFFERS", "offers": {"offers": [{"id": {"value": "x" * 200}} for _ in range(100_000)]}}
    started = time.process_time()
    master.streams[0].send(large, pieces=2000)
    assert len(told.next("OFFERS")["offers"]) == 100_000
    assert time.process_time() - started < 10


def test_the_id_is_kept_over_a_new_connection(master: Master, told: Told, start: Start) -> None:
    start()
    told.next("CONNECTED")
    assert "framework_id" not in master.subscriptions[0].call
    master.streams[0].socket.shutdown(socket.SHUT_RDWR)
    assert told.next("DISCONNECTED")
    told.next("CONNECTED")
    again = master.subscriptions[1].call
    assert again["framework_id"] == again["subscribe"]["framework_info"]["id"] == {"value": "f-1"}


def test_missed_heartbeats_mean_a_new_connection(master: Master, told: Told, start: Start) -> None:
    subscribed = {**SUBSCRIBED, "subscribed": {**SUBSCRIBED["subscribed"], "heartbeat_interval_seconds": 0.1}}  # type: ignore[dict-item]
    master.on_subscribe = lambda connection, number: connection.stream(subscribed)
    started = time.monotonic()
    start()
    told.next("CONNECTED")
    assert "no heartbeat" in told.next("DISCONNECTED")["why"]
    assert time.monotonic() - started >= 0.5, "not before five are missed"
    told.next("CONNECTED")


def test_a_redirect_leads_to_the_leading_master(master: Master, told: Told, start: Start) -> None:
    with contextlib.closing(Master()) as follower:
        follower.on_subscribe = lambda connection, number: connection.answer(
            "307 Temporary Redirect", Location=f"//{master.address}"
        )
        start(address=follower.address)
        assert told.next("CONNECTED")["master"] == master.address


@pytest.mark.parametrize(
    "answer", ["503 Service Unavailable", "400 Bad Request", "401 Unauthorized", "500 Internal Server Error"]
)
def test_a_refusal_is_told_and_tried_again(master: Master, told: Told, start: Start, answer: str) -> None:
    def refuse_twice(connection: Connection, number: int) -> None:
        if number <= 2:
            connection.answer(answer, "not now")
        else:
            connection.stream(SUBSCRIBED)

    master.on_subscribe = refuse_twice
    start()
    why = told.next("DISCONNECTED")["why"]
    assert answer[:3] in why
    assert "not now" in why
    told.next("CONNECTED")


def test_what_is_no_answer_at_all_is_survived(master: Master, told: Told, start: Start) -> None:
    def nonsense(connection: Connection, number: int) -> None:
        match number:
            case 1:
                connection.socket.sendall(b"\x00\xff\x00 hello\r\n\r\n")
            case 2:
                connection.stream()
                connection.socket.sendall(b"5\r\nabcd\n\r\n")
            case 3:
                connection.stream({"type": "SUBSCRIBED", "subscribed": {}})
            case _:
                connection.stream(SUBSCRIBED)

    master.on_subscribe = nonsense
    start()
    told.next("CONNECTED")
    assert len(master.subscriptions) == 4


def test_nobody_there_is_told_and_tried_again(told: Told, start: Start) -> None:
    with socket.socket() as nobodys:
        nobodys.bind(("127.0.0.1", 0))  # and does not listen; nor can anybody else
        start(address=f"127.0.0.1:{nobodys.getsockname()[1]}")
        assert told.next("DISCONNECTED")["why"]
        assert told.next("DISCONNECTED")["why"]


def test_an_error_event_is_told_and_ends_nothing(master: Master, told: Told, start: Start) -> None:
    master.on_subscribe = lambda connection, number: connection.stream(
        SUBSCRIBED if number > 1 else {"type": "ERROR", "error": {"message": "Framework failed over"}}
    )
    start()
    assert told.next("ERROR")["message"] == "Framework failed over"
    master.streams[0].socket.shutdown(socket.SHUT_RDWR)
    told.next("CONNECTED")


def test_calls_carry_the_stream_and_the_framework(master: Master, told: Told, start: Start) -> None:
    seen: list[Request] = []

    def note(connection: Connection, request: Request) -> None:
        seen.append(request)
        connection.answer("202 Accepted")

    master.on_call = note
    driver = start(credentials=("dromos", "s3cret"))
    told.next("CONNECTED")
    assert driver.call({"type": "REVIVE"}, "offers")
    request = eventually(lambda: seen and seen[0])
    assert request.call == {"type": "REVIVE", "framework_id": {"value": "f-1"}}
    assert request.headers["mesos-stream-id"] == "stream-1"
    assert request.headers["authorization"] == "Basic ZHJvbW9zOnMzY3JldA=="
    assert master.subscriptions[0].headers["authorization"] == "Basic ZHJvbW9zOnMzY3JldA=="


def test_pymesos_own_methods_go_the_same_way(master: Master, told: Told, start: Start) -> None:
    driver = start()
    told.next("CONNECTED")
    driver.killTask({"value": "t1"})
    assert eventually(lambda: master.calls)[0]["kill"] == {"task_id": {"value": "t1"}}


def test_without_a_subscription_a_call_is_not_sent(told: Told, start: Start, master: Master) -> None:
    master.on_subscribe = lambda connection, number: connection.answer("503 Service Unavailable")
    driver = start()
    told.next("DISCONNECTED")
    assert not driver.call({"type": "REVIVE"}, "offers")


def test_thousands_of_calls_arrive_each_lane_in_order(master: Master, told: Told, start: Start) -> None:
    driver = start()
    told.next("CONNECTED")
    started = time.process_time()
    for number in range(5000):
        driver.call({"type": "ACKNOWLEDGE", "number": number, "key": number % 7}, f"task-{number % 7}")
    eventually(lambda: len(master.calls) == 5000, timeout=90)
    assert time.process_time() - started < 20
    for key in range(7):
        numbers = [call["number"] for call in master.calls if call["key"] == key]
        assert numbers == sorted(numbers)
    assert told.failed == []


def test_a_call_that_the_master_does_not_know_the_subscription_of_makes_a_new_one(
    master: Master, told: Told, start: Start
) -> None:
    master.on_call = lambda connection, request: connection.answer("400 Bad Request", "Framework cannot be found")
    driver = start()
    told.next("CONNECTED")
    driver.call({"type": "REVIVE"}, "offers")
    told.next("DISCONNECTED")
    told.next("CONNECTED")
    [(call, status, text)] = eventually(lambda: told.failed)
    assert (call.type, status, text) == ("REVIVE", 400, "Framework cannot be found")


def test_a_launch_whose_answer_is_lost_is_uncertain_and_not_sent_twice(
    master: Master, told: Told, start: Start
) -> None:
    def hang_up(connection: Connection, request: Request) -> None:
        connection.socket.shutdown(socket.SHUT_RDWR)

    master.on_call = hang_up
    driver = start()
    told.next("CONNECTED")
    driver.call({"type": "ACCEPT"}, "offers", about=("instance-1",))
    [(call, status, _)] = eventually(lambda: told.failed)
    assert (call.type, status, call.about) == ("ACCEPT", 0, ("instance-1",))
    assert len(master.calls) == 1


def test_a_launch_never_goes_by_a_connection_of_the_subscription_before(
    master: Master, told: Told, start: Start
) -> None:
    connections: list[Connection] = []

    def remember(connection: Connection, request: Request) -> None:
        connection.answer("202 Accepted")
        connections.append(connection)

    master.on_call = remember
    master.on_subscribe = lambda connection, number: connection.stream(SUBSCRIBED, stream_id=f"stream-{number}")
    driver = start()
    told.next("CONNECTED")
    driver.call({"type": "DECLINE"}, "offers")
    eventually(lambda: len(connections) == 1)
    master.streams[0].socket.shutdown(socket.SHUT_RDWR)
    told.next("CONNECTED")
    # As when the master that it led to is dead, and the network has not told yet.
    connections[0].socket.shutdown(socket.SHUT_RDWR)
    driver.call({"type": "ACCEPT"}, "offers", about=("instance-1",))
    eventually(lambda: len(connections) == 2)
    assert told.failed == [] and connections[1] is not connections[0]


def test_an_acknowledgement_whose_answer_is_lost_is_sent_again(master: Master, told: Told, start: Start) -> None:
    def hang_up_once(connection: Connection, request: Request) -> None:
        if len(master.calls) == 1:
            connection.socket.shutdown(socket.SHUT_RDWR)
        else:
            connection.answer("202 Accepted")

    master.on_call = hang_up_once
    driver = start()
    told.next("CONNECTED")
    driver.call({"type": "ACKNOWLEDGE"}, "task")
    eventually(lambda: len(master.calls) == 2)
    assert told.failed == []


def test_one_slow_call_does_not_hold_up_the_others(master: Master, told: Told, start: Start) -> None:
    release = threading.Event()

    def slow(connection: Connection, request: Request) -> None:
        if request.call["type"] == "ACCEPT":
            release.wait()
        connection.answer("202 Accepted")

    master.on_call = slow
    driver = start()
    told.next("CONNECTED")
    driver.call({"type": "ACCEPT"}, "offers")
    for number in range(20):
        driver.call({"type": "ACKNOWLEDGE"}, f"task-{number}")
    try:
        eventually(lambda: sum(call["type"] == "ACKNOWLEDGE" for call in master.calls) >= 10)
    finally:
        release.set()


def test_signals_and_the_tasks_are_left_alone(master: Master, told: Told, start: Start) -> None:
    def ours(_signal: int, _frame: object) -> None: ...

    before = signal.signal(signal.SIGINT, ours)
    try:
        driver = start()
        told.next("CONNECTED")
        driver.stop()
        assert signal.getsignal(signal.SIGINT) is ours
    finally:
        signal.signal(signal.SIGINT, before)
    assert all(call["type"] != "TEARDOWN" for call in master.calls)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For 127.0.0.1, signed by itself, with its key."""
    return make_certificate(tmp_path_factory.mktemp("tls") / "master.pem", "127.0.0.1")


@pytest.fixture
def tls_master(certificate: Path) -> Iterator[Master]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = Master(context)
    yield server
    server.close()


def test_the_stream_and_the_calls_go_over_tls(tls_master: Master, told: Told, start: Start, certificate: Path) -> None:
    driver = start(address=f"https://{tls_master.address}", tls=ssl.create_default_context(cafile=certificate))
    told.next("CONNECTED")
    tls_master.streams[0].send({"type": "MESSAGE", "message": {"data": "x" * 100_000}})
    assert len(told.next("MESSAGE")["data"]) == 100_000
    assert driver.call({"type": "REVIVE", "revive": {"roles": ["*"]}}, "offers")
    eventually(lambda: [call for call in tls_master.calls if call["type"] == "REVIVE"], timeout=30)


def test_a_master_whose_certificate_is_not_trusted_is_told_nothing(
    tls_master: Master, told: Told, start: Start
) -> None:
    start(address=tls_master.address, tls=ssl.create_default_context())
    assert "certificate verify failed" in told.next("DISCONNECTED")["why"]
    assert tls_master.subscriptions == []
