"""Endpoints that fail: how often and where a request is tried again, and when they are; with each proxy."""

from tests.support.backends import backends
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
