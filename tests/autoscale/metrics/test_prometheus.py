"""Prometheus queries, answered by a real Prometheus that scrapes a real target."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from autoscale.errors import MetricsError
from autoscale.metrics.prometheus import Prometheus
from autoscale.sample import Quality
from tests.support.answering import Answering, answering
from tests.support.processes import free_port, running
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def target() -> Iterator[Answering]:
    with answering() as one:
        one.content_type = "text/plain; version=0.0.4"
        yield one


@pytest.fixture(scope="module")
def url(target: Answering, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory: Path = tmp_path_factory.mktemp("prometheus")
    port = free_port()
    (directory / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n"
        f"- {{job_name: app, static_configs: [{{targets: ['{target.url[7:]}']}}]}}\n"
    )
    command = [
        "prometheus",
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with running(command, log=directory / "log"):
        eventually(lambda: requests.get(f"http://127.0.0.1:{port}/-/ready", timeout=30).status_code == 200, 60)
        yield f"http://127.0.0.1:{port}"


def test_a_querys_series_are_added_up_and_zero_and_nothing_are_told_apart(target: Answering, url: str) -> None:
    target.body = 'jobs_waiting{queue="a"} 40\njobs_waiting{queue="b"} 2\nidle 0\nbroken NaN\n'
    prometheus = Prometheus(url, timeout=30, lookback=30)
    eventually(lambda: prometheus.value("jobs_waiting", 0).rate == 42, 60)
    # Where a scrape took longer than its second, there is nothing until the next one.
    eventually(lambda: prometheus.value("sum(jobs_waiting)", 5).quality is Quality.FRESH)
    eventually(lambda: prometheus.value("scalar(sum(jobs_waiting)) / 2", 5).rate == 21)
    eventually(lambda: prometheus.value("idle", 5).quality is Quality.UNPROVEN_ZERO)
    for unknown in ("no_such_metric", "broken", "-sum(jobs_waiting)"):
        assert prometheus.value(unknown, 5).quality is Quality.STALE
    with pytest.raises(MetricsError, match="answered 400"):
        prometheus.value("sum(", 5)
    with pytest.raises(MetricsError, match="with no number"):
        prometheus.value("jobs_waiting[1m]", 5)


def test_a_series_that_ended_is_stale_and_not_its_last_value(target: Answering, url: str) -> None:
    target.body = "gone 7\n"
    prometheus = Prometheus(url, timeout=30, lookback=30)
    eventually(lambda: prometheus.value("gone", 0).rate == 7, 60)
    target.body = ""
    eventually(lambda: prometheus.value("gone", 0).quality is Quality.STALE, 60)


def test_a_prometheus_that_is_away_is_an_error_that_names_it() -> None:
    with pytest.raises(MetricsError, match=r"http://127\.0\.0\.1:1/api/v1/query cannot be read"):
        Prometheus("http://127.0.0.1:1", timeout=1, lookback=30).value("up", 0)
