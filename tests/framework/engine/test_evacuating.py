"""Maintenance: what runs on an agent that is to go away is replaced elsewhere, within the bounds of its app."""

from typing import Any

import pytest

from framework.engine import records
from framework.engine.actions import AnswerInverseOffers
from framework.engine.events import InverseOffer, InverseOfferRescinded, InverseOffersReceived, OffersReceived
from framework.engine.settings import EngineSettings
from framework.model.container import Container
from framework.model.instance import Agent
from framework.model.offer import Offer, Pool
from framework.model.strategy import UpgradeStrategy
from framework.model.volume import PersistentInfo, PersistentVolume
from tests.support.engine import Desk, app


def placed(**fields: Any) -> Desk:
    """Four instances, two of them on agent-1."""
    desk = Desk(EngineSettings(drain_seconds=0.0, maintenance_lead=60.0))
    desk.declare(app(instances=4, **fields))
    for number in (1, 1, 2, 2):
        [launch] = desk.offers(desk.offer(number, cpus=150))
        desk.status(launch.instance, "TASK_RUNNING")
    assert not desk.ledger.deployments
    return desk


def announce(desk: Desk, seconds: float = 0.0) -> None:
    desk.tell(InverseOffersReceived((InverseOffer("i-1", "agent-1", desk.now + seconds, None),)))


def on_agent_1(desk: Desk) -> int:
    return len(desk.instances("/app", lambda i: i.agent.id == "agent-1" and i.ok))


@pytest.mark.parametrize(
    "strategy",
    [UpgradeStrategy(1.0, 1.0), UpgradeStrategy(1.0, 0.25), UpgradeStrategy(0.5, 0.0), UpgradeStrategy(1.0, 0.0)],
)
def test_instances_move_without_going_below_the_least_or_above_the_most(strategy: UpgradeStrategy) -> None:
    desk = placed(upgrade_strategy=strategy)
    announce(desk)
    desk.wait(0)
    least = 2 if strategy.minimum_health_capacity < 1 else 4
    most = 4 + max(int(4 * strategy.maximum_over_capacity), least == 4)
    for _ in range(20):
        assert len(desk.instances("/app", lambda i: i.ok)) >= least
        assert len(desk.instances("/app")) <= most
        for launch in desk.offers(desk.offer(3)):
            desk.status(launch.instance, "TASK_RUNNING")
        for instance in desk.instances("/app", lambda i: i.condition.value == "Killing"):
            desk.status(instance, "TASK_KILLED")
    assert on_agent_1(desk) == 0
    assert len(desk.running("/app")) == 4


def test_nothing_moves_before_its_time_or_when_it_is_called_off() -> None:
    desk = placed()
    announce(desk, 3600)
    assert desk.found(AnswerInverseOffers) == [AnswerInverseOffers(("i-1",), ())]
    desk.wait(3500)
    assert desk.offers(desk.offer(3)) == []
    desk.wait(60)
    [one, *_] = desk.offers(desk.offer(3))
    desk.tell(InverseOfferRescinded("i-1"))
    desk.status(one.instance, "TASK_RUNNING")
    desk.settle()
    assert on_agent_1(desk) >= 1, "what had not moved stays"
    assert len(desk.running("/app")) == 4


def test_nothing_new_is_launched_on_an_agent_that_is_about_to_go() -> None:
    desk = placed()
    pool = Pool("*", 64_000, 64_000_000, 64_000_000, 0, ((31000, 31999),))
    going = Offer("o", Agent("agent-1", "host-1"), "*", (pool,), maintenance_at=desk.now + 30)
    desk.update("/app", instances=5)
    desk.tell(OffersReceived((going,)))
    assert desk.state.launcher.queue()[0].last_rejects == {"AgentMaintenance": 1}


def test_what_keeps_its_data_there_stays_and_the_master_is_told_so() -> None:
    desk = Desk()
    volumes = Container("MESOS", volumes=(PersistentVolume("data", PersistentInfo(5)),))
    desk.declare(app("/db", role="prod", container=volumes))
    pool = Pool("*", 64_000, 64_000_000, 64_000_000, 0, ((31000, 31999),))
    [launch] = desk.offers(Offer("o", Agent("agent-1", "host-1"), "prod", (pool,)))
    desk.status(launch.instance, "TASK_RUNNING")
    announce(desk)
    assert desk.found(AnswerInverseOffers) == [AnswerInverseOffers((), ("i-1",))]
    desk.wait(60)
    assert not desk.killed() and len(desk.running("/db")) == 1


def test_a_new_leader_goes_on_moving() -> None:
    desk = placed()
    announce(desk)
    desk.wait(0)
    moving = next(i for i in desk.instances("/app") if i.evacuating)
    assert records.decode_instance(records.encode(records.INSTANCES, moving)) == moving
