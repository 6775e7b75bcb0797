"""Any HAProxy, a real one: what its statistics and its exporter say, and what is read of them."""

import csv
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from autoscale.errors import MetricsError
from autoscale.metrics import haproxy
from autoscale.metrics.balancers import Balancers
from autoscale.sample import Quality
from tests.support.backends import backends
from tests.support.load import load
from tests.support.processes import free_port, running
from tests.support.waiting import eventually, eventually_async

WINDOW = 1000.0  # seconds, in which all looks of a test are
CONFIG = """\
global
  maxconn 200
defaults
  mode http
  timeout connect 20s
  timeout client 20s
  timeout server 20s
frontend stats
  bind 127.0.0.1:{stats}
  http-request use-service prometheus-exporter if {{ path /metrics }}
  stats enable
  stats uri /haproxy?stats
frontend marathon_http_in
  bind 127.0.0.1:{port}
  use_backend shop_api_10002 if {{ path_beg /api }}
  default_backend shop_web_10001
backend shop_web_10001
  server one 127.0.0.1:{backend} maxconn {most}
backend shop_api_10002
  http-request return status 503
"""


@dataclass
class Haproxy:
    port: int
    stats: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def config(tmp_path: Path) -> Haproxy:
    return Haproxy(free_port(), free_port())


@pytest.fixture
def start(tmp_path: Path, config: Haproxy) -> object:
    def make(backend: int, most: int = 100) -> Iterator[None]:
        path = tmp_path / "haproxy.cfg"
        path.write_text(CONFIG.format(stats=config.stats, port=config.port, backend=backend, most=most))
        return running(["haproxy", "-db", "-f", str(path)], log=tmp_path / "haproxy.log")  # type: ignore[return-value]

    return make


def answers(url: str) -> bool:
    return requests.get(url, timeout=30).status_code > 0


def answered(config: Haproxy, backend: str, status: str = "2xx") -> int:
    """Answers of a backend that HAProxy has counted, which is a moment after the client has them."""
    text = requests.get(f"http://127.0.0.1:{config.stats}/haproxy?stats;csv", timeout=30).text
    rows = csv.DictReader(text.removeprefix("# ").splitlines())
    return next(int(row[f"hrsp_{status}"]) for row in rows if (row["pxname"], row["svname"]) == (backend, "BACKEND"))


def look(balancers: Balancers) -> float:
    """Now, by a real clock: HAProxy says for how many real seconds it has been up."""
    now = time.monotonic()
    balancers.look(now, 60)
    return now


@pytest.mark.parametrize("kind", ["haproxy", "haproxy-metrics"])
async def test_the_rate_errors_and_queue_of_each_app_are_read(config, start, kind):
    async with backends("one") as (one,):
        with start(one.port, most=1):
            await eventually_async(lambda: answers(f"http://127.0.0.1:{config.stats}/metrics"), 30)
            balancers = Balancers([f"{kind}+http://127.0.0.1:{config.stats}"], quorum=0, window=WINDOW)
            began = look(balancers)
            for _ in range(20):
                assert requests.get(f"{config.url}/api", timeout=30).status_code == 503
            async with load(config.url, connections=2) as result:
                await eventually_async(lambda: result.requests >= 50, 30)
            assert result.failures == []
            done = result.requests
            await eventually_async(lambda: answered(config, "shop_web_10001") == done)
            await eventually_async(lambda: answered(config, "shop_api_10002", "5xx") == 20)
            now = look(balancers)
            web = balancers.traffic("/shop/web", now, fresh_for=5)
            assert (web.sample.rate, web.sample.quality) == (pytest.approx(done / (now - began)), Quality.FRESH)
            api = balancers.traffic("/shop/api", now, fresh_for=5)
            assert (api.sample.rate, api.error_rate) == (pytest.approx(20 / (now - began)),) * 2
            one.delay = 3.0
            async with load(config.url, connections=4):
                await eventually_async(lambda: one.active == 1, 30)

                def queued() -> bool:
                    return balancers.traffic("/shop/web", look(balancers), fresh_for=5).queued >= 3

                await eventually_async(queued, 30)
                one.delay = 0.0
            balancers.close()


@pytest.mark.parametrize("kind", ["haproxy", "haproxy-metrics"])
def test_a_restart_is_never_a_drop_and_what_is_away_is_stale(config, start, kind):
    balancers = Balancers([f"{kind}+http://127.0.0.1:{config.stats}"], quorum=1, window=WINDOW)
    with start(free_port()):
        eventually(lambda: answers(f"http://127.0.0.1:{config.stats}/metrics"), 30)
        for _ in range(5):
            requests.get(f"{config.url}/api", timeout=30)
        eventually(lambda: answered(config, "shop_api_10002", "5xx") == 5)
        look(balancers)
        now = look(balancers)
        assert balancers.traffic("/shop/api", now, fresh_for=5).sample.quality is Quality.TRUE_ZERO
    look(balancers)
    assert not balancers.has_quorum and "127.0.0.1" in balancers.errors[0]
    assert balancers.traffic("/shop/api", now + 6, fresh_for=5).sample.quality is Quality.STALE
    with start(free_port()):
        eventually(lambda: answers(f"http://127.0.0.1:{config.stats}/metrics"), 30)
        now = look(balancers)
        assert balancers.has_quorum
        assert balancers.traffic("/shop/api", now, fresh_for=5).sample.quality is Quality.STALE
    balancers.close()


def test_two_balancers_of_which_one_is_away_give_a_partial_rate(config, start):
    addresses = [f"haproxy+http://127.0.0.1:{config.stats}", f"haproxy+http://127.0.0.1:{free_port()}"]
    with start(free_port()):
        eventually(lambda: answers(f"http://127.0.0.1:{config.stats}/metrics"), 30)
        for quorum, expected in ((1, Quality.PARTIAL), (2, Quality.STALE)):
            balancers = Balancers(addresses, quorum=quorum, window=WINDOW)
            look(balancers)
            requests.get(f"{config.url}/api", timeout=30)
            now = look(balancers)
            assert balancers.traffic("/shop/api", now, fresh_for=5).sample.quality is expected
            balancers.close()


@pytest.mark.parametrize("text", ["", "<html>", "# pxname,svname\n"])
def test_what_is_not_statistics_is_refused(text):
    with pytest.raises(MetricsError):
        haproxy.parse_csv(text, now=0)
    with pytest.raises(MetricsError, match="not CSV"):
        haproxy.parse_csv("# pxname,svname\n" + "x" * 200_000, now=0)
    with pytest.raises(MetricsError, match="lack haproxy_process_start_time_seconds"):
        haproxy.parse_metrics(text, now=0)


@pytest.mark.parametrize(
    "address",
    [
        "lb:9090",
        "ftp://lb",
        "nginx+http://lb",
        "http://",
        "haproxy+https://",
        "http://lb:99999",
        "http://lb:x",
        "http://[lb",
    ],
)
def test_an_address_of_no_known_kind_is_refused(address):
    with pytest.raises(ValueError, match="is not the address of a load balancer"):
        Balancers([address], quorum=0, window=10)


def test_a_password_in_an_address_is_not_told():
    balancers = Balancers(["haproxy+http://user:hush@127.0.0.1:1"], quorum=0, window=10)
    balancers.look(0, 1)
    assert "127.0.0.1:1" in balancers.errors[0] and "hush" not in balancers.errors[0]
    balancers.close()


def test_the_ports_of_an_app_are_one():
    text = (
        "# pxname,svname,qcur,scur,stot,hrsp_5xx,lastchg,req_tot,mode,ttime,\n"
        "web_10001,BACKEND,1,2,9,1,50,100,http,250,\nweb_10002,BACKEND,0,1,7,0,60,,tcp,0,\nstats,FRONTEND,,,,,,,http,,\n"
    )
    reading = haproxy.parse_csv(text, now=1000)
    assert (reading.totals, reading.errors, reading.queued, reading.mean) == (
        {"web": 107},
        {"web": 1},
        {"web": 1},
        {"web": 0.25},
    )
    assert reading.started == 940
