"""The question to the edges whether an instance that drains is still in use: what is asked, how answers are read, and when it ends."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp import web

from framework.decide.idleness import EdgeReport
from framework.engine.events import Event, WentIdle
from framework.health import drain_watch
from framework.health.drain_watch import DrainWatch, addresses_of, read_report
from framework.model.app import App
from framework.model.container import Container
from framework.model.instance import Agent, Instance, IpAddress, Task
from framework.model.network import Endpoint, Network, PortDefinition, PortMapping
from framework.model.pod import Pod, PodContainer
from tests.support.waiting import eventually_async

APP = App("/a", cmd="x", port_definitions=(PortDefinition(),))
ADDRESS = "127.0.0.1:31000"


def instance(instance_id: str = "a.instance-1", *ports: int, host: str = "127.0.0.1") -> Instance:
    tasks = (Task(f"{instance_id}._app.1", host_ports=ports or (31000,)),)
    return Instance(instance_id, "/a", "v", "v", "*", Agent("agent", host), tasks)


class Edge:
    """An edge's status port whose numbers the test sets."""

    def __init__(self) -> None:
        self.under_way: dict[str, int] | None = {ADDRESS: 1}
        self.asked = 0

    async def answer(self, _request: web.Request) -> web.Response:
        self.asked += 1
        numbers: dict[str, Any] = {"app": "/a", "endpoints": {ADDRESS: {"2xx": 7}}}
        if self.under_way is not None:
            numbers["under_way"] = self.under_way
        return web.json_response(
            {"start": 1, "services": {"a": numbers}}, dumps=lambda value: orjson.dumps(value).decode()
        )


@contextlib.asynccontextmanager
async def edge() -> AsyncIterator[tuple[Edge, str]]:
    one, app = Edge(), web.Application()
    app.router.add_get("/metrics.json", one.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield one, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def watching(*edges: str) -> AsyncIterator[tuple[DrainWatch, list[Event]]]:
    """And what it tells."""
    told: list[Event] = []
    watch = DrainWatch(edges, told.append)
    try:
        yield watch, told
    finally:
        await watch.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain_watch, "LOOK", 0.02)


async def test_it_tells_once_nothing_is_under_way_any_more_and_asks_no_longer() -> None:
    async with edge() as (one, url), watching(url) as (watch, told):
        watch.watch(instance(), APP, 60)
        await eventually_async(lambda: one.asked > 3)
        assert told == []
        one.under_way = {}
        await eventually_async(lambda: told == [WentIdle("a.instance-1")])
        assert watch.watched == 0
        watch.watch(instance("a.instance-2"), APP, 60)
        await eventually_async(lambda: WentIdle("a.instance-2") in told)


async def test_an_edge_that_does_not_count_or_is_away_ends_nothing_early() -> None:
    async with edge() as (one, url), watching(url, "http://127.0.0.1:1") as (watch, told):
        one.under_way = {}
        watch.watch(instance(), APP, 60)
        await eventually_async(lambda: one.asked > 5)
        assert told == []
    async with edge() as (one, url), watching(url) as (watch, told):
        one.under_way = None
        watch.watch(instance(), APP, 60)
        await eventually_async(lambda: one.asked > 5)
        assert told == []


async def test_nobody_is_asked_after_the_drain_s_time() -> None:
    async with edge() as (one, url), watching(url) as (watch, told):
        watch.watch(instance(), APP, 0.1)
        await eventually_async(lambda: one.asked > 0 and watch.watched == 0)
        assert told == []


@pytest.mark.parametrize(
    ("answer", "report"),
    [
        ({"services": {}}, EdgeReport({}, set(), set())),
        (
            {"services": {"a": {"app": "/a", "endpoints": {"x:1": {}}, "under_way": {"y:2": 0}}}},
            EdgeReport({"/a": {"x:1", "y:2"}}, {"y:2"}, set()),
        ),
        ({"services": {"a": {"app": "/a", "endpoints": {"x:1": {}}}}}, EdgeReport({}, set(), {"/a"})),
        ({"services": {"a": {"endpoints": {}}}}, None),
        ({"services": []}, None),
        ([], None),
        ("", None),
        (None, None),
    ],
)
def test_an_answer_says_what_is_known_and_what_is_busy(answer: Any, report: EdgeReport | None) -> None:
    assert read_report(answer) == report


def test_each_port_has_an_address_on_the_host_or_in_the_container_s_network() -> None:
    two = App("/a", cmd="x", port_definitions=(PortDefinition(), PortDefinition()))
    assert addresses_of(instance("i", 31000, 31001), two) == [("127.0.0.1", 31000), ("127.0.0.1", 31001)]
    own = App(
        "/a",
        container=Container("DOCKER", port_mappings=(PortMapping(80, host_port=None),)),
        networks=(Network("container", "blue"),),
    )
    task = Task("t", ip_addresses=(IpAddress("10.1.2.3"),))
    there = Instance("i", "/a", "v", "v", "*", Agent("agent", "h"), (task,))
    assert addresses_of(there, own) == [("10.1.2.3", 80)]
    containers = (
        PodContainer("web", endpoints=(Endpoint("http", container_port=80, host_port=0),)),
        PodContainer("beside"),
    )
    pod = Pod("/p", containers=containers)
    tasks = (Task("w", container="web", host_ports=(31005,)), Task("b", container="beside"))
    assert addresses_of(Instance("i", "/p", "v", "v", "*", Agent("agent", "h"), tasks), pod) == [("h", 31005)]
