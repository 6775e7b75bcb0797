"""What is too much for one batch goes on in the next, and comes to the same: nobody waits for a crowd."""

from collections import Counter
from typing import Any

import pytest

from framework.engine.actions import Accept, Decline, Kill
from framework.engine.events import AgentLost, OfferRescinded, OffersReceived, TimePassed
from framework.engine.settings import EngineSettings
from framework.model.constraint import Constraint
from framework.model.instance import Condition
from tests.support.engine import Desk, app


def desk_with(**bounds: Any) -> Desk:
    return Desk(EngineSettings(drain_seconds=0.0, **bounds))


def batches(desk: Desk) -> list[list[Any]]:
    """The actions of the batches that follow by themselves, before any time passes."""
    found = []
    while (deadline := desk.state.next_deadline()) is not None and deadline <= desk.now:
        found.append(desk.tell(TimePassed()))
    return found


def launched_in(desk: Desk, actions: list[Any]) -> list[str]:
    """The agents, one for each launch."""
    return [one.instance.agent.id for accept in desk.found(Accept, actions) for one in accept.launches]


@pytest.mark.parametrize("apps", [1, 8, 40])
def test_a_crowd_is_launched_in_parts_and_spread_as_if_it_were_one(apps: int) -> None:
    desk = desk_with(launches_in_batch=8)
    each = 80 // apps
    desk.declare(*(app(f"/app-{number}", instances=each) for number in range(apps)))
    offers = tuple(desk.offer(number) for number in range(20))
    parts = [desk.tell(OffersReceived(offers)), *batches(desk)]
    where = [launched_in(desk, part) for part in parts]
    assert max(map(len, where)) <= 8 and len(parts) >= 10
    assert set(Counter(agent for part in where for agent in part).values()) == {4}
    assert Counter(i.spec_id for i in desk.ledger.instances.values()) == {f"/app-{n}": each for n in range(apps)}
    assert sum(len(decline.offer_ids) for part in parts for decline in desk.found(Decline, part)) == 0


def test_packed_instances_still_fill_one_agent_before_the_next() -> None:
    desk = Desk(EngineSettings(drain_seconds=0.0, launches_in_batch=4, placement="binpack"))
    desk.declare(app(instances=30, cpus=8.0))
    parts = [desk.tell(OffersReceived(tuple(desk.offer(number) for number in range(10)))), *batches(desk)]
    there = Counter(agent for part in parts for agent in launched_in(desk, part))
    assert sorted(there.values()) == [6, 8, 8, 8]


def test_what_fits_nowhere_does_not_take_the_turn_of_others_in_any_part() -> None:
    desk = desk_with(launches_in_batch=2)
    huge = [app(f"/huge-{number}", cpus=1000.0, instances=5) for number in range(60)]
    desk.declare(*huge, app("/small", instances=6))
    parts = [desk.tell(OffersReceived(tuple(desk.offer(number) for number in range(6)))), *batches(desk)]
    assert sum(len(launched_in(desk, part)) for part in parts) == 6
    [item] = desk.state.launcher.queue("/huge-3")
    assert (item.last_offers, item.last_rejects) == (6, {"InsufficientCpus": 6}), "over all parts of the round"


def test_a_crowd_that_fits_nowhere_is_shown_the_offers_in_parts_and_then_they_go_back() -> None:
    desk = desk_with(launches_in_batch=2)  # 80 looks in a batch
    desk.declare(*(app(f"/huge-{number}", cpus=1000.0 + number) for number in range(60)))
    offers = tuple(desk.offer(number) for number in range(6))
    for _ in range(2):  # the second time it is known that nobody is likely to fit
        seen = {item.spec.id: item.processed_offers for item in desk.state.launcher.queue()}
        parts = [desk.tell(OffersReceived(offers)), *batches(desk)]
        now = {item.spec.id: item for item in desk.state.launcher.queue()}
        assert {spec_id: item.processed_offers - seen[spec_id] for spec_id, item in now.items()} == dict.fromkeys(
            now, 6
        )
        assert all(item.last_rejects == {"InsufficientCpus": 6} for item in now.values())
        declined = [offer_id for part in parts for one in desk.found(Decline, part) for offer_id in one.offer_ids]
        assert sorted(declined) == sorted(offer.id for offer in offers) and len(parts) >= 60 * (8 + 6) // 94


def test_a_crowd_that_fitted_nowhere_is_launched_when_there_is_room() -> None:
    desk = desk_with(launches_in_batch=8)
    desk.declare(*(app(f"/app-{number}", cpus=4.0, instances=2) for number in range(40)))
    small = tuple(desk.offer(number, cpus=1000) for number in range(20))
    desk.tell(OffersReceived(small))
    batches(desk)
    assert not desk.ledger.instances
    for attempt in range(3):
        desk.wait(10)
        desk.tell(OffersReceived(tuple(desk.offer(100 * attempt + number) for number in range(20))))
        batches(desk)
    assert Counter(i.spec_id for i in desk.ledger.instances.values()) == {f"/app-{n}": 2 for n in range(40)}


def test_what_is_lost_between_two_parts_is_shown_to_nobody() -> None:
    desk = desk_with(launches_in_batch=2)
    desk.declare(*(app(f"/huge-{number}", cpus=1000.0 + number) for number in range(60)), app("/small"))
    offers = [desk.offer(number) for number in range(3)]
    desk.tell(OffersReceived(tuple(offers)))
    desk.tell(OfferRescinded(offers[0].id))
    desk.tell(AgentLost("agent-1"))
    batches(desk)
    assert [i.agent.id for i in desk.ledger.instances.values()] == ["agent-2"]


def test_an_offer_that_is_taken_back_between_two_parts_is_not_used() -> None:
    desk = desk_with(launches_in_batch=2)
    desk.declare(app(instances=8))
    offers = [desk.offer(number) for number in range(4)]
    desk.tell(OffersReceived(tuple(offers)))
    desk.tell(OfferRescinded(offers[3].id))
    batches(desk)
    assert "agent-3" not in {i.agent.id for i in desk.ledger.instances.values()}
    desk.offers()
    batches(desk)
    assert len(desk.ledger.instances) == 8


def test_groups_are_evened_out_over_the_parts() -> None:
    desk = desk_with(launches_in_batch=2)
    desk.declare(app(instances=12, constraints=(Constraint("hostname", "GROUP_BY", "3"),)))
    for _ in range(12):
        for launch in desk.offers():
            desk.status(launch.instance, "TASK_RUNNING")
        batches(desk)
        desk.wait(1)
    assert Counter(i.agent.host for i in desk.ledger.instances.values()) == {"host-1": 4, "host-2": 4, "host-3": 4}


def test_many_kills_are_decided_and_sent_in_parts_and_none_is_forgotten() -> None:
    desk = desk_with(kills_in_batch=3)
    desk.declare(app(instances=10))
    desk.settle()
    desk.update("/app", instances=1)
    parts = [desk.actions, *batches(desk)]
    assert max(len(desk.found(Kill, part)) for part in parts) <= 3
    assert len(desk.killed([action for part in parts for action in part])) == 9
    for instance in desk.instances("/app", lambda i: i.condition is Condition.KILLING):
        desk.status(instance, "TASK_KILLED")
    assert (len(desk.running("/app")), desk.ledger.deployments) == (1, {})
    desk.remove("/app")
    batches(desk)
    assert len(desk.instances("/app", lambda i: i.leaving)) == 1


def test_many_apps_are_compared_in_parts() -> None:
    desk = desk_with(specs_in_batch=2)
    desk.declare(*(app(f"/app-{number}") for number in range(9)))
    assert desk.state.launcher.waiting == 0, "the step that creates them is not done in the first batch"
    batches(desk)
    assert desk.state.launcher.waiting == 9
    desk.settle()
    batches(desk)
    assert not desk.ledger.deployments
