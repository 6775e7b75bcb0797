"""http-parser over httptools, fed with what an Apache Mesos 1.11.0 master sent after SUBSCRIBE (recorded from its socket)."""

import json
import re
import socket
from pathlib import Path

import pytest
from http_parser.http import HttpParser
from pymesos.process import Connection

RECORDED = (Path(__file__).parent / "recorded" / "mesos-1.11.0-subscribe.bin").read_bytes()
EVENTS = ["SUBSCRIBED", "HEARTBEAT", "OFFERS"]


def records(body: bytes) -> list[dict]:
    found = []
    while body:
        length = re.match(rb"\d+\n", body)
        assert length, body[:40]
        end = length.end() + int(length[0])
        found.append(json.loads(body[length.end() : end]))
        body = body[end:]
    return found


def test_the_recorded_stream_is_understood_wherever_it_is_cut():
    for cut in range(len(RECORDED) + 1):
        parser, body = HttpParser(), b""
        for piece in (RECORDED[:cut], RECORDED[cut:]):
            assert parser.execute(piece, len(piece)) == len(piece)
            body += parser.recv_body()
        assert [event["type"] for event in records(body)] == EVENTS, f"cut at byte {cut}"
        assert parser.get_status_code() == 200
        assert parser.is_chunked()
        assert parser.get_headers()["Mesos-Stream-Id"] == "547bd995-faa3-4d8b-ab8f-4eed7bd9ba2d"
        assert not parser.is_message_complete(), "an event stream has no end"


def test_the_recorded_stream_is_understood_byte_by_byte():
    parser, body = HttpParser(), b""
    for position in range(len(RECORDED)):
        assert parser.execute(RECORDED[position : position + 1], 1) == 1
        if parser.is_partial_body():
            body += parser.recv_body()
            assert not parser.is_partial_body()
    assert [event["type"] for event in records(body)] == EVENTS


class Callback:
    def __init__(self) -> None:
        self.events: list[dict] = []
        self.stream_id = ""

    def gen_request(self) -> bytes:
        return b""

    def process_event(self, event: dict) -> None:
        self.events.append(event)

    def on_close(self) -> None: ...


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 4096])
def test_pymesos_reads_its_events_through_it(size):
    master = socket.create_server(("127.0.0.1", 0))
    callback = Callback()
    connection = Connection(f"127.0.0.1:{master.getsockname()[1]}", callback)
    peer, _ = master.accept()
    connection._sock.setblocking(True)
    for start in range(0, len(RECORDED), size):
        peer.sendall(RECORDED[start : start + size])
        assert connection.read()
    connection.close()
    peer.close()
    master.close()
    assert [event["type"] for event in callback.events] == EVENTS
    assert callback.stream_id == "547bd995-faa3-4d8b-ab8f-4eed7bd9ba2d"


def test_an_answer_with_a_length_is_complete_after_its_last_byte():
    parser = HttpParser()
    answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 9\r\n\r\nbad thing"
    assert parser.execute(answer[:-1], len(answer) - 1) == len(answer) - 1
    assert parser.is_headers_complete() and not parser.is_message_complete() and not parser.is_chunked()
    assert parser.execute(answer[-1:], 1) == 1
    assert parser.is_message_complete()
    assert parser.recv_body() == b"bad thing"
    assert parser.get_status_code() == 400
    assert parser.execute(b"more", 4) == 0


def test_what_is_not_http_is_an_error():
    parser = HttpParser()
    assert parser.execute(b"220 mail.example ESMTP\r\n", 24) == 0
    assert parser.get_errno() != 0
    assert parser.execute(b"HTTP/1.1 200 OK\r\n\r\n", 19) == 0


def test_only_the_given_length_is_read():
    parser = HttpParser()
    assert parser.execute(b"HTTP/1.1 204 No Content\r\n\r\nrest of the buffer", 27) == 27
    assert parser.is_message_complete()
    assert parser.get_errno() == 0
