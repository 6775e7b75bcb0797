"""Offers: what is in them, when they come, and when they come again."""

import time
import uuid

import pytest

from tests.support.mesos import Mesos
from tests.support.scheduler import Json, Scheduler, amount, port_range, ranges, scalar, scheduling, task
from tests.support.waiting import eventually_async

# The business of the master alone, which is the same whatever its agents are.
pytestmark = pytest.mark.parametrize("mesos", ["simulated", "real"], indirect=True, scope="package")


async def test_an_offer_tells_of_its_agent(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        offers = await scheduler.offers(3)

        agents = {agent["id"]: agent for agent in mesos.get("/slaves")["slaves"]}
        assert {offer["agent_id"]["value"] for offer in offers} == set(agents)
        for offer in offers:
            agent = agents[offer["agent_id"]["value"]]
            assert offer["hostname"] == agent["hostname"] == "127.0.0.1"
            assert offer["framework_id"]["value"] == scheduler.framework_id
            assert offer["allocation_info"]["role"] == scheduler.info["roles"][0]
            assert offer["url"] == {
                "scheme": "http",
                "address": {"hostname": "127.0.0.1", "ip": "127.0.0.1", "port": mesos.port},
                "path": "/" + agent["pid"].partition("@")[0],
            }
            assert offer["attributes"] == [
                {"name": "rack", "type": "TEXT", "text": {"value": "a1"}},
                {"name": "disks", "type": "SCALAR", "scalar": {"value": 4.0}},
                {"name": "zones", "type": "RANGES", "ranges": {"range": [{"begin": 1, "end": 2}]}},
            ]


async def test_an_offer_holds_all_that_is_free(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        offer = await scheduler.offer()

        role = {"role": "*", "allocation_info": {"role": scheduler.info["roles"][0]}}
        by_name = {resource["name"]: resource for resource in offer["resources"]}
        assert by_name == {
            "cpus": scalar("cpus", 4.0, **role),
            "mem": scalar("mem", 4096.0, **role),
            "disk": scalar("disk", 4096.0, **role),
            "ports": ranges("ports", port_range(offer), **role),
        }


async def test_what_is_used_up_is_absent(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        offer = await scheduler.offer()
        await scheduler.launch(offer, task(offer, cpus=4.0), refuse_seconds=0)

        left = await scheduler.offer()
        assert left["agent_id"] == offer["agent_id"]
        assert amount(left, "cpus") is None
        assert amount(left, "mem") == 4096 - 32


async def test_used_ports_are_cut_out_of_the_range(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        offer = await scheduler.offer()
        info, (first, last) = task(offer), port_range(offer)
        info["resources"].append(
            ranges("ports", (first, first + 1), (first + 9, first + 9), allocation_info=offer["allocation_info"])
        )
        await scheduler.launch(offer, info, refuse_seconds=0)

        left = await scheduler.offer()
        ports = next(resource for resource in left["resources"] if resource["name"] == "ports")
        assert ports["ranges"]["range"] == [
            {"begin": first + 2, "end": first + 8},
            {"begin": first + 10, "end": last},
        ]


async def test_freed_resources_come_as_an_offer_of_their_own(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        offer = await scheduler.offer()
        info = task(offer, cpus=1.5, mem=100)
        await scheduler.launch(offer, info, refuse_seconds=0)
        await scheduler.update(info["task_id"]["value"], "TASK_RUNNING")
        rest = await scheduler.offer()  # it is kept
        await scheduler.kill(info["task_id"]["value"])
        await scheduler.update(info["task_id"]["value"], "TASK_KILLED")

        freed = await scheduler.offer()
        assert freed["agent_id"] == rest["agent_id"] == offer["agent_id"]
        assert (amount(freed, "cpus"), amount(freed, "mem"), amount(freed, "disk")) == (1.5, 100, None)
        assert amount(rest, "cpus") == 2.5


@pytest.mark.parametrize(("refuse_seconds", "earliest", "latest"), [(0, 0.0, 2.5), (0.5, 0.4, 3.0), (1, 0.9, 3.5)])
async def test_a_declined_offer_comes_again_after_its_filter(
    mesos: Mesos, refuse_seconds: float, earliest: float, latest: float
):
    async with scheduling(mesos.url) as scheduler:
        await comes_again_between(scheduler, refuse_seconds, earliest, latest)


async def test_without_a_filter_of_its_own_a_declined_offer_stays_away_for_5_seconds(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        await comes_again_between(scheduler, None, 4.9, 8.0)


async def comes_again_between(
    scheduler: Scheduler, refuse_seconds: float | None, earliest: float, latest: float
) -> None:
    """Never too early. A machine that is busy with something else may make it late, but not each time."""
    for _ in range(5):
        declined = await scheduler.offers(3)
        start = time.monotonic()
        await scheduler.decline(declined, refuse_seconds)
        event = await scheduler.next("OFFERS")
        again = event["offers"]["offers"]
        assert event["at"] - start >= earliest
        assert {offer["id"]["value"] for offer in declined}.isdisjoint(offer["id"]["value"] for offer in again)
        if event["at"] - start <= latest:
            return
        again += await scheduler.offers(3 - len(again))
        await scheduler.decline(again, 0)
    raise AssertionError(f"it never comes within {latest} s")


async def test_what_an_accept_leaves_over_is_filtered_as_if_declined(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        offer = await scheduler.offer()
        await scheduler.launch(offer, task(offer), refuse_seconds=3600)

        await scheduler.none_of("OFFERS", seconds=0.6)


async def test_more_than_what_was_refused_is_offered_again(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        offer = await scheduler.offer()
        info = task(offer)
        await scheduler.launch(offer, info, refuse_seconds=3600)
        await scheduler.update(info["task_id"]["value"], "TASK_RUNNING")
        await scheduler.kill(info["task_id"]["value"])
        await scheduler.update(info["task_id"]["value"], "TASK_KILLED")

        again = await scheduler.offer()
        assert (amount(again, "cpus"), amount(again, "mem")) == (4.0, 4096.0)


async def test_revive_forgets_the_filters_at_once(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        await scheduler.decline(await scheduler.offers(3), refuse_seconds=3600)
        await scheduler.call("REVIVE")

        assert len(await scheduler.offers(3)) == 3


async def test_a_suppressed_framework_gets_no_offers_until_it_revives(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        offers = await scheduler.offers(3)
        await scheduler.call("SUPPRESS")
        await scheduler.decline(offers, refuse_seconds=0)
        await scheduler.none_of("OFFERS", seconds=0.6)
        await scheduler.call("REVIVE")

        assert await scheduler.offers(3)


async def test_roles_are_suppressed_and_revived_one_by_one(mesos: Mesos):
    one, two = (f"{name}-{uuid.uuid4().hex[:8]}" for name in ("one", "two"))
    async with scheduling(mesos.url, roles=[one, two], subscribe=False) as scheduler:
        await scheduler.subscribe(suppressed_roles=[two])
        offers = await scheduler.offers(3)
        assert {offer["allocation_info"]["role"] for offer in offers} == {one}

        await scheduler.call("SUPPRESS", suppress={"roles": [one]})
        await scheduler.decline(offers, refuse_seconds=0)
        await scheduler.none_of("OFFERS", seconds=0.6)
        await scheduler.call("REVIVE", revive={"roles": [two]})

        assert {offer["allocation_info"]["role"] for offer in await scheduler.offers(3)} == {two}


async def test_roles_that_are_not_the_frameworks_are_passed_over(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        offers = await scheduler.offers(3)
        await scheduler.call("SUPPRESS", suppress={"roles": ["strange"]})
        await scheduler.decline(offers, refuse_seconds=0)

        assert await scheduler.offers(3)


async def test_two_frameworks_share_the_agents(mesos: Mesos):
    async with scheduling(mesos.url) as first:
        offers = await first.offers(3)
        async with scheduling(mesos.url) as second:
            await first.decline(offers, refuse_seconds=0)
            await eventually_async(lambda: len(untaken(first) + untaken(second)) == 3)
            mine, theirs = untaken(first), untaken(second)

            assert mine and theirs
            assert {o["agent_id"]["value"] for o in mine}.isdisjoint(o["agent_id"]["value"] for o in theirs)


def untaken(scheduler: Scheduler) -> list[Json]:
    return [offer for event in scheduler.waiting if event["type"] == "OFFERS" for offer in event["offers"]["offers"]]


async def test_a_framework_that_holds_more_is_offered_less(mesos: Mesos):
    async with scheduling(mesos.url) as rich:
        await rich.call("SUPPRESS")
        for offer in await rich.offers(3):
            await rich.launch(offer, task(offer, cpus=2.0), refuse_seconds=0)
        async with scheduling(mesos.url) as poor:
            first = await poor.offers(1)
            await poor.decline(first, refuse_seconds=0)
            await rich.call("REVIVE")
            offers = await poor.offers(1)

            assert offers, "the share of the one that holds nothing is the smallest"


async def test_offers_of_one_agent_may_be_accepted_together(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        offer = await scheduler.offer()
        info = task(offer, cpus=3.0)
        await scheduler.launch(offer, info, refuse_seconds=0)
        await scheduler.update(info["task_id"]["value"], "TASK_RUNNING")
        rest = await scheduler.offer()
        await scheduler.kill(info["task_id"]["value"])
        await scheduler.update(info["task_id"]["value"], "TASK_KILLED")
        freed = await scheduler.offer()

        big = task(rest, cpus=4.0)
        await scheduler.accept([rest, freed], [{"type": "LAUNCH", "launch": {"task_infos": [big]}}])

        await scheduler.update(big["task_id"]["value"], "TASK_RUNNING")


async def test_offers_of_two_agents_may_not(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        one, two, _ = await scheduler.offers(3)
        info = task(one)
        await scheduler.accept([one, two], [{"type": "LAUNCH", "launch": {"task_infos": [info]}}])

        status = await scheduler.update(info["task_id"]["value"])
        assert (status["state"], status["reason"]) == ("TASK_LOST", "REASON_INVALID_OFFERS")
        assert "uuid" not in status
        assert len(await scheduler.offers(2)) == 2, "both are over, and offered anew"


@pytest.mark.parametrize(
    ("capabilities", "state"), [([], "TASK_LOST"), ([{"type": "PARTITION_AWARE"}], "TASK_DROPPED")]
)
async def test_an_offer_that_was_declined_cannot_be_accepted(
    mesos: Mesos, capabilities: list[dict[str, str]], state: str
):
    async with scheduling(mesos.url, capabilities=[{"type": "MULTI_ROLE"}, *capabilities]) as scheduler:
        offer = await scheduler.offer()
        await scheduler.decline([offer], refuse_seconds=3600)
        info = task(offer)
        await scheduler.launch(offer, info)

        status = await scheduler.update(info["task_id"]["value"])
        assert (status["state"], status["reason"]) == (state, "REASON_INVALID_OFFERS")
        assert status["message"] == (
            f"Task launched with invalid offers: Offer {offer['id']['value']} is no longer valid"
        )


async def test_an_accept_without_offers_loses_its_tasks(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        info = task(await scheduler.offer())
        await scheduler.accept([], [{"type": "LAUNCH", "launch": {"task_infos": [info]}}])

        status = await scheduler.update(info["task_id"]["value"])
        assert status["message"] == "Task launched with invalid offers: No offers specified"


async def test_an_accept_without_operations_is_a_decline(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        await scheduler.accept(await scheduler.offers(1), [], refuse_seconds=0)

        assert await scheduler.offers(1)


async def test_the_offers_of_a_framework_that_goes_are_anothers(mesos: Mesos):
    async with scheduling(mesos.url) as other:
        await other.call("SUPPRESS")
        await other.decline(await other.offers(3), refuse_seconds=0)
        async with scheduling(mesos.url) as greedy:
            await greedy.offers(3)
            await other.call("REVIVE")
            await other.none_of("OFFERS", seconds=0.6)
            await greedy.teardown()

            assert await other.offers(3)
