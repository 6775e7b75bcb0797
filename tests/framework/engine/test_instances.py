"""Instances from launch to end: what Mesos says, what time does, what is told."""

from copy import deepcopy
from typing import Literal

import pytest

from framework.decide.instance_state import TaskStatus
from framework.engine.actions import (
    Accept,
    Acknowledge,
    Decline,
    Kill,
    Reconcile,
    Revive,
    StartProbing,
    StopProbing,
    Suppress,
    WatchDrain,
)
from framework.engine.commands import Declare
from framework.engine.events import (
    CommandReceived,
    Disconnected,
    Elected,
    LaunchUncertain,
    OffersReceived,
    Probed,
    StatusReceived,
    Subscribed,
    WentIdle,
)
from framework.engine.settings import EngineSettings
from framework.engine.state import State
from framework.model.change import Change
from framework.model.health import HealthCheck
from framework.model.instance import Condition
from framework.model.network import PortDefinition
from framework.model.strategy import UnreachableDisabled, UnreachableStrategy
from framework.model.values import FrozenMap
from tests.support.engine import Desk, app, numbers


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_an_acknowledgement_leaves_for_every_status_that_can_be_acknowledged(desk: Desk) -> None:
    desk.declare(app())
    [launch] = desk.offers()
    desk.status(launch.instance, "TASK_RUNNING")
    assert len(desk.found(Acknowledge)) == 1
    task = launch.instance.tasks[0]
    desk.tell(StatusReceived(TaskStatus(task.id, "TASK_RUNNING", launch.instance.agent.id)))
    assert desk.found(Acknowledge) == [], "the master's own updates have no uuid"
    desk.tell(StatusReceived(TaskStatus("stranger", "TASK_DREAMING", "agent-1", uuid="u")))
    assert len(desk.found(Acknowledge)) == 1


def test_offers_are_declined_and_suppressed_while_nobody_waits(desk: Desk) -> None:
    assert desk.found(Suppress, desk.all_actions) == [Suppress(("*",))]
    desk.offers()
    [decline] = desk.found(Decline)
    assert len(decline.offer_ids) == 3
    assert decline.refuse_seconds == 120
    desk.declare(app())
    assert desk.found(Revive) == [Revive(("*",))]
    desk.offers()
    assert desk.found(Suppress) == [Suppress(("*",))]


def test_revives_keep_their_distance_and_are_repeated_while_somebody_waits(desk: Desk) -> None:
    desk.declare(app("/a"))
    assert len(desk.found(Revive)) == 1
    desk.declare(app("/b"))
    assert desk.found(Revive) == []
    assert len(desk.found(Revive, desk.wait(1))) == 1
    assert len(desk.found(Revive, desk.wait(60))) == 2


def test_a_failing_app_is_launched_later_and_later_and_others_are_not(desk: Desk) -> None:
    desk.declare(app("/bad", backoff_seconds=2, backoff_factor=2), app("/good"))
    delays = []
    for _ in range(3):
        launches = [launch for launch in desk.offers() if launch.spec.id == "/bad"]
        desk.status(launches[0].instance, "TASK_FAILED")
        [item] = desk.state.launcher.queue("/bad")
        delays.append(item.delay_left)
        assert not [launch for launch in desk.offers() if launch.spec.id == "/bad"]
        desk.wait(item.delay_left + 0.1)
        assert desk.state.launcher.queue("/bad")[0].overdue
    assert delays == [2, 4, 8]


def test_a_stale_offer_costs_the_app_no_delay(desk: Desk) -> None:
    desk.declare(app())
    [launch] = desk.offers()
    desk.status(launch.instance, "TASK_DROPPED", reason="REASON_INVALID_OFFERS")
    assert len(desk.offers()) == 1


def test_the_queue_says_why(desk: Desk) -> None:
    desk.declare(app(cpus=1000))
    desk.offers()
    desk.offers()
    [item] = desk.state.launcher.queue()
    assert (item.count, item.processed_offers, item.unused_offers) == (1, 6, 6)
    assert item.last_rejects == {"InsufficientCpus": 3}
    assert item.launch_rejects == {"InsufficientCpus": 6}
    assert desk.state.launcher.unused_offers(item.spec.id)[0].reasons == ("InsufficientCpus",)


def test_each_offer_of_no_use_is_kept_with_a_reason_of_its_own_the_last_five(desk: Desk) -> None:
    desk.declare(app(cpus=8))
    desk.offers(*(desk.offer(number, cpus=1) for number in range(4)))
    desk.wait(1)
    desk.offers(desk.offer(7, mem=1), desk.offer(8, cpus=2))
    found = desk.state.launcher.unused_offers("/app")
    cpus, memory = ("InsufficientCpus",), ("InsufficientMemory",)
    assert [one.reasons for one in found] == [cpus, cpus, cpus, memory, cpus]
    assert found[0].at < found[-1].at == desk.now
    assert desk.state.launcher.unused_offers("/nobody") == ()


# --- what is not heard of


def test_a_launch_of_which_nothing_is_heard_is_asked_for_and_given_up_at_last() -> None:
    desk = Desk(EngineSettings(confirm_interval=30, launch_confirm_timeout=100))
    desk.declare(app())
    [launch] = desk.offers()
    task = launch.instance.tasks[0]
    assert Reconcile(((task.id, launch.instance.agent.id),)) in desk.wait(31)
    desk.wait(100)
    assert desk.killed() == {launch.instance.id}
    desk.tell(StatusReceived(TaskStatus(task.id, "TASK_GONE", launch.instance.agent.id)))
    assert desk.instances("/app") == []
    desk.wait(10)
    assert len(desk.offers()) == 1


def test_an_uncertain_launch_is_asked_for_soon(desk: Desk) -> None:
    desk.declare(app())
    [launch] = desk.offers()
    desk.tell(LaunchUncertain((launch.instance.id,), "reset"))
    assert Reconcile(((launch.instance.tasks[0].id, launch.instance.agent.id),)) in desk.wait(5)


def test_a_task_that_does_not_start_in_time_is_replaced() -> None:
    desk = Desk(EngineSettings(launch_timeout=60))
    desk.declare(app())
    [launch] = desk.offers()
    desk.status(launch.instance, "TASK_STARTING")
    desk.wait(61)
    assert desk.killed() == {launch.instance.id}


# --- unreachable


def test_by_default_an_unreachable_instance_is_replaced_at_once(desk: Desk) -> None:
    desk.declare(app())
    desk.settle()
    [lost] = desk.running("/app")
    desk.status(lost, "TASK_UNREACHABLE", reason="REASON_AGENT_REMOVED")
    desk.wait(0.1)
    desk.settle()
    [replacement] = desk.instances("/app")
    assert replacement.id != lost.id
    desk.tell(StatusReceived(TaskStatus(lost.tasks[0].id, "TASK_RUNNING", lost.agent.id, uuid="u")))
    assert desk.found(Kill) == [Kill(lost.tasks[0].id, lost.agent.id)], "it came back and is not wanted any more"


def test_inactive_and_expunged_are_two_moments(desk: Desk) -> None:
    desk.declare(app(unreachable_strategy=UnreachableStrategy(60, 300)))
    desk.settle()
    [lost] = desk.running("/app")
    desk.status(lost, "TASK_UNREACHABLE")
    desk.wait(59)
    assert desk.offers() == [], "for now it is waited for"
    desk.wait(2)
    desk.settle()
    assert {i.condition for i in desk.instances("/app")} == {Condition.RUNNING, Condition.UNREACHABLE_INACTIVE}
    desk.wait(240)
    assert {i.condition for i in desk.instances("/app")} == {Condition.RUNNING}


def test_an_instance_that_returns_in_time_goes_on(desk: Desk) -> None:
    desk.declare(app(unreachable_strategy=UnreachableStrategy(60, 300)))
    desk.settle()
    [lost] = desk.running("/app")
    desk.status(lost, "TASK_UNREACHABLE")
    desk.wait(30)
    desk.status(lost, "TASK_RUNNING", reason="REASON_AGENT_REREGISTERED")
    desk.wait(1000)
    assert [i.id for i in desk.running("/app")] == [lost.id]


def test_an_instance_that_returns_after_it_was_replaced_makes_one_too_many_and_one_goes(desk: Desk) -> None:
    desk.declare(app(unreachable_strategy=UnreachableStrategy(10, 1000)))
    desk.settle()
    [lost] = desk.running("/app")
    desk.status(lost, "TASK_UNREACHABLE")
    desk.wait(11)
    desk.settle()
    desk.status(lost, "TASK_RUNNING")
    desk.settle()
    assert len(desk.running("/app")) == 1


def test_disabled_waits_for_ever(desk: Desk) -> None:
    desk.declare(app(unreachable_strategy=UnreachableDisabled()))
    desk.settle()
    [lost] = desk.running("/app")
    desk.status(lost, "TASK_UNREACHABLE")
    desk.wait(10**6)
    assert [i.condition for i in desk.instances("/app")] == [Condition.UNREACHABLE]


# --- killing


def test_an_instance_with_ports_is_told_of_before_it_is_killed() -> None:
    desk = Desk(EngineSettings(drain_seconds=5))
    desk.declare(app("/web", port_definitions=(PortDefinition(0),)), app("/batch"))
    desk.settle()
    [web], [batch] = desk.running("/web"), desk.running("/batch")
    desk.remove("/web")
    [draining] = desk.announced("instance_draining_event")
    assert (draining["instanceId"], draining["drainSeconds"]) == (web.id, 5)
    [instance] = desk.instances("/web")
    assert instance.draining_since == desk.now
    assert instance.running, "it still answers"
    assert desk.killed() == set()
    assert desk.killed(desk.wait(6)) == {web.id}
    desk.remove("/batch")
    assert desk.killed() == {batch.id}, "nobody talks to an app without ports"


@pytest.mark.parametrize(("label", "seconds"), [("0", 0), ("30", 30), ("nonsense", 5), ("99999999", 3600), ("-3", 0)])
def test_a_label_says_how_long_an_app_drains(label: str, seconds: float) -> None:
    desk = Desk(EngineSettings(drain_seconds=5))
    ports = (PortDefinition(0),)
    desk.declare(app(port_definitions=ports, labels=FrozenMap({"DROMOS_DRAIN_SECONDS": label})))
    desk.settle()
    [instance] = desk.running("/app")
    desk.remove("/app")
    if seconds:
        assert desk.killed(desk.wait(seconds - 1)) == set()
        desk.wait(2)
    assert desk.killed() == {instance.id}


@pytest.mark.parametrize(
    ("default", "label", "early"), [("time", "idle", True), ("idle", None, True), ("idle", "time", False)]
)
def test_a_drain_ends_when_nobody_talks_to_the_instance_any_more_where_that_is_asked_for(
    default: Literal["time", "idle"], label: str | None, early: bool
) -> None:
    desk = Desk(EngineSettings(drain_seconds=60, drain_until=default))
    labels = FrozenMap({"DROMOS_DRAIN_UNTIL": label} if label else {})
    desk.declare(app(port_definitions=(PortDefinition(0),), labels=labels))
    desk.settle()
    [instance] = desk.running("/app")
    desk.remove("/app")
    assert [(w.instance.id, w.seconds) for w in desk.found(WatchDrain)] == [(instance.id, 60)] * early
    desk.wait(10)
    if early:
        assert desk.killed(desk.tell(WentIdle(instance.id))) == {instance.id}
        assert desk.killed(desk.tell(WentIdle(instance.id))) == set(), "it is told once"
    else:
        assert desk.killed(desk.wait(51)) == {instance.id}


def test_what_drains_until_idle_is_watched_on_by_the_next_leader_and_killed_when_its_time_is_over() -> None:
    desk = Desk(EngineSettings(drain_seconds=60, drain_until="idle"))
    desk.declare(app(port_definitions=(PortDefinition(0),)))
    desk.settle()
    [instance] = desk.running("/app")
    desk.remove("/app")
    desk.wait(20)
    actions = desk.tell(Elected("other:8080"), Subscribed("framework-1", "master:5050", again=True))
    assert [(w.instance.id, w.seconds) for w in desk.found(WatchDrain, actions)] == [(instance.id, 40)]
    assert desk.killed(desk.wait(41)) == {instance.id}


def test_a_kill_without_effect_is_sent_again(desk: Desk) -> None:
    desk.declare(app())
    desk.settle()
    desk.remove("/app")
    assert len(desk.found(Kill, desk.wait(100))) == 3


def test_only_so_many_kills_are_under_way() -> None:
    desk = Desk(EngineSettings(kills_in_flight=2))
    desk.declare(app(instances=5))
    desk.settle()
    desk.remove("/app")
    first = desk.killed()
    assert len(first) == 2
    desk.status(sorted(first)[0], "TASK_KILLED")
    assert len(desk.killed()) == 1


def test_a_kill_that_was_decided_without_a_connection_leaves_with_the_next_one(desk: Desk) -> None:
    desk.declare(app())
    desk.settle()
    [instance] = desk.running("/app")
    desk.tell(Disconnected("gone"))
    desk.remove("/app")
    assert desk.killed() == set()
    desk.tell(Subscribed("framework-1", "master:5050", {}, True))
    assert desk.killed() == {instance.id}


# --- reconciliation


def test_after_a_subscription_every_known_task_is_asked_for_until_it_is_answered(desk: Desk) -> None:
    desk.declare(app(instances=2))
    desk.settle()
    first, second = desk.running("/app")
    desk.tell(Subscribed("framework-1", "master:5050", {}, True))
    asked = {task for action in desk.found(Reconcile) for task, _ in action.tasks}
    assert asked == {first.tasks[0].id, second.tasks[0].id}
    desk.status(first, "TASK_RUNNING", reason="REASON_RECONCILIATION")
    again = desk.found(Reconcile, desk.wait(3))
    assert [task for action in again for task, _ in action.tasks] == [second.tasks[0].id]
    desk.status(second, "TASK_RUNNING", reason="REASON_RECONCILIATION")
    assert desk.found(Reconcile) == [Reconcile()], "now for those that are not known"
    assert desk.found(Reconcile, desk.wait(500)) == []
    assert desk.found(Reconcile, desk.wait(200)), "and after ten minutes again"


def test_silence_is_no_answer(desk: Desk) -> None:
    desk.declare(app())
    desk.settle()
    [instance] = desk.running("/app")
    desk.tell(Subscribed("framework-1", "master:5050", {}, True))
    desk.wait(3600)
    assert [i.id for i in desk.running("/app")] == [instance.id]


def test_a_stranger_is_killed_only_after_all_that_is_known_was_answered_for(desk: Desk) -> None:
    desk.declare(app())
    desk.settle()
    [instance] = desk.running("/app")
    desk.tell(Subscribed("framework-1", "master:5050", {}, True))
    stranger = StatusReceived(TaskStatus("app.instance-9999._app.1", "TASK_RUNNING", "agent-1", uuid="u"))
    assert not [a for a in desk.tell(stranger) if isinstance(a, Kill)]
    desk.status(instance, "TASK_RUNNING")
    assert [a for a in desk.tell(stranger) if isinstance(a, Kill)] == [Kill("app.instance-9999._app.1", "agent-1")]


def test_a_stranger_that_has_ended_is_told_of(desk: Desk) -> None:
    desk.tell(StatusReceived(TaskStatus("grp_app.instance-9._app.1", "TASK_FAILED", "agent-1")))
    assert desk.announced("unknown_instance_terminated_event") == [
        {"instanceId": "grp_app.instance-9", "runSpecId": "/grp/app", "condition": "Failed"}
    ]


# --- health


CHECK = HealthCheck("TCP", port_index=0, grace_period_seconds=10, interval_seconds=5, max_consecutive_failures=2)


def checked(desk: Desk, app_id: str = "/app", instances: int = 1) -> list[str]:
    desk.declare(
        app(app_id, health_checks=(CHECK,), port_definitions=(PortDefinition(0),), instances=instances), force=True
    )
    launches = desk.offers()
    for launch in launches:
        desk.status(launch.instance, "TASK_RUNNING")
    assert {a.instance.id for a in desk.found(StartProbing, desk.all_actions)} >= {la.instance.id for la in launches}
    return [launch.instance.id for launch in launches]


def test_a_deployment_waits_for_health_and_it_is_told(desk: Desk) -> None:
    [instance_id] = checked(desk)
    assert desk.ledger.deployments
    desk.tell(Probed(instance_id, 0, True))
    assert not desk.ledger.deployments
    assert desk.announced("health_status_changed_event")[0]["alive"] is True
    assert desk.ledger.counts("/app").healthy == 1


def test_an_unhealthy_instance_is_killed_at_its_last_failure_and_not_drained() -> None:
    desk = Desk(EngineSettings(drain_seconds=60))
    [instance_id] = checked(desk)
    desk.tell(Probed(instance_id, 0, True))
    desk.tell(Probed(instance_id, 0, False, "HTTP 500"))
    assert desk.announced("failed_health_check_event")
    assert desk.killed() == set()
    desk.tell(Probed(instance_id, 0, False, "HTTP 500"))
    assert desk.killed() == {instance_id}
    [event] = desk.announced("unhealthy_instance_kill_event")
    assert event["reason"] == "HTTP 500"
    assert desk.found(StopProbing)


def test_a_check_that_fails_everywhere_at_once_kills_nothing(desk: Desk) -> None:
    ids = [i for number in range(4) for i in checked(desk, f"/app{number}", 3)]
    for instance_id in ids:
        desk.tell(Probed(instance_id, 0, True))
    for _ in range(10):
        desk.tell(*(Probed(instance_id, 0, False, "timeout") for instance_id in ids))
    assert desk.killed(desk.all_actions) == set()
    for instance_id in ids:
        desk.tell(Probed(instance_id, 0, True))
    assert all(i.healthy for i in desk.ledger.instances.values())


def test_a_bad_app_among_good_ones_is_replaced_a_few_at_a_time(desk: Desk) -> None:
    good = [i for number in range(4) for i in checked(desk, f"/good{number}", 4)]
    bad = checked(desk, "/bad", 8)
    desk.tell(*(Probed(i, 0, True) for i in good + bad))
    for _ in range(3):
        desk.tell(*(Probed(i, 0, False, "x") for i in bad))
    assert len(desk.killed(desk.all_actions)) == 2, "a quarter of eight"


def test_the_results_of_mesos_count_like_our_own(desk: Desk) -> None:
    desk.declare(app(health_checks=(HealthCheck("MESOS_TCP", port_index=0),)))
    [launch] = desk.offers()
    desk.status(launch.instance, "TASK_RUNNING")
    assert not desk.found(StartProbing, desk.all_actions)
    assert desk.ledger.deployments
    desk.status(launch.instance, "TASK_RUNNING", healthy=True, reason="REASON_TASK_HEALTH_CHECK_STATUS_UPDATED")
    assert not desk.ledger.deployments
    desk.status(launch.instance, "TASK_RUNNING", healthy=False, reason="REASON_TASK_HEALTH_CHECK_STATUS_UPDATED")
    assert desk.ledger.counts("/app").unhealthy == 1
    desk.status(launch.instance, "TASK_KILLED", healthy=False)
    assert desk.ledger.failures["/app"].state == "TASK_KILLED"


def test_after_a_restart_health_is_what_it_was_until_it_is_probed_again(desk: Desk) -> None:
    [instance_id] = checked(desk)
    desk.tell(Probed(instance_id, 0, True))
    desk.state = State(desk.settings, desk.ledger, numbers())
    desk.tell(Elected("me:8080"))
    assert [action.instance.id for action in desk.found(StartProbing)] == [instance_id]
    desk.tell(Subscribed("framework-1", "master:5050", {}, True))
    desk.status(instance_id, "TASK_RUNNING", reason="REASON_RECONCILIATION")
    assert desk.ledger.instances[instance_id].healthy is True
    desk.tell(Probed(instance_id, 0, False, "x"))
    assert desk.ledger.instances[instance_id].healthy is False, "it had its first success, so a failure counts at once"


# --- what could not be kept


def test_a_batch_that_could_not_be_kept_has_not_happened(desk: Desk) -> None:
    desk.declare(app(instances=2))
    desk.settle()

    def all_of_it() -> tuple[object, ...]:
        ledger = desk.ledger
        return deepcopy((ledger.instances, ledger.declared, ledger.counts("/app"), ledger.versions, ledger.history))

    before = all_of_it()
    changed = app(cmd="new", instances=5)
    desk.tell(
        CommandReceived(1, Declare(lambda d: Change(apps={"/app": changed, "/new": app("/new")}))),
        OffersReceived((desk.offer(),)),
        StatusReceived(TaskStatus(desk.running("/app")[0].tasks[0].id, "TASK_FAILED", "agent-1", uuid="u")),
        commit=False,
    )
    assert desk.found(Accept)
    desk.state.undo(desk.now)
    assert all_of_it() == before
    assert list(desk.ledger.pending()) == []
    assert desk.offers() == [], "and nobody waits for what was not declared"


def test_launches_in_flight_are_bounded_and_shared_by_all_that_wait() -> None:
    desk = Desk(EngineSettings(launches_in_flight=3))
    desk.declare(app("/a", instances=5), app("/b", instances=1))
    launches = desk.offers()
    assert sorted(launch.spec.id for launch in launches) == ["/a", "/a", "/b"]
    assert desk.offers() == []
    desk.status(launches[0].instance, "TASK_RUNNING")
    assert Revive(("*",)) in desk.wait(desk.settings.revive_interval)
    launches += desk.offers()
    assert len(launches) == 4
    for launch in launches[1:]:
        desk.status(launch.instance, "TASK_RUNNING")
    desk.settle()
    assert len(desk.running("/a")) == 5 and len(desk.running("/b")) == 1
