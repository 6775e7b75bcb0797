"""Endpoints that fail: how often and where a request is tried again, and when they are; with each proxy."""

import asyncio

import requests

from tests.support.backends import backends
from tests.support.load import load
from tests.support.rig import ALL, Rig, instance, with_targets
from tests.support.waiting import eventually_async


@with_targets(ALL)
async def test_a_request_is_tried_as_often_as_a_label_says(edge: Rig) -> None:
    async with backends("good", "bad") as (good, bad):
        bad.hang_up = True
        once, twice = (
            [instance(one, name, DROMOS_EDGE_TRIES=tries, DROMOS_EDGE_MAX_FAILS="0") for one in (good, bad)]
            for name, tries in (("once", "1"), ("twice", "2"))
        )
        await edge.show(*once, *twice)
        assert set(await edge.answers(6, host="twice.test")) == {"good"}
        assert set(await edge.answers(6, host="once.test")) == {"good", "502"}


@with_targets(ALL)
async def test_an_endpoint_that_failed_is_asked_again_after_the_time_that_a_label_says(edge: Rig) -> None:
    async with backends("one", "other") as (one, other):
        await edge.show(*(instance(server, DROMOS_EDGE_FAIL_TIMEOUT="1s") for server in (one, other)))
        other.hang_up = True
        await edge.answers(4)
        skipped = len(other.requests)
        other.hang_up = False

        async def is_asked_again() -> bool:
            assert set(await edge.answers(2)) <= {"one", "other"}
            return len(other.requests) > skipped

        await eventually_async(is_asked_again)


@with_targets(ALL)
async def test_an_answer_that_a_label_names_is_asked_of_another_endpoint(edge: Rig) -> None:
    async with backends("good", "bad") as (good, bad):
        bad.status = 503
        await edge.show(*(instance(one, DROMOS_EDGE_RETRY_ON="http_503") for one in (good, bad)))
        assert set(await edge.answers(6)) == {"good"}
        assert bad.requests


@with_targets(ALL)
async def test_a_dead_endpoint_costs_no_request(edge: Rig) -> None:
    async with backends("alive", "dies", "hangs-up") as (alive, dies, hangs_up):
        await edge.show(*map(instance, (alive, dies, hangs_up)))
        assert set(await edge.answers(9)) == {"alive", "dies", "hangs-up"}
        url = f"http://127.0.0.1:{edge.port}"
        async with load(url, connections=4, rate=400, headers={"Host": "web.test"}) as result:
            await eventually_async(lambda: result.requests > 50)
            await dies.stop()
            hangs_up.hang_up = True
            before = result.requests
            await eventually_async(lambda: result.requests > before + 200)
        assert result.failures == []
        if edge.target == "nginx-lua":

            async def both_are_shown() -> bool:
                await edge.answers(3)  # for the one whose time is over, and who is tried again
                url = f"http://127.0.0.1:{edge.status_port}/status"
                status = (await asyncio.to_thread(requests.get, url, timeout=30)).json()
                (shown,) = (one for one in status["services"] if one["name"] == "web")
                failing = {one["endpoint"] for one in shown["endpoints"] if one["failing"]}
                return failing == {dies.address, hangs_up.address}

            await eventually_async(both_are_shown)


@with_targets(ALL)
async def test_a_post_is_not_sent_twice(edge: Rig) -> None:
    async with backends("one", "two") as servers:
        await edge.show(*map(instance, servers))
        for server in servers:
            server.hang_up = True
        assert set(await edge.answers(2)) == {"502"}
        for server in servers:
            server.requests.clear()
        assert (await edge.ask("/pay", method="POST", data=b"100")).status_code == 502
        # None at all where both endpoints have just been found out and are left alone for a while.
        assert sum(len(server.requests) for server in servers) <= 1
