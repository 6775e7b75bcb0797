"""The edge as users meet it, with each proxy: real servers behind it, told by a real Consul where they are."""

import asyncio
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.backends import backends
from tests.support.consul import ConsulServer, OwnConsul
from tests.support.edge import EdgeDaemon, ask, becomes, register, running_edge
from tests.support.load import load
from tests.support.waiting import eventually_async


@pytest.fixture(params=["nginx-lua", "haproxy", "nginx"])
def target(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def edge(tmp_path: Path, real_consul: ConsulServer, target: str) -> Iterator[EdgeDaemon]:
    with running_edge(tmp_path / "edge", real_consul.url, "--target", target, "--reload-interval", "0.2") as found:
        yield found


async def test_a_service_is_reached_by_its_host_name_and_by_its_path(
    edge: EdgeDaemon, real_consul: ConsulServer
) -> None:
    async with backends("one", "two") as (one, two):
        register(real_consul, one, "shop", HAPROXY_0_VHOST="shop.example.org,www.shop.example.org")
        register(real_consul, two, "group.api", app="/group/api")
        await becomes(edge, {"one"}, host="shop.example.org")
        await becomes(edge, {"one"}, host="www.shop.example.org")
        await becomes(edge, {"two"}, path="/group/api/items?x=1")
        assert two.requests[-1][1] == "/items?x=1"
        headers = two.requests[-1][2]
        assert headers["x-forwarded-prefix"] == "/group/api"
        assert headers["x-forwarded-for"] == "127.0.0.1"
        assert headers["x-forwarded-proto"] == "http"
        assert headers["x-forwarded-host"] == f"127.0.0.1:{edge.port}"


async def test_instances_come_and_go_without_a_reload(edge: EdgeDaemon, real_consul: ConsulServer, target: str) -> None:
    async with backends("one", "two", "three") as servers:
        register(real_consul, servers[0], "web", HAPROXY_0_VHOST="web.test")
        await becomes(edge, {"one"}, host="web.test")
        # A route answers a little before its reload is known to have gone well.
        reloads = await eventually_async(lambda: edge.report()["reloads"])
        for server in servers[1:]:
            register(real_consul, server, "web", HAPROXY_0_VHOST="web.test")
        await becomes(edge, {"one", "two", "three"}, host="web.test")
        real_consul.deregister(f"web-{servers[0].port}")
        await becomes(edge, {"two", "three"}, host="web.test")
        real_consul.set_status(f"web-{servers[1].port}", "critical")
        await becomes(edge, {"three"}, host="web.test")
        if target != "nginx":  # plain Nginx knows no other way
            assert edge.report()["reloads"] == reloads


async def test_an_instance_in_maintenance_drops_out_and_finishes_its_requests(
    edge: EdgeDaemon, real_consul: ConsulServer
) -> None:
    async with backends("stays", "leaves") as (stays, leaves):
        register(real_consul, stays, "web", HAPROXY_0_VHOST="web.test")
        id = register(real_consul, leaves, "web", HAPROXY_0_VHOST="web.test")
        await becomes(edge, {"stays", "leaves"}, host="web.test")
        leaves.delay = stays.delay = 1.5
        slow = []

        async def reaches_the_one_that_leaves() -> bool:
            slow.append(asyncio.create_task(ask(edge, host="web.test")))
            await asyncio.sleep(0)
            return leaves.active > 0

        await eventually_async(reaches_the_one_that_leaves)
        real_consul.http.put(f"agent/service/maintenance/{id}", enable="true", reason="draining")
        await eventually_async(lambda: edge.report()["services"]["web"]["endpoints"][0]["port"] == stays.port)
        stays.delay = 0.0
        await becomes(edge, {"stays"}, host="web.test")
        assert "leaves" in {answer.text for answer in await asyncio.gather(*slow)} <= {"stays", "leaves"}


async def test_a_service_without_an_instance_answers_503_and_recovers(
    edge: EdgeDaemon, real_consul: ConsulServer
) -> None:
    async with backends("one") as (one,):
        register(real_consul, one, "web", HAPROXY_0_VHOST="web.test", status="critical")
        await becomes(edge, {"503"}, host="web.test")
        answer = await ask(edge, host="web.test")
        assert "503" in answer.text or "No instance of this service is ready" in answer.text
        real_consul.set_status(f"web-{one.port}", "passing")
        await becomes(edge, {"one"}, host="web.test")


async def test_a_destroyed_service_loses_its_route(tmp_path: Path, real_consul: ConsulServer, target: str) -> None:
    with running_edge(tmp_path / "edge", real_consul.url, "--forget-after", "0.5", "--target", target) as edge:
        async with backends("one") as (one,):
            id = register(real_consul, one, "web", HAPROXY_0_VHOST="web.test")
            await becomes(edge, {"one"}, host="web.test")
            real_consul.deregister(id)
            await becomes(edge, {"404"}, host="web.test")
            await eventually_async(lambda: "web" not in edge.report()["services"])


async def test_a_service_that_asks_for_it_keeps_its_route_without_an_instance(
    tmp_path: Path, real_consul: ConsulServer, target: str
) -> None:
    flags = ("--forget-after", "0.2", "--target", target)
    labels = {"HAPROXY_0_VHOST": "web.test", "DROMOS_EDGE_KEEP": "7d"}
    async with backends("one", "other") as (one, other):
        with running_edge(tmp_path / "edge", real_consul.url, *flags) as edge:
            id = register(real_consul, one, "web", app="/web", **labels)
            gone = register(real_consul, other, "other", HAPROXY_0_VHOST="other.test")
            await becomes(edge, {"one"}, host="web.test")
            await becomes(edge, {"other"}, host="other.test")
            real_consul.deregister(id)
            real_consul.deregister(gone)
            await becomes(edge, {"404"}, host="other.test")
            await becomes(edge, {"503"}, host="web.test")
            await eventually_async(lambda: "web" in edge.layout.kept.read_text())
        with running_edge(tmp_path / "edge", real_consul.url, *flags) as edge:
            await becomes(edge, {"503"}, host="web.test")
            counted = re.compile(
                r'^dromos_edge_requests_total\{(?=[^}]*app="/web")(?=[^}]*code="5xx")[^}]*\} [1-9]', re.M
            )
            await eventually_async(lambda: counted.search(edge.metrics()))
            register(real_consul, one, "web", app="/web", **labels)
            await becomes(edge, {"one"}, host="web.test")
            await eventually_async(lambda: "web" not in edge.layout.kept.read_text())


async def test_traffic_goes_on_while_the_daemon_is_dead_and_it_adopts_the_proxy(
    edge: EdgeDaemon, real_consul: ConsulServer
) -> None:
    async with backends("one", "two") as (one, two):
        register(real_consul, one, "web", HAPROXY_0_VHOST="web.test")
        await becomes(edge, {"one"}, host="web.test")
        master = edge.master()
        async with load(edge.url, connections=2, rate=100, headers={"Host": "web.test"}) as result:
            edge.kill(signal.SIGKILL)
            before = result.requests
            await eventually_async(lambda: result.requests > before + 20)
            register(real_consul, two, "web", HAPROXY_0_VHOST="web.test")
            await asyncio.to_thread(edge.start)
            await becomes(edge, {"one", "two"}, host="web.test")
        assert result.failures == []
        assert edge.master() == master


async def test_a_killed_proxy_comes_back_with_its_routes_while_consul_is_away(
    tmp_path: Path, own_real_consul: OwnConsul, target: str
) -> None:
    async with backends("one") as (one,):
        with running_edge(tmp_path / "edge", own_real_consul.url, "--target", target) as edge:
            register(own_real_consul, one, "web", HAPROXY_0_VHOST="web.test")
            await becomes(edge, {"one"}, host="web.test")
            own_real_consul.kill()
            master = edge.master()
            assert master
            os.kill(master.pid, signal.SIGKILL)
            await eventually_async(lambda: edge.master() not in (None, master))
            await becomes(edge, {"one"}, host="web.test")
            await eventually_async(lambda: edge.health()[0] == 503)
            assert "consul" in edge.health()[1]["parts"]
