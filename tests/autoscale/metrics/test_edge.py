import pytest
import requests

from autoscale.errors import MetricsError
from autoscale.metrics import edge

TEXT = """\
# TYPE dromos_edge_start_time_seconds gauge
dromos_edge_start_time_seconds 1700000000
# TYPE dromos_edge_requests_total counter
dromos_edge_requests_total{service="hello",app="/hello",code="2xx"} 10
dromos_edge_requests_total{service="hello",app="/hello",code="5xx"} 2
dromos_edge_requests_total{service="web",app="/shop/web",code="2xx"} 7
dromos_edge_requests_total{service="x",app="",code="4xx"} 99
dromos_edge_request_seconds_sum{service="hello",app="/hello"} 6.5
dromos_edge_request_seconds_count{service="hello",app="/hello"} 12
dromos_edge_request_seconds_bucket{service="hello",app="/hello",le="+Inf"} 12
dromos_edge_active_requests{service="hello",app="/hello"} 3
dromos_edge_queued_requests{service="hello",app="/hello"} 4
"""


def test_requests_are_added_up_by_app():
    reading = edge.parse(TEXT, now=5)
    assert (reading.at, reading.started, reading.totals) == (5, 1700000000, {"/hello": 12, "/shop/web": 7})
    assert (reading.errors, reading.seconds, reading.answered) == ({"/hello": 2}, {"/hello": 6.5}, {"/hello": 12})
    assert (reading.active, reading.queued) == ({"/hello": 3}, {"/hello": 4})


@pytest.mark.parametrize("text", ["", "dromos_edge_requests_total 3\n", "<html>not found</html>"])
def test_what_is_not_the_edges_metrics_is_refused(text):
    with pytest.raises(MetricsError):
        edge.parse(text, now=0)


def test_an_edge_that_is_away_is_an_error_that_names_it():
    with pytest.raises(MetricsError, match=r"http://127\.0\.0\.1:1/metrics cannot be read"):
        edge.read(requests.Session(), "http://127.0.0.1:1", now=0, timeout=1)
