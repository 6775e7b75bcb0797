"""What is believed of tasks is compared with the master's word again and again, and the master's word may come twice."""

import pytest

from framework.engine.actions import Acknowledge, Kill, Reconcile
from framework.engine.events import Disconnected, LaunchUncertain, OfferRescinded, Subscribed
from tests.support.engine import Desk, app


def running_desk(instances: int = 3) -> Desk:
    desk = Desk()
    desk.declare(app("/web", instances=instances))
    desk.settle()
    assert len(desk.running("/web")) == instances
    return desk


def asked(desk: Desk) -> list[tuple[tuple[str, str | None], ...]]:
    return [action.tasks for action in desk.found(Reconcile)]


def answer_all(desk: Desk) -> None:
    for instance in desk.running("/web"):
        desk.status(instance, "TASK_RUNNING", reason="REASON_RECONCILIATION")


def test_every_ten_minutes_all_tasks_are_asked_for_and_then_what_else_there_is() -> None:
    desk = running_desk()
    desk.wait(599)
    answer_all(desk)
    for _ in range(3):
        desk.actions = []
        desk.wait(600)
        explicit = [tasks for tasks in asked(desk) if tasks]
        assert {task for tasks in explicit for task in tasks} == {
            (task.id, instance.agent.id) for instance in desk.running("/web") for task in instance.tasks
        }
        desk.all_actions = []
        answer_all(desk)
        assert () in [action.tasks for action in desk.found(Reconcile, desk.all_actions)]
    assert not desk.found(Kill, desk.all_actions)


def test_a_master_that_fails_over_and_is_silent_is_asked_again_and_no_task_is_given_up() -> None:
    desk = running_desk()
    desk.tell(Disconnected("the master is gone"))
    desk.tell(Subscribed("framework-1", "other:5050", {}, True))
    assert asked(desk) and all(asked(desk))
    desk.wait(300)
    assert len([tasks for tasks in asked(desk) if tasks]) >= 3, "silence is asked again"
    assert () not in asked(desk) and len(desk.running("/web")) == 3


def test_an_update_that_the_master_repeats_is_acknowledged_again_and_changes_nothing() -> None:
    desk = running_desk(1)
    (instance,) = desk.running("/web")
    desk.status(instance, "TASK_FAILED")
    first = desk.found(Acknowledge)
    before = {i.id for i in desk.instances("/web")}
    # The acknowledgement was lost: the agent sends the update again.
    desk.status(instance, "TASK_FAILED")
    assert desk.found(Acknowledge) == first and len(first) == 1
    assert {i.id for i in desk.instances("/web")} == before
    assert not desk.announced("status_update_event")


@pytest.mark.parametrize("state", ["TASK_DROPPED", "TASK_LOST"])
@pytest.mark.parametrize("rescinded_first", [True, False])
def test_a_launch_on_an_offer_that_is_rescinded_meanwhile_is_repeated_without_a_pause(
    state: str, rescinded_first: bool
) -> None:
    desk = Desk()
    desk.declare(app("/web", backoff_seconds=300))
    offer = desk.offer()
    [launch] = desk.offers(offer)
    if rescinded_first:
        desk.tell(OfferRescinded(offer.id))
    desk.status(launch.instance, state, reason="REASON_INVALID_OFFERS")
    if not rescinded_first:
        desk.tell(OfferRescinded(offer.id))
    desk.wait(0.1)
    [again] = desk.offers()
    assert again.instance.id != launch.instance.id and len(desk.instances("/web")) == 1


@pytest.mark.parametrize("state", ["TASK_GONE", "TASK_UNKNOWN", "TASK_LOST"])
def test_a_launch_that_never_arrived_is_found_out_by_asking_and_repeated(state: str) -> None:
    desk = Desk()
    desk.declare(app("/web"))
    [launch] = desk.offers()
    desk.tell(LaunchUncertain((launch.instance.id,), "connection reset"))
    desk.wait(5)
    assert (launch.instance.tasks[0].id, launch.instance.agent.id) in [task for tasks in asked(desk) for task in tasks]
    desk.status(launch.instance, state, reason="REASON_RECONCILIATION")
    desk.wait(2)  # as after any launch that came to nothing
    desk.settle()
    [running] = desk.running("/web")
    assert running.id != launch.instance.id


def test_a_kill_that_was_on_its_way_when_the_connection_broke_is_sent_again_to_the_next_master() -> None:
    desk = running_desk()
    desk.remove("/web")
    killed = desk.killed()
    assert len(killed) == 3
    desk.tell(Disconnected("the master is gone"))
    desk.tell(Subscribed("framework-1", "other:5050", {}, True))
    assert desk.killed() == killed
    assert len(desk.found(Kill)) == 3
    desk.tell(Subscribed("framework-1", "other:5050", {}, True))
    assert len(desk.found(Kill)) == 3, "none is lost, and none is sent twice in one go"
