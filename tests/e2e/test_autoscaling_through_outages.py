"""The autoscaler on real Nginx and real HAProxy, under real load: an outage of their metrics, and a rolling update in the middle of it."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.e2e.conftest import Kind
from tests.support.platform import ROOT, Platform, platform
from tests.support.processes import free_port, running
from tests.support.proxy import Faults, Proxy
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow]

DOWN_AFTER = 1.5  # seconds; an app turns round six times that after its last rise


@dataclass
class Autoscaler:
    """`dromos autoscale` with a policy file, which reads the edge's metrics through `metrics`."""

    url: str
    metrics: Proxy

    def journal(self, app_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = requests.get(f"{self.url}/journal", params={"app": app_id}, timeout=60).json()[
            "journal"
        ]
        return found


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("nginx-lua", marks=pytest.mark.xdist_group("e2e-autoscale-nginx")),
        pytest.param("haproxy", marks=pytest.mark.xdist_group("e2e-autoscale-haproxy")),
    ],
)
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kind]:
    directory = tmp_path_factory.mktemp("autoscale")
    with platform(directory, DROMOS_EDGE_TARGET=str(request.param), DROMOS_EDGE_FORGET_AFTER="1s") as one:
        yield Kind(str(request.param), one, None)


@pytest.fixture
def autoscaler(kind: Kind, tmp_path: Path) -> Iterator[Autoscaler]:
    policy = {"target": 4, "min": 2, "max": 5, "down_after": f"{DOWN_AFTER}s"}
    apps = {"/through": policy, "/idle": {"target": 20, "min": 0, "max": 3, "idle_after": "3s"}}
    (tmp_path / "policy.json").write_text(json.dumps({"apps": apps}))
    with Proxy("127.0.0.1", kind.platform.ports["edge-status"]).running() as metrics:
        port = free_port()
        flags = {
            "port": port,
            "marathon": kind.platform.api_url,
            "edge": metrics.url,
            "policy": tmp_path / "policy.json",
            "state-dir": tmp_path / "state",
            "interval": "0.5s",
            "window": "3s",
        }
        command = [sys.executable, "-m", "autoscale.daemon", *(f"--{name}={value}" for name, value in flags.items())]
        with running(command, log=tmp_path / "autoscale.log", env={"PYTHONPATH": str(ROOT)}):
            found = Autoscaler(f"http://127.0.0.1:{port}", metrics)
            eventually(lambda: requests.get(f"{found.url}/health", timeout=60).status_code == 200, 60)
            yield found


def instances(platform: Platform, app_id: str) -> int:
    return int(platform.get(f"/v2/apps{app_id}")["app"]["instances"])


def test_an_outage_takes_nothing_away_and_a_rolling_update_in_it_fails_no_request(
    kind: Kind, autoscaler: Autoscaler
) -> None:
    platform, app_id = kind.platform, "/through"
    host = kind.host(app_id)
    # The platform's own autoscaler looks at labels; this one has a policy file, and the label says that the count is its own.
    keep = {"DROMOS_AUTOSCALE_KEEP": "true"}
    platform.deploy(kind.app(app_id, **keep), "--wait")
    eventually(lambda: len(platform.answers(host)) >= 2, timeout=60)  # to ask that often is a load by itself
    with platform.under_load(host, rate=100) as load:  # five times what five are to carry: a slow client is no calm
        eventually(lambda: instances(platform, app_id) == 5, timeout=60)
        eventually(lambda: len(platform.answers(host, asked=40)) == 5, timeout=60)
        autoscaler.metrics.set(Faults(refuse=True))
        eventually(lambda: autoscaler.journal(app_id)[-1]["quality"] == "stale", timeout=60)
        platform.deploy(kind.app(app_id, version="2", **keep), "--wait")
        eventually(lambda: {body.split(",")[1] for body in platform.answers(host)} == {" version 2"}, timeout=60)
        assert instances(platform, app_id) == 5, "the definition says 2, the autoscaler's count is kept"
    assert load.failures == []
    gone_at = autoscaler.journal(app_id)[-1]["at"]
    # No load, and no metrics: long enough to go down, if silence were believed.
    eventually(lambda: autoscaler.journal(app_id)[-1]["at"] > gone_at + 4 * DOWN_AFTER, timeout=60)
    assert instances(platform, app_id) == 5
    autoscaler.metrics.set()
    eventually(lambda: instances(platform, app_id) == 2, timeout=60)
    eventually(lambda: len(platform.tasks(app_id)) == 2, timeout=60)
    outcomes = [entry["outcome"] for entry in autoscaler.journal(app_id)]
    assert "scaled" in outcomes and "refused" not in outcomes


def test_an_idle_app_goes_to_zero_and_the_first_request_brings_it_back(kind: Kind, autoscaler: Autoscaler) -> None:
    platform, app_id = kind.platform, "/idle"
    host = kind.host(app_id)
    app = kind.app(app_id, instances=1)
    # The route must be there for the request that wakes it.
    platform.deploy({**app, "labels": {**app["labels"], "DROMOS_EDGE_KEEP": "1d"}}, "--wait")
    eventually(lambda: platform.edge(host).status_code == 200, timeout=60)
    eventually(lambda: instances(platform, app_id) == 0, timeout=60)
    eventually(lambda: platform.tasks(app_id) == [], timeout=60)
    # The edge may still try the last one, that has just ended.
    eventually(lambda: platform.edge(host).status_code == 503, timeout=60)

    def woken() -> bool:
        """By the journal: without another request it is soon at zero again."""
        decided = [entry["decided"] for entry in autoscaler.journal(app_id) if entry["outcome"] == "scaled"]
        return any(decided[decided.index(0) :])

    eventually(woken, timeout=60)
    eventually(lambda: platform.edge(host).status_code == 200, timeout=60)
