"""How many requests are under way at each endpoint, as the status port tells: what shows that one that leaves has nothing more to do."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import requests

from nginx import pids, process
from tests.support.backends import Backend, backends
from tests.support.processes import free_port
from tests.support.rig import LUA, SMART, Rig, instance, rig, with_targets
from tests.support.waiting import eventually_async

WEBSOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec_WebSocket_Version": "13",
}


async def services(edge: Rig) -> dict[str, dict[str, dict[str, int]]]:
    url = f"http://127.0.0.1:{edge.status_port}/metrics.json"
    answer = (await asyncio.to_thread(requests.get, url, timeout=30)).json()
    found: dict[str, dict[str, dict[str, int]]] = answer["services"]
    return found


async def under_way(edge: Rig, service: str = "web") -> dict[str, int] | None:
    return (await services(edge)).get(service, {}).get("under_way")


async def becomes(edge: Rig, wanted: dict[str, int], service: str = "web") -> None:
    last: dict[str, int] | None = None

    async def has_become() -> bool:
        nonlocal last
        last = await under_way(edge, service)
        return last == wanted

    with contextlib.suppress(AssertionError):
        await eventually_async(has_become)
    assert last == wanted


@contextlib.asynccontextmanager
async def connection(port: int, **headers: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A request has been sent on it, whose answer nobody has read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    writer.write(f"GET / HTTP/1.1\r\nHost: web.test\r\n{lines}\r\n".encode())
    try:
        yield reader, writer
    finally:
        writer.close()


async def first_line(reader: asyncio.StreamReader) -> bytes:
    """What is answered, nothing where the connection is ended instead."""
    with contextlib.suppress(OSError):
        return await reader.readline()
    return b""


@contextlib.contextmanager
def held(*servers: Backend) -> AsyncIterator[Callable[[], None]]:  # type: ignore[misc]
    """They answer nothing until the function that this gives is called."""
    event = asyncio.Event()
    for server in servers:
        server.held = event
    try:
        yield event.set
    finally:
        event.set()


@with_targets(SMART)
async def test_a_request_counts_where_it_is_until_it_ends_in_rotation_or_not(edge: Rig) -> None:
    async with backends("leaves", "stays") as (leaves, stays):
        await edge.show(instance(leaves))
        await becomes(edge, {leaves.address: 0})
        with held(leaves) as release:
            asked = [asyncio.create_task(edge.ask()) for _ in range(2)]
            await becomes(edge, {leaves.address: 2})
            await edge.show(instance(stays))
            await becomes(edge, {leaves.address: 2, stays.address: 0})
            await edge.show(instance(leaves))
            asked.append(asyncio.create_task(edge.ask()))
            await becomes(edge, {leaves.address: 3})
            await edge.show(instance(stays))
            await becomes(edge, {leaves.address: 3, stays.address: 0})
            release()
            assert {answer.text for answer in await asyncio.gather(*asked)} == {"leaves"}
        await becomes(edge, {stays.address: 0})
        await edge.show(instance(leaves), instance(stays))
        await becomes(edge, {leaves.address: 0, stays.address: 0})


@with_targets(SMART)
async def test_requests_of_clients_that_went_away_do_not_stay(edge: Rig) -> None:
    async with backends("web") as (web,):
        await edge.show(instance(web))
        with held(web) as release:
            async with connection(edge.port):
                await becomes(edge, {web.address: 1})
            if edge.target == "haproxy":  # which hears of it when it answers
                release()
            await becomes(edge, {web.address: 0})


@with_targets(SMART)
async def test_a_websocket_counts_until_it_is_closed(edge: Rig) -> None:
    async with backends("web", "stays") as (web, stays):
        await edge.show(instance(web))
        async with connection(edge.port, **WEBSOCKET) as (reader, _):
            assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
            await edge.show(instance(stays))
            await becomes(edge, {web.address: 1, stays.address: 0})
        await becomes(edge, {stays.address: 0})


@with_targets(SMART)
async def test_a_request_that_is_tried_again_counts_at_its_last_endpoint_alone(edge: Rig) -> None:
    async with backends("good", "bad") as (good, bad):
        bad.hang_up = True
        await edge.show(instance(good), instance(bad))
        with held(good) as release:
            asked: list[asyncio.Task[requests.Response]] = []
            while not bad.requests:  # of two in turn, the second one at the latest
                asked.append(asyncio.create_task(edge.ask()))
                await eventually_async(lambda: good.active == len(asked))
            await becomes(edge, {good.address: len(asked), bad.address: 0})
            release()
            assert {answer.text for answer in await asyncio.gather(*asked)} == {"good"}
        await becomes(edge, {good.address: 0, bad.address: 0})
        bad.held, good.hang_up = None, True
        assert (await edge.ask()).status_code == 502  # and one that fails everywhere
        await becomes(edge, {good.address: 0, bad.address: 0})


@pytest.mark.parametrize("target", SMART)
async def test_a_reload_forgets_none_that_an_old_process_still_has(tmp_path: Path, target: str) -> None:
    async with (
        rig(tmp_path / "edge", target, shutdown_timeout=120) as edge,
        backends("leaves", "stays") as (leaves, stays),
    ):
        await edge.show(instance(leaves), instance(stays, "other"))
        with held(leaves) as release:
            asked = asyncio.create_task(edge.ask())
            await becomes(edge, {leaves.address: 1})
            await edge.show(instance(stays), instance(stays, "other"))
            await edge.show(instance(stays), instance(stays, "other"), instance(stays, "more"))
            assert edge.reloads == 2
            await becomes(edge, {leaves.address: 1, stays.address: 0})
            await edge.show(instance(stays), instance(stays, "other"), instance(leaves, "more"))
            await becomes(edge, {leaves.address: 0}, "more")
            release()
            assert (await asked).text == "leaves"
        await becomes(edge, {stays.address: 0})


async def test_what_a_crashed_worker_had_under_way_is_forgotten(tmp_path: Path) -> None:
    async with rig(tmp_path / "edge", shutdown_timeout=120) as edge, backends("web") as (web,):

        def workers() -> set[int]:
            master = process.running(edge.layout)
            assert master
            return set(process.ours(edge.layout)) - {master.pid}

        async def the_only_worker() -> int:
            """Once those of the configurations before have ended."""
            (found,) = await eventually_async(lambda: found if len(found := workers()) == 1 else None)
            return found

        await edge.show(instance(web))
        with held(web):
            async with connection(edge.port):
                await becomes(edge, {web.address: 1})
                old = await the_only_worker()
                await edge.show(instance(web), instance(web, "other"))  # a reload: the old worker is on its way out
                async with connection(edge.port):
                    await becomes(edge, {web.address: 2})
                    assert pids.send(old, signal.SIGKILL, lambda pid: pid in workers())
                    await becomes(edge, {web.address: 1})
                    os.kill(await the_only_worker(), signal.SIGKILL)
                    await becomes(edge, {web.address: 0})


async def test_requests_for_which_there_is_no_connection_left_do_not_stay(tmp_path: Path) -> None:
    async with rig(tmp_path / "edge", connections=32) as edge, backends("web") as (web,):
        await edge.show(instance(web))
        async with contextlib.AsyncExitStack() as stack:
            answered, last = b"HTTP/1.1 100", stack
            while answered.startswith(
                b"HTTP/1.1 100"
            ):  # each asks for a body that does not come, until nobody more is let in
                last, before = await stack.enter_async_context(contextlib.AsyncExitStack()), last
                client = connection(edge.port, Content_Length="10", Expect="100-continue")
                answered = await first_line((await last.enter_async_context(client))[0])
            await before.aclose()  # which leaves one connection

            async def has_none_to_the_endpoint() -> bool:
                async with connection(edge.port) as (reader, _):
                    return b" 500 " in await first_line(reader)

            await eventually_async(has_none_to_the_endpoint)
        await becomes(edge, {web.address: 0})

        async def none_is_active() -> bool:
            return (await services(edge))["web"]["active"] == 0

        await eventually_async(none_is_active)
        assert not web.requests


@with_targets(LUA)
async def test_what_an_app_answers_leads_to_no_other_route_of_the_edge(edge: Rig) -> None:
    async with backends("web") as (web,):
        await edge.show(instance(web))
        web.headers = {"X-Accel-Redirect": "/again"}
        assert (await edge.ask()).text == "web"
        assert [target for _, target, _, _ in web.requests] == ["/"]
        await becomes(edge, {web.address: 0})


@with_targets(SMART)
async def test_of_tcp_haproxy_counts_connections_and_nginx_claims_nothing(edge: Rig) -> None:
    port = free_port()
    edge.policy = type(edge.policy)(stream_ports=(port, port))
    labels = {"DROMOS_EDGE_PROTOCOL": "tcp", "DROMOS_EDGE_PORT": str(port)}
    async with backends("db", "stays") as (db, stays):
        await edge.show(instance(db, "db", plain="yes", **labels))
        with held(db, stays) as release:
            async with connection(port):
                await eventually_async(lambda: db.active)
                if edge.target == "nginx-lua":
                    assert await under_way(edge, "db") is None
                    return
                await becomes(edge, {db.address: 1}, "db")
                await edge.show(instance(stays, "db", plain="yes", **labels))
                await becomes(edge, {db.address: 1, stays.address: 0}, "db")
            release()
            await becomes(edge, {stays.address: 0}, "db")
