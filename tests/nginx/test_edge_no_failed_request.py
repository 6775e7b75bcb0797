"""No request fails while everything behind the edge changes: endpoints, routes, instances that die without a word."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.backends import backends
from tests.support.consul import ConsulServer
from tests.support.edge import EdgeDaemon, becomes, register, running_edge
from tests.support.load import load
from tests.support.waiting import eventually_async


@pytest.fixture(params=["nginx-lua", "haproxy"])
def edge(request: pytest.FixtureRequest, tmp_path: Path, real_consul: ConsulServer) -> Iterator[EdgeDaemon]:
    flags = ("--target", request.param, "--reload-interval", "0.1", "--forget-after", "0.2", "--no-access-log")
    with running_edge(tmp_path / "edge", real_consul.url, *flags) as found:
        yield found


async def test_a_hundred_changes_of_endpoints_fail_no_request(edge: EdgeDaemon, real_consul: ConsulServer) -> None:
    async with backends("stays", *(f"b{number}" for number in range(5))) as (stays, *others):
        register(real_consul, stays, "web", HAPROXY_0_VHOST="web.test")
        await becomes(edge, {"stays"}, host="web.test")
        # A route answers a little before its reload is known to have gone well.
        reloads = await eventually_async(lambda: edge.report()["reloads"])
        async with load(edge.url, connections=8, headers={"Host": "web.test"}) as result:
            for number in range(50):
                server = others[number % len(others)]
                id = await asyncio.to_thread(register, real_consul, server, "web", HAPROXY_0_VHOST="web.test")
                served = len(server.requests)
                await eventually_async(lambda: len(server.requests) > served)  # noqa: B023
                await asyncio.to_thread(real_consul.deregister, id)
                await eventually_async(lambda: len(edge.report()["services"]["web"]["endpoints"]) == 1)
        assert result.failures == []
        assert edge.report()["reloads"] == reloads


async def test_reloads_for_new_routes_fail_no_request(edge: EdgeDaemon, real_consul: ConsulServer) -> None:
    async with backends("web", "other") as (web, other):
        register(real_consul, web, "web", HAPROXY_0_VHOST="web.test")
        await becomes(edge, {"web"}, host="web.test")
        before = await eventually_async(lambda: edge.report()["reloads"])
        async with load(edge.url, connections=8, rate=800, headers={"Host": "web.test"}) as result:
            for number in range(8):
                name = f"extra-{number}"
                await asyncio.to_thread(register, real_consul, other, name, HAPROXY_0_VHOST=f"{name}.test")
                await becomes(edge, {"other"}, host=f"{name}.test")
        assert result.failures == []
        # Each route was reached; two of them may have shared a reload.
        await eventually_async(lambda: edge.report()["reloads"] > before)
        assert edge.report()["reloads"] <= before + 8


async def test_instances_killed_under_load_fail_no_get(edge: EdgeDaemon, real_consul: ConsulServer) -> None:
    async with backends("stays", "one", "two", "three") as (stays, *victims):
        for server in (stays, *victims):
            register(real_consul, server, "web", HAPROXY_0_VHOST="web.test")
        await becomes(edge, {"stays", "one", "two", "three"}, host="web.test")
        async with load(edge.url, connections=8, headers={"Host": "web.test"}) as result:
            for victim in victims:
                seen = result.requests
                await victim.stop()
                await eventually_async(lambda: result.requests > seen + 300)  # noqa: B023
        assert result.failures == []
