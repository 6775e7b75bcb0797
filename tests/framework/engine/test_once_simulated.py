"""What the simulation found, each as the shortest story that shows it."""

from framework.decide.instance_state import TaskStatus
from framework.decide.rollout import SHARE_LABEL, STRATEGY_LABEL
from framework.engine.actions import Launch
from framework.engine.commands import Declare, KillInstances
from framework.engine.events import InverseOffer, InverseOffersReceived, StatusReceived
from framework.model.change import Change
from framework.model.pod import Pod, PodContainer
from framework.model.strategy import UpgradeStrategy
from framework.model.values import FrozenMap
from tests.support.engine import Desk, app


def test_a_pod_goes_on_whose_finished_container_the_master_has_forgotten() -> None:
    desk = Desk()
    pod = Pod("/pod", containers=(PodContainer("web"), PodContainer("once")))
    desk.command(Declare(lambda declared: Change(pods={"/pod": pod})))
    desk.settle()
    [instance] = desk.running("/pod")
    web, once = instance.tasks

    def said(task_id: str, state: str, reason: str | None = None) -> None:
        desk.tell(StatusReceived(TaskStatus(task_id, state, instance.agent.id, reason, timestamp=desk.now)))

    said(once.id, "TASK_FINISHED")
    desk.wait(600)
    said(once.id, "TASK_GONE", "REASON_RECONCILIATION")
    said(web.id, "TASK_RUNNING", "REASON_RECONCILIATION")
    assert [i.id for i in desk.running("/pod")] == [instance.id]
    assert not desk.killed(desk.all_actions)
    said(web.id, "TASK_FAILED")
    assert instance.id not in desk.ledger.instances


def test_a_restart_and_maintenance_together_take_one_instance_more_and_not_two() -> None:
    desk = Desk()
    desk.declare(app(instances=4, upgrade_strategy=UpgradeStrategy(1.0, 0.0)))
    desk.settle()
    away = desk.running("/app")[0].agent.id
    desk.update("/app", cmd="new")
    desk.tell(InverseOffersReceived((InverseOffer("i-1", away, desk.now, None),)))
    desk.wait(0)
    for _ in range(20):
        launches = desk.offers(desk.offer(7), desk.offer(8))
        assert len(desk.instances("/app")) <= 5
        for launch in launches:
            desk.status(launch.instance, "TASK_RUNNING")
        for instance in desk.instances("/app", lambda i: i.leaving):
            desk.status(instance, "TASK_KILLED")
    assert not desk.ledger.deployments
    assert len(desk.running("/app")) == 4


def test_an_old_instance_that_ends_is_not_replaced_by_a_new_one_that_is_too_many() -> None:
    """Blue/green is scaled while it waits: what runs beside the new version is older than what was declared last."""
    desk = Desk()
    desk.declare(app(instances=3, labels=FrozenMap({STRATEGY_LABEL: "blue-green"})))
    desk.settle()
    old = {instance.id for instance in desk.running("/app")}
    desk.update("/app", cmd="new")
    desk.settle()
    desk.update("/app", instances=2, force=True)
    desk.settle()
    ended = next(instance for instance in desk.running("/app") if instance.id in old)
    desk.status(ended, "TASK_FAILED")
    desk.all_actions = []
    launched: set[str] = set()
    for _ in range(5):
        desk.wait(5)
        launched |= {launch.instance.id for launch in _launches(desk)}
        desk.settle()
    assert not launched & desk.killed(desk.all_actions)


def test_a_share_that_becomes_smaller_ends_nobody_who_is_needed() -> None:
    """A canary with two of five is scaled to three, of which one is its share; an old one has to be there first."""
    desk = Desk()
    canary = FrozenMap({STRATEGY_LABEL: "canary", SHARE_LABEL: "30%"})
    desk.declare(app(instances=5, labels=canary, upgrade_strategy=UpgradeStrategy(1.0, 0.0)))
    desk.settle()
    old = {instance.id for instance in desk.running("/app")}
    desk.update("/app", cmd="new")
    desk.settle()
    assert len([i for i in desk.running("/app") if i.id not in old]) == 2
    victims = tuple(i.id for i in desk.running("/app") if i.id in old)[:2]
    desk.command(KillInstances(victims, scale=True, force=True))
    assert desk.killed() == set(victims)
    desk.settle()
    assert len(desk.running("/app")) == 3
    assert len([i for i in desk.running("/app") if i.config_version == _config(desk)]) == 1


def _config(desk: Desk) -> str:
    return desk.ledger.declared.apps["/app"].last_config_change_at


def _launches(desk: Desk) -> list[Launch]:
    launches = desk.offers()
    for launch in launches:
        desk.status(launch.instance, "TASK_RUNNING")
    return launches
