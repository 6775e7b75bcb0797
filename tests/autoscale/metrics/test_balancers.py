"""Several load balancers, some of which do not answer: what a look waits for. The time-outs are real, the servers' numbers the test's."""

import contextlib
import http.server
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import requests

from autoscale.errors import MetricsError
from autoscale.metrics import fetching
from autoscale.metrics.balancers import Balancers
from autoscale.sample import Quality
from tests.support.answering import Answering, answering
from tests.support.waiting import eventually

NOTHING = "dromos_edge_start_time_seconds 1\n"
LONG = 50.0  # seconds: what waits for an answer that does not come waits longer


@pytest.fixture
def sound() -> Iterator[Answering]:
    with answering() as server:
        server.body = NOTHING
        yield server


@pytest.fixture
def hanging() -> Iterator[Answering]:
    with answering() as server:
        server.body = NOTHING
        server.ready.clear()
        yield server


@pytest.fixture
def both(sound: Answering, hanging: Answering) -> Iterator[Balancers]:
    found = Balancers([sound.url, hanging.url], quorum=1, window=10, patience=0.05)
    yield found
    hanging.ready.set()
    found.close()


def looked(balancers: Balancers, now: float, timeout: float) -> int:
    """How many have answered."""
    balancers.look(now, timeout)
    return balancers.answering


def quality(balancers: Balancers, now: float) -> Quality:
    return balancers.traffic("/web", now, fresh_for=5).sample.quality


def test_one_that_hangs_keeps_one_look_waiting_and_no_later_one(both: Balancers, sound: Answering) -> None:
    eventually(lambda: looked(both, 100, 0.3) == 1)
    assert both.has_quorum
    for now in range(101, 105):
        began = time.monotonic()
        sound.body = NOTHING + f'dromos_edge_requests_total{{app="/web",code="2xx"}} {now}\n'
        both.look(now, LONG)
        assert time.monotonic() - began < LONG / 2
        [error] = both.errors
        assert both.answering == 1 and ("no answer in time" in error or "has not answered yet" in error)
    assert quality(both, 104) is Quality.PARTIAL


def test_one_that_answers_again_is_waited_for_again(both: Balancers, hanging: Answering) -> None:
    both.look(100, 0.3)
    hanging.ready.set()
    eventually(lambda: looked(both, 101, LONG) == 2)
    both.look(102, LONG)
    assert quality(both, 102) is Quality.UNPROVEN_ZERO, "both have been read twice, so nothing is partial"


def test_one_that_is_slow_and_answers_is_waited_for(hanging: Answering) -> None:
    balancers = Balancers([hanging.url], quorum=1, window=10, patience=0.01)
    for now in (100, 101):
        hanging.ready.clear()
        answer = threading.Timer(0.1, hanging.ready.set)
        answer.start()
        balancers.look(now, LONG)
        answer.join()
        assert balancers.has_quorum
    balancers.close()


def test_a_server_that_sends_a_byte_now_and_then_is_left_after_the_timeout() -> None:
    over = threading.Event()

    class Dripping(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            with contextlib.suppress(OSError):
                while not over.wait(0.02):
                    self.wfile.write(b"x")

        def log_message(self, *_: object) -> None:
            pass

    def told(url: str) -> str:
        with requests.Session() as session, pytest.raises(MetricsError) as caught:
            fetching.get(session, url, what="the answer", timeout=0.2)
        return str(caught.value)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Dripping) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        giving_up = threading.Timer(LONG, over.set)
        giving_up.start()
        try:
            url = f"http://127.0.0.1:{server.server_address[1]}"
            # Where no byte came for all of that time, it was the machine that was slow.
            eventually(lambda: "took longer than 0.2 s" in told(url))
            assert not over.is_set()
        finally:
            giving_up.cancel()
            over.set()
            server.shutdown()
            thread.join()


def test_an_answer_that_breaks_off_is_an_error_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def breaks_off() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

        thread = threading.Thread(target=breaks_off)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with requests.Session() as session, pytest.raises(MetricsError, match=r"the answer at .* cannot be read"):
            fetching.get(session, url, what="the answer", timeout=LONG)
        thread.join(LONG)
