"""Which endpoint answers, as labels ask for it; with each proxy."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

import requests

from tests.support.backends import Backend, backends
from tests.support.rig import ALL, LUA, SMART, Rig, instance, with_targets
from tests.support.waiting import eventually_async


@with_targets(ALL)
async def test_weights_share_the_traffic(edge: Rig) -> None:
    async with backends("big", "small", "none") as (big, small, none):
        await edge.show(
            instance(big, DROMOS_EDGE_WEIGHT="3"),
            instance(small, DROMOS_EDGE_WEIGHT="1"),
            instance(none, DROMOS_EDGE_WEIGHT="0"),
        )
        found = Counter(await edge.answers(40))
        assert 26 <= found["big"] <= 34
        assert found["none"] == 0


@with_targets(["haproxy"])
async def test_weights_past_the_most_that_haproxy_knows_keep_their_proportion(edge: Rig) -> None:
    async with backends("big", "small") as (big, small):
        await edge.show(instance(big, DROMOS_EDGE_WEIGHT="900"), instance(small, DROMOS_EDGE_WEIGHT="300"))
        assert 26 <= Counter(await edge.answers(40))["big"] <= 34
        await edge.show(instance(big, DROMOS_EDGE_WEIGHT="100"), instance(small, DROMOS_EDGE_WEIGHT="300"))
        assert 6 <= Counter(await edge.answers(40))["big"] <= 14


@with_targets(ALL)
async def test_round_robin_is_even(edge: Rig) -> None:
    async with backends("a", "b", "c") as servers:
        await edge.show(*map(instance, servers))
        assert Counter(await edge.answers(30)) == {"a": 10, "b": 10, "c": 10}


@contextlib.asynccontextmanager
async def two_under_way(edge: Rig, busy: Backend, free: Backend) -> AsyncIterator[None]:
    """At `busy`, and none at `free`: connections are counted, so that requests which wait are shared between the two of them."""
    busy.held, free.held = asyncio.Event(), asyncio.Event()
    try:
        asked = []
        for number in range(4):  # one after the other: two that came at once might go to the same
            asked.append(asyncio.create_task(edge.ask()))
            await eventually_async(lambda: busy.active + free.active == number + 1)  # noqa: B023
        assert (busy.active, free.active) == (2, 2)
        free.held.set()
        await eventually_async(lambda: sum(request.done() for request in asked) == 2)
        yield
        busy.held.set()
        assert Counter(answer.text for answer in await asyncio.gather(*asked)) == {busy.name: 2, free.name: 2}
    finally:
        busy.held.set()


@with_targets(ALL)
async def test_least_connections_avoids_the_busy(edge: Rig) -> None:
    async with backends("busy", "free") as (busy, free):
        await edge.show(*(instance(one, DROMOS_EDGE_BALANCE="least_conn") for one in (busy, free)))
        async with two_under_way(edge, busy, free):
            # The other has at most the last request, whose end may not be known yet.
            assert set(await edge.answers(5)) == {"free"}


@with_targets(LUA)
async def test_ewma_prefers_the_quick(edge: Rig) -> None:
    async with backends("slow", "quick") as (slow, quick):
        await edge.show(*(instance(one, DROMOS_EDGE_BALANCE="ewma") for one in (slow, quick)))
        slow.delay = 0.2

        async def is_preferred() -> bool:
            return Counter(await edge.answers(30))["quick"] >= 25

        await eventually_async(is_preferred, 60.0)  # the quick one may have been slow once, with all of this machine


@with_targets(["nginx", "haproxy"])
async def test_where_there_is_no_ewma_connections_are_counted(edge: Rig) -> None:
    async with backends("slow", "quick") as (slow, quick):
        await edge.show(*(instance(one, DROMOS_EDGE_BALANCE="ewma") for one in (slow, quick)))
        async with two_under_way(edge, slow, quick):
            assert set(await edge.answers(5)) == {"quick"}


@with_targets(ALL)
async def test_a_hash_of_the_address_or_the_path_keeps_to_an_endpoint(edge: Rig) -> None:
    async with backends("a", "b", "c") as servers:
        await edge.show(*(instance(one, DROMOS_EDGE_HASH_KEY="ip") for one in servers))
        assert len(set(await edge.answers(8))) == 1
        await edge.show(*(instance(one, DROMOS_EDGE_HASH_KEY="uri") for one in servers))
        found = [set(await edge.answers(3, path=f"/{number}")) for number in range(12)]
        assert all(len(one) == 1 for one in found)
        assert len(set.union(*found)) > 1


@with_targets(ALL)
async def test_a_hash_keeps_a_key_at_its_endpoint(edge: Rig) -> None:
    async with backends("a", "b", "c", "d") as servers:
        shown = [instance(one, DROMOS_EDGE_HASH_KEY="header:X-Shard") for one in servers]
        await edge.show(*shown)
        before = {key: set(await edge.answers(3, headers={"X-Shard": key})) for key in map(str, range(12))}
        assert all(len(found) == 1 for found in before.values())
        assert len(set.union(*before.values())) > 1
        await edge.show(*shown[:-1])
        for key, found in before.items():
            if found != {"d"}:
                assert set(await edge.answers(1, headers={"X-Shard": key})) == found


@with_targets(ALL)
async def test_a_cookie_keeps_its_endpoint_by_its_hash(edge: Rig) -> None:
    async with backends("a", "b", "c", "d") as servers:
        await edge.show(*(instance(one, DROMOS_EDGE_HASH_KEY="cookie:shop-id") for one in servers))
        found = {}
        for key in "abcdefghijkl":
            # The others of its cookies have no say.
            answers = [await edge.answers(1, headers={"Cookie": f"x={n}; shop-id={key}; z={n}"}) for n in range(3)]
            assert len({answer for (answer,) in answers}) == 1, key
            found[key] = answers[0][0]
        assert len(set(found.values())) > 1


@with_targets(ALL)
async def test_a_sticky_client_stays_until_its_endpoint_goes(edge: Rig) -> None:
    async with backends("a", "b", "c") as servers:
        shown = [instance(one, DROMOS_EDGE_STICKY="session") for one in servers]
        await edge.show(*shown)
        first = await edge.ask()
        cookie = first.headers["Set-Cookie"]
        assert cookie.startswith("session=")
        assert "httponly" in cookie.lower()
        headers = {"Cookie": cookie.split(";")[0]}
        assert set(await edge.answers(9, headers=headers)) == {first.text}
        await edge.show(*(one for one, server in zip(shown, servers, strict=True) if server.name != first.text))
        others = await edge.ask(headers=headers)
        assert others.text != first.text
        if edge.target != "nginx":  # whose cookie is hashed: it stays the same
            headers = {"Cookie": others.headers["Set-Cookie"].split(";")[0]}
        assert set(await edge.answers(5, headers=headers)) == {others.text}


@with_targets(SMART)
async def test_numbers_are_told_of_endpoints_that_came_and_went(edge: Rig) -> None:
    """HAProxy's own objects for servers outlive the servers, and kill the process that asks them."""
    async with backends("a", "b", "c", "late") as (*early, late):
        await edge.show(*map(instance, early))
        for shown in (early[:1], early, early[1:], [early[0], late]):
            await edge.show(*map(instance, shown))
            assert set(await edge.answers(6)) == {server.name for server in shown}

        async def told() -> bool:
            answer = await asyncio.to_thread(requests.get, f"http://127.0.0.1:{edge.status_port}/metrics", timeout=30)
            lines = [line for line in answer.text.splitlines() if f'endpoint="{late.address}",code="2xx"' in line]
            return [float(line.split()[-1]) for line in lines] == [len(late.requests)]

        await eventually_async(told)
