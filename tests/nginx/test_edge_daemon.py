"""What the edge owns and tells: the Nginx that outlives its daemon, and the numbers of its traffic."""

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from nginx import process
from tests.support.backends import Backend, backends
from tests.support.consul import ConsulServer
from tests.support.edge import EdgeDaemon, answers, ask, becomes, register, running_edge
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
        slow.held = asyncio.Event()
        request = asyncio.create_task(ask(edge, host="web.test"))
        await eventually_async(lambda: 'dromos_edge_active_requests{service="web",app="/web"} 1' in edge.metrics())
        slow.held.set()
        assert (await request).status_code == 200
        await eventually_async(lambda: 'dromos_edge_active_requests{service="web",app="/web"} 0' in edge.metrics())


async def until(look: Callable[[], object], expected: object) -> None:
    """Fails with what was seen last."""
    with contextlib.suppress(AssertionError):
        await eventually_async(lambda: look() == expected)
    assert look() == expected


@pytest.mark.parametrize("edge", ["nginx-lua", "haproxy", "nginx"], indirect=True)
async def test_traffic_is_counted_by_service_and_endpoint(edge: EdgeDaemon, real_consul: ConsulServer) -> None:
    async with backends("one") as (one,):
        register(real_consul, one, "web", app="/shop/web", HAPROXY_0_VHOST="web.test")
        await becomes(edge, {"one"}, host="web.test")
        good = len(one.requests)
        one.status = 500
        await ask(edge, host="web.test")

        def told(name: str, **labels: str) -> float:
            found = [
                sample.value
                for family in text_string_to_metric_families(edge.metrics())
                for sample in family.samples
                if sample.name == name and labels.items() <= sample.labels.items()
            ]
            return sum(found)

        def total(code: str) -> float:
            return told("dromos_edge_requests_total", service="web", app="/shop/web", code=code)

        def numbers() -> dict[str, object]:
            of_web = {"service": "web", "app": "/shop/web"}
            endpoint = {"service": "web", "endpoint": one.address}
            return {
                "2xx": told("dromos_edge_requests_total", code="2xx", **of_web),
                "5xx": told("dromos_edge_requests_total", code="5xx", **of_web),
                "timed": told("dromos_edge_request_seconds_count", **of_web),
                "timed below the last bound": told("dromos_edge_request_seconds_bucket", service="web", le="+Inf"),
                "active": told("dromos_edge_active_requests", service="web"),
                "endpoint's 2xx": told("dromos_edge_endpoint_requests_total", code="2xx", **endpoint),
            }

        def numbers_in_json() -> dict[str, object]:
            url = f"http://127.0.0.1:{edge.status_port}/metrics.json"
            web = requests.get(url, timeout=30).json()["services"]["web"]
            return {
                "app": web["app"],
                "2xx": web["requests"]["2xx"],
                "5xx": web["requests"]["5xx"],
                "timed": web["seconds"]["count"],
                "timed below the last bound": web["seconds"]["buckets"]["+Inf"],
                "active": web.get("active", 0),
                "endpoints": web["endpoints"],
            }

        # Workers add up what they counted ten times a second; a log is written and read once a second.
        both = {"2xx": good, "5xx": 1, "timed": good + 1, "timed below the last bound": good + 1, "active": 0}
        await until(numbers, {**both, "endpoint's 2xx": good})
        await until(numbers_in_json, {**both, "app": "/shop/web", "endpoints": {one.address: {"2xx": good, "5xx": 1}}})
        assert told("dromos_edge_request_seconds_sum", service="web") < 60 * (good + 1)
        assert told("dromos_edge_start_time_seconds") > 1e9


def test_stop_leaves_no_process(edge: EdgeDaemon) -> None:
    master = edge.master()
    edge.kill(signal.SIGTERM)
    assert master is not None and edge.master() == master
    pids = process.ours(edge.layout)
    assert len(pids) >= 2
    assert process.stop(edge.state_dir) is True
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    assert process.stop(edge.state_dir) is False


async def test_dromos_edge_switch_lets_the_standby_answer_until_it_is_taken_back(
    edge: EdgeDaemon, real_consul: ConsulServer
) -> None:
    async with backends("own", "spare") as (own, spare):
        register(real_consul, own, "web", HAPROXY_0_VHOST="web.test", DROMOS_EDGE_STANDBY="spare")
        register(real_consul, spare, "spare")
        await becomes(edge, {"own"}, host="web.test")
        done = await asyncio.to_thread(edge.command, "switch", "web.test")
        assert (done.returncode, done.stdout) == (0, "web is answered by its standby\n"), done.stderr
        await becomes(edge, {"spare"}, host="web.test")
        edge.kill(signal.SIGKILL)
        await asyncio.to_thread(edge.start)
        await eventually_async(lambda: edge.report()["services"]["web"]["switched"] is True)
        await becomes(edge, {"spare"}, host="web.test")
        back = await asyncio.to_thread(edge.command, "switch", "web", "auto")
        assert back.returncode == 0, back.stderr
        await becomes(edge, {"own"}, host="web.test")
        wrong = await asyncio.to_thread(edge.command, "switch", "nobody.test")
        assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)
        assert "there is no route 'nobody.test'" in wrong.stderr


async def test_the_standby_takes_over_when_there_are_too_few_instances(
    edge: EdgeDaemon, real_consul: ConsulServer
) -> None:
    labels = {"DROMOS_EDGE_STANDBY": "spare", "DROMOS_EDGE_STANDBY_MINIMUM": "1", "DROMOS_EDGE_STANDBY_AFTER": "500ms"}
    async with backends("own", "spare") as (own, spare):
        id = register(real_consul, own, "web", HAPROXY_0_VHOST="web.test", **labels)
        register(real_consul, spare, "spare")
        await becomes(edge, {"own"}, host="web.test")
        real_consul.set_status(id, "critical")
        await becomes(edge, {"spare"}, host="web.test")
        real_consul.set_status(id, "passing")
        await becomes(edge, {"own"}, host="web.test")


async def test_a_switch_without_the_token_is_refused(edge: EdgeDaemon) -> None:
    answer = requests.post(
        f"http://127.0.0.1:{edge.daemon_port}/switch", json={"route": "web", "position": "standby"}, timeout=30
    )
    assert answer.status_code == 401


async def test_each_request_is_a_line_of_json_and_a_log_that_grew_is_rotated(
    tmp_path: Path, real_consul: ConsulServer
) -> None:
    with running_edge(tmp_path / "edge", real_consul.url, "--log-bytes", "4096", "--log-files", "2") as edge:
        async with backends("web") as (web,):
            register(real_consul, web, "web", HAPROXY_0_VHOST="web.test")
            await becomes(edge, {"web"}, host="web.test")
            log = edge.layout.logs / "access.log"

            def line_of(agent: str) -> dict[str, object]:
                # A worker writes its lines in its own time, perhaps to a file that is not the newest any more.
                lines = [line for path in log.parent.glob("access.log*") for line in path.read_text().splitlines()]
                return next(found for found in map(json.loads, lines) if found["agent"] == agent)

            await ask(edge, '/a"b\\c', host="web.test", headers={"User-Agent": 'x"}\\y'})
            line = await eventually_async(lambda: line_of('x"}\\y'))
            assert (line["service"], line["status"], line["endpoint"]) == ("web", 200, web.address)

            async def rotated() -> bool:
                for _ in range(10):
                    await ask(edge, host="web.test")
                return log.with_name("access.log.1").exists() and log.with_name("access.log.2").exists()

            await eventually_async(rotated, 60.0, 0.5)
            await ask(edge, "/after", host="web.test", headers={"User-Agent": "after"})
            assert (await eventually_async(lambda: line_of("after")))["uri"] == "/after"
            assert not log.with_name("access.log.3").exists()


async def test_a_refused_name_is_reported_and_harms_nobody(edge: EdgeDaemon, real_consul: ConsulServer) -> None:
    async with backends("web") as (web,):
        register(real_consul, web, "bad name; }", HAPROXY_0_VHOST="bad.test")
        register(real_consul, web, "web", HAPROXY_0_VHOST="web.test", DROMOS_EDGE_READ_TIMEOUT="soon")
        await becomes(edge, {"web"}, host="web.test")
        await eventually_async(lambda: len(edge.report()["refused"]) == 2)
        assert {(one["service"], one["what"]) for one in edge.report()["refused"]} == {
            ("'bad name; }'", "name"),
            ("web", "READ_TIMEOUT"),
        }


async def lose_all_at_once(edge: EdgeDaemon, consul: ConsulServer, servers: list[Backend]) -> float:
    """A check of the node makes all its services critical. When, by the monotonic clock: not before that."""
    for one in servers:
        register(consul, one, "web", HAPROXY_0_VHOST="web.test")
    await becomes(edge, {one.name for one in servers}, host="web.test")
    check = {"Name": "disk", "ID": "disk", "TTL": "1h", "Status": "critical"}
    began = time.monotonic()
    consul.http.put("agent/check/register", check).raise_for_status()
    return began


async def test_a_consul_that_loses_everything_at_once_is_doubted(tmp_path: Path, real_consul: ConsulServer) -> None:
    with running_edge(tmp_path / "edge", real_consul.url, "--guard-from", "4", "--guard-hold", "1h") as edge:
        async with backends("a", "b", "c", "d") as servers:
            await lose_all_at_once(edge, real_consul, servers)
            await eventually_async(lambda: "a drop of" in edge.report()["held"])
            assert await answers(edge, host="web.test") == {"a", "b", "c", "d"}
            real_consul.http.put("agent/check/update/disk", {"Status": "passing"}).raise_for_status()
            await eventually_async(lambda: edge.report()["held"] == "")


async def test_what_is_lost_for_long_enough_is_believed(tmp_path: Path, real_consul: ConsulServer) -> None:
    with running_edge(tmp_path / "edge", real_consul.url, "--guard-from", "4", "--guard-hold", "2") as edge:
        async with backends("a", "b", "c", "d") as servers:
            began = await lose_all_at_once(edge, real_consul, servers)
            await becomes(edge, {"503"}, host="web.test")
            assert time.monotonic() - began >= 2
            await eventually_async(lambda: edge.report()["held"] == "")
