"""What the edge owns and tells: the Nginx that outlives its daemon, and the numbers of its traffic."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from nginx import process
from tests.support.backends import backends
from tests.support.consul import ConsulServer
from tests.support.edge import EdgeDaemon, ask, becomes, register, running_edge
from tests.support.waiting import eventually, eventually_async


@pytest.fixture
def edge(request: pytest.FixtureRequest, tmp_path: Path, real_consul: ConsulServer) -> Iterator[EdgeDaemon]:
    """An edge with Nginx and Lua, unless the test asks for another target."""
    target = getattr(request, "param", "nginx-lua")
    with running_edge(tmp_path / "edge", real_consul.url, "--target", target) as found:
        yield found


@pytest.mark.parametrize("edge", ["nginx-lua", "haproxy"], indirect=True)
async def test_a_request_under_way_is_active(edge: EdgeDaemon, real_consul: ConsulServer) -> None:
    async with backends("slow") as (slow,):
        register(real_consul, slow, "web", HAPROXY_0_VHOST="web.test")
        await becomes(edge, {"slow"}, host="web.test")
        slow.delay = 1.0
        request = asyncio.create_task(ask(edge, host="web.test"))
        await eventually_async(lambda: 'dromos_edge_active_requests{service="web",app="/web"} 1' in edge.metrics())
        assert (await request).status_code == 200
        await eventually_async(lambda: 'dromos_edge_active_requests{service="web",app="/web"} 0' in edge.metrics())


async def test_traffic_is_counted_by_service_and_endpoint(edge: EdgeDaemon, real_consul: ConsulServer) -> None:
    async with backends("one") as (one,):
        register(real_consul, one, "web", app="/shop/web", HAPROXY_0_VHOST="web.test")
        await becomes(edge, {"one"}, host="web.test")
        good = len(one.requests)
        one.status = 500
        await ask(edge, host="web.test")
        labels = 'service="web",app="/shop/web"'

        def counts() -> dict[str, float]:
            lines = [line for line in edge.metrics().splitlines() if line[0] != "#"]
            return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines}

        # A request is counted after its last byte has left.
        await eventually_async(lambda: counts()[f'dromos_edge_requests_total{{{labels},code="5xx"}}'] == 1)
        found = counts()
        assert found[f'dromos_edge_requests_total{{{labels},code="2xx"}}'] == good
        assert found[f"dromos_edge_request_seconds_count{{{labels}}}"] == good + 1
        assert found[f'dromos_edge_request_seconds_bucket{{{labels},le="+Inf"}}'] == good + 1
        assert found[f"dromos_edge_active_requests{{{labels}}}"] == 0
        assert found[f'dromos_edge_endpoint_requests_total{{{labels},endpoint="{one.address}",code="2xx"}}'] == good
        assert found["dromos_edge_start_time_seconds"] > 1e9


def test_stop_leaves_no_process(edge: EdgeDaemon) -> None:
    pids = process.ours(edge.layout)
    assert len(pids) >= 2
    edge.kill(signal.SIGTERM)
    assert process.ours(edge.layout) == pids
    assert process.stop(edge.state_dir) is True
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    assert process.stop(edge.state_dir) is False
