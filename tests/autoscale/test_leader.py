"""Which of several autoscalers acts, with a real Consul and the embedded one."""

import http.server
import threading

import pytest

from autoscale.errors import LockError
from autoscale.leader import SAFETY, Lock
from tests.support.consul import ConsulServer
from tests.support.waiting import eventually

TTL = 3600.0  # none ends by itself, however slow the machine: the clock is the test's


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def lock(consul: ConsulServer, key: str, clock: Clock | None = None) -> Lock:
    return Lock(consul.url, key=key, ttl=TTL, timeout=30, clock=clock or Clock())


def test_one_leads_until_it_lets_go(any_consul: ConsulServer) -> None:
    key = any_consul.name("autoscale/leader")
    one, two = lock(any_consul, key), lock(any_consul, key)
    assert not one.held
    assert one.hold() and not two.hold()
    assert one.hold() and one.held, "renewed"
    one.release()
    assert not one.held
    eventually(two.hold, 30, what="the other one leads")
    assert not one.hold()
    two.release()


def test_a_leader_that_cannot_renew_stops_before_its_session_ends(any_consul: ConsulServer) -> None:
    clock = Clock()
    one = lock(any_consul, any_consul.name("leader"), clock)
    assert one.hold()
    clock.now += SAFETY * TTL - 0.1
    assert one.held
    clock.now += 0.2
    assert not one.held
    assert one.hold(), "and goes on when it can"
    one.release()


def test_who_lost_its_session_is_no_leader_any_more(any_consul: ConsulServer) -> None:
    key = any_consul.name("leader")
    one, two = lock(any_consul, key), lock(any_consul, key)
    assert one.hold()
    for session in any_consul.http.get("session/list").json():
        any_consul.http.put(f"session/destroy/{session['ID']}")
    eventually(two.hold, 30)
    assert not one.hold() and not one.held
    two.release()


def test_without_consul_nobody_leads() -> None:
    away = Lock("http://127.0.0.1:1", key="x", ttl=TTL, timeout=1)
    with pytest.raises(LockError, match=r"the lock x at http://127\.0\.0\.1:1 cannot be held"):
        away.hold()
    assert not away.held


@pytest.mark.parametrize("answer", ["", "[]", "{}", '"x"', "null", '{"ID": 5}'])
def test_what_answers_and_is_no_consul_is_told_and_no_password_with_it(answer: str) -> None:
    class Any(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Any) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        place = f"127.0.0.1:{server.server_address[1]}"
        one = Lock(f"http://user:hush@{place}", key="x", ttl=TTL, timeout=30)
        try:
            with pytest.raises(LockError) as caught:
                one.hold()
        finally:
            server.shutdown()
            thread.join()
    assert place in str(caught.value) and "hush" not in str(caught.value)
    assert not one.held
