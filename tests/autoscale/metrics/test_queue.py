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
    sample = queue.read(requests.Session(), server.url, path, now=1, timeout=5)
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
