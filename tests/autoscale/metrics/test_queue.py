"""A queue's length, over HTTP from a real server."""

from collections.abc import Iterator

import pytest
import requests

from autoscale.errors import MetricsError
from autoscale.metrics import queue
from autoscale.sample import Quality
from tests.support.answering import Answering, answering


@pytest.fixture
def server() -> Iterator[Answering]:
    with answering() as one:
        yield one


def length(server: Answering, path: str = "") -> tuple[float, Quality]:
    sample = queue.read(requests.Session(), server.url, path, now=1, timeout=30)
    return sample.rate, sample.quality


@pytest.mark.parametrize(
    ("body", "path", "expected"),
    [
        ("42", "", 42),
        ('{"messages": 7}', "messages", 7),
        ('{"queues": [{"depth": 1}, {"depth": 2.5}]}', "queues.1.depth", 2.5),
        ('{"value": "12"}', "value", 12),
    ],
)
def test_the_number_is_found_at_its_path(server, body, path, expected):
    server.body = body
    assert length(server, path) == (expected, Quality.FRESH)


def test_a_zero_is_true(server):
    server.body = '{"messages": 0}'
    assert length(server, "messages") == (0, Quality.TRUE_ZERO)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ("{}", "messages"),
        ("[1]", "3"),
        ("[1]", "x"),
        ('{"messages": null}', "messages"),
        ('{"messages": true}', "messages"),
        ('{"messages": -1}', "messages"),
        ('{"messages": "NaN"}', "messages"),
        ("<html>", ""),
        ("", ""),
        ("5", "a"),
    ],
)
def test_what_is_no_number_of_at_least_zero_is_not_one(server, body, path):
    server.body = body
    with pytest.raises(MetricsError, match="no number of at least 0"):
        length(server, path)


def test_an_answer_without_end_a_redirect_and_an_error_are_refused(server):
    server.body = "1" * (queue.LARGEST + 1)
    with pytest.raises(MetricsError, match="is larger than"):
        length(server)
    server.body, server.status = "{}", 500
    with pytest.raises(MetricsError, match="answered 500"):
        length(server)
    server.status = 302
    with pytest.raises(MetricsError, match="answered 302"):
        length(server)


@pytest.mark.parametrize(
    ("url", "allowed", "expected"),
    [
        ("http://q:15672/api/queues/%2F/jobs", "http://q:15672", True),
        ("http://q:15672/api/queues/%2F/jobs", "http://q:15672/api/", True),
        ("http://Q/x?y=1", "http://q:80/x", True),
        ("http://user:hush@q/x", "http://q/", True),
        ("http://q@evil/", "http://q", False),
        ("http://q.evil/", "http://q", False),
        ("http://q:156721/", "http://q:15672", False),
        ("https://q/", "http://q", False),
        ("http://q/xy", "http://q/x", False),
        ("http://q/x/../secrets", "http://q/x", False),
        ("http://q/x/%2e%2E/secrets", "http://q/x", False),
        ("http://evil\\@q/", "http://q", False),
        ("http://evil@evil@q/", "http://q", False),
        ("http://q:99999/", "http://q:99999", False),
        ("file:///etc/passwd", "http://q", False),
        ("", "http://q", False),
    ],
)
def test_an_address_is_allowed_by_its_parts_and_not_by_how_it_begins(url, allowed, expected):
    assert queue.is_below(url, (allowed,)) is expected
    assert not queue.is_below(url, ())
