"""What the edge owns and tells: the Nginx that outlives its daemon, and the numbers of its traffic."""

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

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
        slow.held = asyncio.Event()
        request = asyncio.create_task(ask(edge, host="web.test"))
        await eventually_async(lambda: 'dromos_edge_active_requests{service="web",app="/web"} 1' in edge.metrics())
        slow.held.set()
        assert (await request).status_code == 200
        await eventually_async(lambda: 'dromos_edge_active_requests{service="web",app="/web"} 0' in edge.metrics())


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

        # Workers add up what they counted ten times a second; a log is written and read once a second.
        await eventually_async(lambda: (total("2xx"), total("5xx")) == (good, 1))
        assert told("dromos_edge_request_seconds_count", service="web", app="/shop/web") == good + 1
        assert told("dromos_edge_request_seconds_bucket", service="web", le="+Inf") == good + 1
        assert told("dromos_edge_request_seconds_sum", service="web") < 60 * (good + 1)
        assert told("dromos_edge_active_requests", service="web") == 0
        assert told("dromos_edge_endpoint_requests_total", service="web", endpoint=one.address, code="2xx") == good
        assert told("dromos_edge_start_time_seconds") > 1e9
        json = requests.get(f"http://127.0.0.1:{edge.status_port}/metrics.json", timeout=30).json()
        web = json["services"]["web"]
        assert (web["app"], web.get("active", 0), web["requests"]["2xx"], web["requests"]["5xx"]) == (
            "/shop/web",
            0,
            good,
            1,
        )
        assert (web["seconds"]["count"], web["seconds"]["buckets"]["+Inf"]) == (good + 1, good + 1)
        assert web["endpoints"] == {one.address: {"2xx": good, "5xx": 1}}


def test_stop_leaves_no_process(edge: EdgeDaemon) -> None:
    pids = process.ours(edge.layout)
    assert len(pids) >= 2
    edge.kill(signal.SIGTERM)
    assert process.ours(edge.layout) == pids
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
        assert edge.report()["services"]["web"]["switched"] is True
        await becomes(edge, {"spare"}, host="web.test")
        await asyncio.to_thread(edge.command, "switch", "web", "auto")
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


async def test_a_consul_that_loses_everything_at_once_is_doubted(tmp_path: Path, real_consul: ConsulServer) -> None:
    flags = ("--guard-from", "4", "--guard-hold", "2")
    with running_edge(tmp_path / "edge", real_consul.url, *flags) as edge:
        async with backends("a", "b", "c", "d") as servers:
            for one in servers:
                register(real_consul, one, "web", HAPROXY_0_VHOST="web.test")
            await becomes(edge, {"a", "b", "c", "d"}, host="web.test")
            # A check of the node makes all its services critical at once.
            check = {"Name": "disk", "ID": "disk", "TTL": "1h", "Status": "critical"}
            real_consul.http.put("agent/check/register", check).raise_for_status()
            await eventually_async(lambda: "a drop of" in edge.report()["held"])
            assert (await ask(edge, host="web.test")).status_code == 200
            await becomes(edge, {"503"}, host="web.test")
            assert edge.report()["held"] == ""
