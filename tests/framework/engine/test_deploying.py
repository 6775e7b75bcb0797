"""Deployments: from what a user declares to what runs, step by step."""

from dataclasses import replace
from typing import Any

import pytest

from framework.engine.commands import CancelDeployment, Declare, KillInstances
from framework.engine.errors import Locked, NotFound, TooManyDeployments
from framework.engine.settings import EngineSettings
from framework.model.change import Change
from framework.model.group import Declared, Group
from framework.model.health import HealthCheck
from framework.model.strategy import UpgradeStrategy
from tests.support.engine import Desk, app


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_new_app_is_started_and_its_deployment_told(desk: Desk) -> None:
    accepted = desk.declare(app(instances=3))
    assert [[a.marathon_name for a in s.actions] for s in accepted.deployment.steps] == [
        ["StartApplication"],
        ["ScaleApplication"],
    ]
    desk.settle()
    assert len(desk.running("/app")) == 3
    assert desk.ledger.deployments == {}
    assert [e["id"] for e in desk.announced("deployment_success", desk.all_actions)] == [accepted.deployment.id]
    assert len(desk.announced("deployment_step_success", desk.all_actions)) == 2


def test_versions_are_stamped_by_what_changed(desk: Desk) -> None:
    desk.declare(app())
    desk.settle()
    first = desk.ledger.declared.apps["/app"]
    desk.now += 10
    desk.update("/app", instances=2)
    desk.settle()
    scaled = desk.ledger.declared.apps["/app"]
    assert scaled.version > first.version
    assert scaled.last_config_change_at == first.last_config_change_at
    assert scaled.version_info is not None
    assert scaled.version_info.last_scaling_at == scaled.version
    desk.update("/app", cmd="other")
    assert desk.ledger.declared.apps["/app"].last_config_change_at > scaled.version


def test_two_changes_in_one_millisecond_get_two_versions(desk: Desk) -> None:
    desk.declare(app("/a"))
    desk.declare(app("/b"))
    assert desk.ledger.declared.apps["/a"].version < desk.ledger.declared.apps["/b"].version


def test_what_changes_nothing_is_done_at_once(desk: Desk) -> None:
    desk.declare(app())
    desk.settle()
    version = desk.ledger.declared.apps["/app"].version
    accepted = desk.declare(desk.ledger.declared.apps["/app"])
    assert accepted.deployment.steps == ()
    assert desk.ledger.deployments == {}
    assert desk.ledger.declared.apps["/app"].version == version
    assert desk.announced("deployment_success")


def test_an_edit_sees_what_is_declared_at_its_turn_and_what_it_raises_is_the_answer(desk: Desk) -> None:
    desk.declare(app(instances=2))

    def one_more(declared: Declared) -> Change:
        known = declared.apps["/app"]
        return Change(apps={"/app": replace(known, instances=known.instances + 1)})

    desk.command(Declare(one_more, force=True))
    desk.command(Declare(one_more, force=True))
    assert desk.ledger.declared.apps["/app"].instances == 4

    def refuse(declared: Declared) -> Change:
        raise ZeroDivisionError("not today")

    with pytest.raises(ZeroDivisionError):
        desk.command(Declare(refuse))
    assert list(desk.ledger.pending()) == []


def test_a_dry_run_answers_with_the_plan_and_changes_nothing(desk: Desk) -> None:
    accepted = desk.declare(app(), dry_run=True)
    assert len(accepted.deployment.steps) == 2
    assert not desk.ledger.declared.apps
    assert not desk.ledger.deployments


def test_an_overlapping_change_is_refused_unless_it_is_forced(desk: Desk) -> None:
    first = desk.declare(app()).deployment
    with pytest.raises(Locked) as caught:
        desk.update("/app", instances=2)
    assert caught.value.deployment_ids == (first.id,)
    second = desk.update("/app", instances=2, force=True).deployment
    assert list(desk.ledger.deployments) == [second.id]
    assert desk.announced("deployment_failed")[0]["id"] == first.id
    desk.settle()
    assert len(desk.running("/app")) == 2


def test_too_many_deployments_are_refused() -> None:
    desk = Desk(EngineSettings(max_running_deployments=2))
    desk.declare(app("/a"))
    desk.declare(app("/b"))
    with pytest.raises(TooManyDeployments):
        desk.declare(app("/c"))
    desk.update("/b", instances=3, force=True)  # it takes the place of the one that it cancels


def test_a_rolling_update_keeps_its_bounds_at_every_moment(desk: Desk) -> None:
    desk.declare(app(instances=4, upgrade_strategy=UpgradeStrategy(0.5, 0.25)))
    desk.settle()
    old = {i.id for i in desk.running("/app")}
    desk.update("/app", cmd="new")
    for _ in range(30):
        assert len(desk.instances("/app")) <= 5
        assert len(desk.instances("/app", lambda i: i.ok)) >= 2
        for launch in desk.offers():
            desk.status(launch.instance, "TASK_RUNNING")
            assert len(desk.instances("/app", lambda i: i.ok)) >= 2
        for instance in desk.instances("/app", lambda i: i.condition.value == "Killing"):
            desk.status(instance, "TASK_KILLED")
    assert len(desk.running("/app")) == 4
    assert not old & {i.id for i in desk.instances("/app")}
    assert not desk.ledger.deployments


def test_what_others_depend_on_is_up_before_they_start(desk: Desk) -> None:
    desk.declare(app("/web", dependencies=("/db",)), app("/db"))
    launches = desk.offers()
    assert [launch.spec.id for launch in launches] == ["/db"]
    desk.status(launches[0].instance, "TASK_STARTING")
    assert desk.offers() == []
    desk.status(launches[0].instance, "TASK_RUNNING")
    assert [launch.spec.id for launch in desk.offers()] == ["/web"]


def test_an_app_whose_step_is_yet_to_come_stays_as_it_was(desk: Desk) -> None:
    desk.declare(app("/db"))
    desk.settle()
    desk.declare(app("/web", dependencies=("/db",), instances=2))
    desk.settle()
    web, db = desk.ledger.declared.apps["/web"], desk.ledger.declared.apps["/db"]
    desk.declare(replace(db, cmd="new", cpus=1000), replace(web, cmd="new"))
    old = {i.id for i in desk.running("/web")}
    victim = desk.running("/web")[0]
    desk.status(victim, "TASK_FAILED")
    desk.wait(2)
    [launch] = desk.offers()
    assert launch.spec.version == web.version, "until the new /db runs, /web is kept up in its old version"
    assert len(old & {i.id for i in desk.running("/web")}) == 1


def test_scaling_down_kills_the_youngest(desk: Desk) -> None:
    desk.declare(app(instances=1))
    desk.settle()
    oldest = desk.running("/app")[0].id
    desk.now += 10
    desk.update("/app", instances=3)
    desk.settle()
    desk.update("/app", instances=1)
    desk.settle()
    assert [i.id for i in desk.running("/app")] == [oldest]


def test_a_removed_app_is_gone_with_its_tasks_and_failures(desk: Desk) -> None:
    desk.declare(app(instances=2))
    desk.settle()
    desk.status(desk.running("/app")[0], "TASK_FAILED", message="exit 3")
    assert desk.ledger.failures["/app"].message == "exit 3"
    desk.remove("/app")
    assert "/app" not in desk.ledger.declared.apps
    desk.settle()
    assert desk.instances("/app") == []
    assert desk.ledger.failures == {}
    assert desk.announced("app_terminated_event", desk.all_actions) == [{"appId": "/app"}]


def test_roll_back_reverts_only_that_plan_and_restarts_nobody(desk: Desk) -> None:
    desk.declare(app(instances=2), app("/other"))
    desk.settle()
    old = {i.id for i in desk.running("/app")}
    broken = desk.update("/app", cmd="broken", instances=4).deployment
    desk.offers()
    desk.update("/other", cmd="newer")
    reverted = desk.command(CancelDeployment(broken.id))
    assert reverted.deployment.reverts == broken.id
    desk.settle()
    now = desk.ledger.declared.apps
    assert (now["/app"].cmd, now["/app"].instances, now["/other"].cmd) == ("run", 2, "newer")
    assert {i.id for i in desk.running("/app")} == old


def test_roll_back_of_a_new_app_removes_it_and_its_group(desk: Desk) -> None:
    created = desk.declare(app("/grp/new"), group="/grp").deployment
    assert "/grp" in desk.ledger.declared.groups
    desk.command(CancelDeployment(created.id))
    desk.settle()
    assert "/grp/new" not in desk.ledger.declared.apps
    assert "/grp" not in desk.ledger.declared.groups
    assert not desk.ledger.deployments


def test_roll_back_of_a_removal_brings_the_app_back(desk: Desk) -> None:
    desk.declare(app(instances=2))
    desk.settle()
    removal = desk.remove("/app").deployment
    desk.command(CancelDeployment(removal.id))
    desk.settle()
    assert len(desk.running("/app")) == 2


def test_a_forced_cancel_stops_where_it_is_and_the_next_deployment_cleans_up(desk: Desk) -> None:
    desk.declare(app(instances=2, upgrade_strategy=UpgradeStrategy(0.5, 0.0)))
    desk.settle()
    half = desk.update("/app", cmd="new").deployment
    [victim] = desk.killed()
    desk.status(victim, "TASK_KILLED")
    [launch] = desk.offers()
    desk.status(launch.instance, "TASK_STARTING")
    assert desk.command(CancelDeployment(half.id, force=True)) is None
    desk.status(launch.instance.id, "TASK_RUNNING")
    desk.settle()
    versions = {i.config_version for i in desk.running("/app")}
    assert len(desk.running("/app")) == 2
    assert len(versions) == 2, "old and new stand side by side"
    desk.update("/app", instances=3)
    desk.settle()
    current = desk.ledger.declared.apps["/app"].last_config_change_at
    assert {i.config_version for i in desk.running("/app")} == {current}


def test_cancelling_what_does_not_exist_is_refused(desk: Desk) -> None:
    with pytest.raises(NotFound):
        desk.command(CancelDeployment("none"))


@pytest.mark.parametrize("on_failure", ["stop", "rollback"])
def test_a_deadline_ends_a_deployment_by_its_policy(desk: Desk, on_failure: str) -> None:
    desk.declare(app())
    desk.settle()
    before = desk.ledger.declared.apps["/app"]
    change = Change(apps={"/app": replace(before, cmd="stuck", cpus=9999)})
    desk.command(Declare(lambda declared: change, deadline=60, on_failure=on_failure))  # type: ignore[arg-type]
    desk.wait(59)
    assert len(desk.ledger.deployments) == 1
    desk.wait(2)
    [failed] = desk.announced("deployment_failed")
    assert "deadline" in failed["reason"]
    desk.settle()
    assert not desk.ledger.deployments
    assert desk.ledger.declared.apps["/app"].cmd == ("run" if on_failure == "rollback" else "stuck")
    assert len(desk.running("/app")) == 1


def test_killed_instances_are_replaced(desk: Desk) -> None:
    desk.declare(app(instances=2))
    desk.settle()
    victim = desk.running("/app")[0]
    answer = desk.command(KillInstances((victim.id, "gone-already")))
    assert [i.id for i in answer.instances] == [victim.id]
    assert desk.killed() == {victim.id}
    desk.settle()
    assert len(desk.running("/app")) == 2


def test_kill_and_scale_takes_those_that_were_named(desk: Desk) -> None:
    desk.declare(app(instances=3))
    desk.settle()
    victim = desk.running("/app")[1]
    answer = desk.command(KillInstances((victim.id,), scale=True))
    assert answer.deployment is not None
    desk.settle()
    assert desk.ledger.declared.apps["/app"].instances == 2
    assert victim.id not in {i.id for i in desk.instances("/app")}
    assert not desk.ledger.deployments


def test_groups_carry_the_version_of_the_last_change_in_them(desk: Desk) -> None:
    desk.declare(app("/a/b/c"), app("/x/y"))
    desk.settle()
    before = dict(desk.ledger.declared.groups)
    desk.now += 5
    desk.update("/a/b/c", instances=2)
    after = desk.ledger.declared.groups
    assert after["/a/b"].version == after["/a"].version == after["/"].version > before["/a"].version
    assert after["/x"].version == before["/x"].version


def test_a_group_of_its_own_is_declared_and_removed(desk: Desk) -> None:
    desk.command(Declare(lambda d: Change(groups={"/empty": Group("/empty")})))
    assert desk.ledger.declared.groups["/empty"].version
    desk.command(Declare(lambda d: Change(groups={"/empty": None})))
    assert "/empty" not in desk.ledger.declared.groups


def test_health_checks_are_announced_when_they_come_and_when_they_go() -> None:
    desk = Desk()
    check, other = HealthCheck(path="/a"), HealthCheck(path="/b")

    def told(kind: str) -> list[tuple[Any, ...]]:
        return [(e["appId"], e.get("version"), e.get("healthCheck")) for e in desk.announced(kind, desk.all_actions)]

    version = desk.declare(app(health_checks=(check, other))).version
    added = [("/app", version, check), ("/app", version, other)]
    assert (told("add_health_check_event"), told("remove_health_check_event")) == (added, [])
    for launch in desk.offers():
        desk.status(launch.instance, "TASK_RUNNING")
    desk.update("/app", instances=0, force=True)
    assert told("add_health_check_event") == added, "a new count brings no new checks"
    desk.settle()
    later = desk.update("/app", health_checks=(other,)).version
    desk.settle()
    assert told("add_health_check_event") == [*added, ("/app", later, other)]
    assert told("remove_health_check_event") == [("/app", None, None)] * 2
    desk.remove("/app")
    desk.settle()
    assert told("remove_health_check_event") == [("/app", None, None)] * 3


def test_a_change_that_is_refused_is_announced_with_its_reason() -> None:
    desk = Desk()
    desk.declare(app(instances=1))
    with pytest.raises(Locked):
        desk.update("/app", instances=2)
    [event] = desk.announced("group_change_failed", desk.all_actions)
    assert event["groupId"] == "/" and event["reason"] and event["version"]
