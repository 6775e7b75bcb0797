"""A standby hands on every route of the API that is not about itself, or says that nobody leads."""

import asyncio
import gc

import pytest

from framework.api.leader_proxy import VIA
from framework.api.server import ROUTES
from tests.support.memory_cluster import running_framework
from tests.support.waiting import eventually_async

OF_THE_NODE = {"/ping", "/health", "/metrics", "/logging", "/help", "/config"}
ASKED = sorted(
    (method, route.path.replace("{id:path}", "web").replace("{", "").replace("}", "").replace(":path", ""))
    for route in ROUTES
    for method in route.methods or ()
    if not route.path.startswith(tuple(OF_THE_NODE))
)


@pytest.mark.parametrize("leader", ["one leads", "nobody leads"])
async def test_every_route_is_handed_on_or_answered_by_a_503_that_says_when_to_come_back(
    leader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("framework.api.leader_proxy._PAUSE", 0.001)
    async with running_framework() as leading:
        address = leading.url.removeprefix("http://") if leader == "one leads" else None
        async with running_framework(leads=False, leader=address) as standby:
            mine = {}
            for method, path in ASKED:
                async with standby.http.request(method, standby.url + path, json={}) as answer:
                    handed_on = answer.headers.get(VIA) == standby.url.removeprefix("http://")
                    refused = answer.status == 503 and answer.headers.get("Retry-After") == "1"
                    if not (handed_on if address else refused):
                        mine[method, path] = answer.status
            assert mine == {}
    assert len(ASKED) > 60


async def test_who_leaves_before_the_leaders_answer_leaves_no_connection_behind() -> None:
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))
    async with running_framework() as leading:
        async with running_framework(leads=False, leader=leading.url.removeprefix("http://")) as standby:
            for _ in range(20):
                _, writer = await asyncio.open_connection(*standby.url.removeprefix("http://").split(":"))
                writer.write(b"GET /v2/events HTTP/1.1\r\nHost: x\r\n\r\n")
                await writer.drain()
                writer.close()
                await writer.wait_closed()
            await eventually_async(lambda: leading.engine.bus.listeners == 0)
    gc.collect()
    assert complaints == []
