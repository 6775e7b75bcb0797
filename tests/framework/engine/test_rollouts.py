"""Canary and blue/green in the engine: the new version has its share and waits; a go, its health or its failures decide."""

from dataclasses import replace
from typing import Any

import pytest

from framework.decide.rollout import FAILURES_LABEL, HEALTHY_LABEL, SHARE_LABEL, STRATEGY_LABEL
from framework.engine.commands import CancelDeployment, Declare, Proceed
from framework.engine.errors import Locked, NotFound, NotWaiting
from framework.engine.events import Elected, Subscribed
from framework.engine.state import State
from framework.model.change import Change
from framework.model.strategy import UpgradeStrategy
from framework.model.values import FrozenMap
from tests.support.engine import Desk, app, numbers

CANARY = {STRATEGY_LABEL: "canary", SHARE_LABEL: "25%"}


def deployed(labels: dict[str, str], *, instances: int = 4, **fields: Any) -> tuple[Desk, str]:
    """A desk on which version 2 of /app has its first share and waits; and its deployment."""
    desk = Desk()
    desk.declare(app(instances=instances, labels=FrozenMap(labels), **fields))
    desk.settle()
    deployment = desk.update("/app", cmd="new").deployment
    desk.settle()
    return desk, deployment.id


def commands(desk: Desk) -> list[str]:
    """What runs, by command."""
    specs = [desk.ledger.spec_of(instance) for instance in desk.running("/app")]
    return sorted(getattr(spec, "cmd", "") for spec in specs)


def test_a_canary_waits_with_its_share_until_the_go() -> None:
    desk, deployment = deployed(CANARY)
    assert commands(desk) == ["new", "run", "run", "run"]
    desk.wait(86_400)
    desk.settle()
    assert commands(desk) == ["new", "run", "run", "run"]
    [told] = desk.announced("rollout_waiting_event", desk.all_actions)
    assert (told["id"], told["appId"], told["strategy"], told["waitsFor"]) == (deployment, "/app", "canary", "go")
    assert desk.command(Proceed(deployment)).deployment.id == deployment
    desk.settle()
    assert commands(desk) == ["new"] * 4
    assert not desk.ledger.deployments
    assert desk.announced("rollout_continued_event", desk.all_actions)


def test_each_share_waits_for_a_go_of_its_own() -> None:
    desk, deployment = deployed({STRATEGY_LABEL: "canary", SHARE_LABEL: "25%,50%"})
    for new in (1, 2):
        assert commands(desk).count("new") == new
        desk.command(Proceed(deployment))
        desk.settle()
    assert commands(desk) == ["new"] * 4


def test_a_go_is_refused_before_the_share_is_there_unless_it_is_forced() -> None:
    desk = Desk()
    desk.declare(app(instances=4, labels=FrozenMap(CANARY)))
    desk.settle()
    deployment = desk.update("/app", cmd="new").deployment.id
    with pytest.raises(NotWaiting):
        desk.command(Proceed(deployment))
    desk.command(Proceed(deployment, force=True))
    desk.settle()
    assert commands(desk) == ["new"] * 4
    with pytest.raises(NotFound):
        desk.command(Proceed(deployment))


def test_blue_green_stands_whole_beside_the_old_version_and_takes_over_at_the_go() -> None:
    desk, deployment = deployed({STRATEGY_LABEL: "blue-green"}, instances=3)
    assert commands(desk) == ["new"] * 3 + ["run"] * 3
    desk.command(Proceed(deployment))
    assert len(desk.killed()) == 3
    desk.settle()
    assert commands(desk) == ["new"] * 3


def test_it_goes_on_by_itself_after_being_well_for_long_enough() -> None:
    desk, _ = deployed({**CANARY, HEALTHY_LABEL: "60"})
    desk.wait(59)
    desk.settle()
    assert commands(desk).count("new") == 1
    desk.wait(2)
    desk.settle()
    assert commands(desk) == ["new"] * 4


def test_a_fault_begins_the_measured_time_anew() -> None:
    desk, deployment = deployed({**CANARY, HEALTHY_LABEL: "60", FAILURES_LABEL: "1"})
    desk.wait(50)
    [canary] = [i for i in desk.running("/app") if i.spec_version == desk.ledger.declared.apps["/app"].version]
    desk.status(canary, "TASK_FAILED")
    desk.wait(5)
    desk.settle()
    assert desk.ledger.deployments[deployment].progress["/app"].failures == 1
    desk.wait(50)
    desk.settle()
    assert commands(desk).count("new") == 1
    desk.wait(30)
    desk.settle()
    assert commands(desk) == ["new"] * 4


def test_it_goes_back_when_more_instances_fail_than_may() -> None:
    desk, deployment = deployed(CANARY)
    old = {i.id for i in desk.running("/app") if i.spec_version != desk.ledger.declared.apps["/app"].version}
    [canary] = [i for i in desk.running("/app") if i.id not in old]
    desk.status(canary, "TASK_FAILED", message="exit 1")
    desk.wait(0)
    [failed] = desk.announced("deployment_failed", desk.all_actions)
    assert failed["id"] == deployment and "new version failed" in failed["reason"]
    desk.settle()
    assert commands(desk) == ["run"] * 4
    assert old < {i.id for i in desk.running("/app")}, "nobody of the old version was restarted"
    assert desk.ledger.declared.apps["/app"].cmd == "run"


def test_one_that_never_starts_speaks_against_its_version() -> None:
    desk = Desk()
    desk.declare(app(instances=2, labels=FrozenMap(CANARY)))
    desk.settle()
    desk.update("/app", cmd="new")
    [launch] = desk.offers()
    desk.status(launch.instance, "TASK_ERROR", message="no such image")
    desk.wait(0)
    desk.settle()
    assert commands(desk) == ["run", "run"]
    assert not desk.ledger.deployments


def test_an_old_instance_that_dies_while_it_waits_is_replaced_by_an_old_one() -> None:
    desk, deployment = deployed(CANARY)
    victim = next(i for i in desk.running("/app") if i.spec_version != desk.ledger.declared.apps["/app"].version)
    desk.status(victim, "TASK_FAILED")
    desk.wait(2)
    desk.settle()
    assert commands(desk) == ["new", "run", "run", "run"]
    assert desk.ledger.deployments[deployment].progress["/app"].failures == 0


def test_cancelling_goes_back_and_forcing_stops_where_it_is() -> None:
    desk, deployment = deployed(CANARY)
    back = desk.command(CancelDeployment(deployment)).deployment
    assert back.rollouts == {}, "the way back tries nothing out"
    desk.settle()
    assert commands(desk) == ["run"] * 4
    desk, deployment = deployed(CANARY)
    desk.command(CancelDeployment(deployment, force=True))
    desk.settle()
    assert commands(desk) == ["new", "run", "run", "run"]
    assert not desk.ledger.deployments


def test_a_newer_version_is_locked_out_unless_it_is_forced() -> None:
    desk, deployment = deployed(CANARY)
    with pytest.raises(Locked):
        desk.update("/app", cmd="newer")
    newer = desk.update("/app", cmd="newer", force=True).deployment
    desk.settle()
    assert deployment not in desk.ledger.deployments
    assert commands(desk).count("newer") == 1
    desk.command(Proceed(newer.id))
    desk.settle()
    assert commands(desk) == ["newer"] * 4


def test_a_request_may_ask_for_another_strategy_than_the_labels() -> None:
    desk = Desk()
    desk.declare(app(instances=2, labels=FrozenMap(CANARY)))
    desk.settle()
    known = desk.ledger.declared.apps["/app"]
    rolling = Change(apps={"/app": replace(known, cmd="new")})
    desk.command(Declare(lambda _: rolling, rollout={STRATEGY_LABEL: "rolling"}))
    desk.settle()
    assert commands(desk) == ["new"] * 2


def test_a_new_app_and_a_scaled_one_have_nothing_to_try() -> None:
    desk = Desk()
    desk.declare(app(instances=2, labels=FrozenMap(CANARY)))
    desk.settle()
    desk.update("/app", instances=5)
    desk.settle()
    assert len(desk.running("/app")) == 5
    assert not desk.ledger.deployments


def test_where_two_versions_have_no_room_it_is_a_rolling_update() -> None:
    desk, _ = deployed(CANARY, instances=1, upgrade_strategy=UpgradeStrategy(0.0, 0.0))
    assert commands(desk) == ["new"]


def test_a_new_leader_goes_on_waiting_and_measuring() -> None:
    desk, deployment = deployed({**CANARY, HEALTHY_LABEL: "60"})
    desk.wait(30)
    desk.state = State(desk.settings, desk.ledger, numbers())
    desk.tell(Elected("other:8080"), Subscribed("framework-1", "master:5050", again=True))
    desk.wait(25)
    assert deployment in desk.ledger.deployments
    assert desk.ledger.deployments[deployment].progress["/app"].phase == 0
    desk.wait(10)
    assert desk.ledger.deployments[deployment].progress["/app"].phase == 1


def held(desk: Desk) -> list[str]:
    """The commands of those that get no traffic."""
    specs = [desk.ledger.spec_of(instance) for instance in desk.running("/app") if instance.held]
    return [getattr(spec, "cmd", "") for spec in specs]


def test_only_a_blue_green_version_gets_no_traffic_before_its_go() -> None:
    desk, deployment = deployed({STRATEGY_LABEL: "blue-green"}, instances=3)
    assert held(desk) == ["new"] * 3
    desk.state = State(desk.settings, desk.ledger, numbers())
    desk.tell(Elected("other:8080"), Subscribed("framework-1", "master:5050", again=True))
    assert held(desk) == ["new"] * 3, "a new leader holds them too"
    desk.command(Proceed(deployment))
    assert held(desk) == []
    assert {i.held for i in desk.instances("/app", lambda i: i.id in desk.killed())} == {False}
    desk.settle()
    assert commands(desk) == ["new"] * 3
    desk, _ = deployed(CANARY)
    assert held(desk) == [], "a canary is there to be tried by users"


def test_an_instance_that_is_launched_while_its_version_waits_is_held_too() -> None:
    desk, deployment = deployed({STRATEGY_LABEL: "blue-green", FAILURES_LABEL: "5"}, instances=2)
    [first, _] = [i for i in desk.running("/app") if i.held]
    desk.status(first, "TASK_FAILED")
    desk.wait(5)
    desk.settle()
    assert held(desk) == ["new"] * 2
    old = next(i for i in desk.running("/app") if not i.held)
    desk.status(old, "TASK_FAILED")
    desk.wait(5)
    desk.settle()
    assert (held(desk), commands(desk)) == (["new"] * 2, ["new", "new", "run", "run"])
    desk.status(next(i for i in desk.running("/app") if i.held), "TASK_FAILED")
    desk.command(Proceed(deployment, force=True))
    desk.wait(5)
    desk.settle()
    assert (held(desk), commands(desk)) == ([], ["new"] * 2), "what starts after the go is not held"


@pytest.mark.parametrize("force", [False, True])
def test_whatever_stops_a_waiting_version_ends_it_without_ever_releasing_it(force: bool) -> None:
    desk, deployment = deployed({STRATEGY_LABEL: "blue-green"}, instances=3)
    old = {i.id for i in desk.running("/app") if not i.held}
    waiting = {i.id for i in desk.running("/app") if i.held}
    sick = next(iter(old))
    desk.status(sick, "TASK_FAILED")  # fewer of the old ones than there are to be: all of the new go all the same
    desk.command(CancelDeployment(deployment, force=force))
    assert desk.killed() == waiting
    assert all(i.held for i in desk.instances("/app", lambda i: i.id in waiting))
    desk.wait(5)
    desk.settle()
    assert old - {sick} < {i.id for i in desk.running("/app")}
    assert len(desk.running("/app")) == 3 and not held(desk)


def test_a_version_that_is_forced_over_a_waiting_one_leaves_the_traffic_where_it_is() -> None:
    for selection in ("YOUNGEST_FIRST", "OLDEST_FIRST"):
        desk, _ = deployed({STRATEGY_LABEL: "blue-green"}, instances=3, kill_selection=selection)
        old = {i.id for i in desk.running("/app") if not i.held}
        newer = desk.update("/app", cmd="newer", force=True).deployment
        desk.settle()
        assert (held(desk), old <= {i.id for i in desk.running("/app")}) == (["newer"] * 3, True)
        desk.command(Proceed(newer.id))
        desk.settle()
        assert (held(desk), commands(desk)) == ([], ["newer"] * 3)


def scaled(desk: Desk, instances: int, **more: Any) -> str:
    answer = desk.update("/app", instances=instances, force=True, **more)
    desk.settle()
    return str(answer.deployment.id)


@pytest.mark.parametrize("given", [True, False])
def test_a_forced_scale_carries_a_canary_on_with_its_share_and_its_way_back(given: bool) -> None:
    desk = Desk()
    desk.declare(app(instances=4, labels=FrozenMap({} if given else CANARY)))
    desk.settle()
    desk.command(Declare(lambda known: Change(apps={"/app": replace(known.apps["/app"], cmd="new")}), rollout=CANARY))
    desk.settle()
    for count in (8, 16):
        deployment = scaled(desk, count)
        assert commands(desk) == ["new"] * (count // 4) + ["run"] * (count - count // 4), (
            "as asked for with the request"
        )
    assert scaled(desk, 8) == next(iter(desk.ledger.deployments)) != deployment
    assert commands(desk) == ["new"] * 2 + ["run"] * 6
    desk.state = State(desk.settings, desk.ledger, numbers())
    desk.tell(Elected("other:8080"), Subscribed("framework-1", "master:5050", again=True))
    old = {i.id for i in desk.running("/app") if i.config_version != newest(desk)}
    desk.command(CancelDeployment(next(iter(desk.ledger.deployments))))
    desk.settle()
    assert (commands(desk), desk.ledger.declared.apps["/app"].instances) == (["run"] * 4, 4)
    assert {i.id for i in desk.running("/app")} < old, "they were not restarted"


def newest(desk: Desk) -> str:
    return desk.ledger.declared.apps["/app"].last_config_change_at


def test_a_forced_scale_keeps_a_blue_green_version_held_beside_as_many_old_ones() -> None:
    desk, _ = deployed({STRATEGY_LABEL: "blue-green"}, instances=2)
    waiting = {i.id for i in desk.running("/app") if i.held}
    deployment = scaled(desk, 3)
    assert (commands(desk), held(desk)) == (["new"] * 3 + ["run"] * 3, ["new"] * 3)
    assert waiting < {i.id for i in desk.running("/app")}
    desk.command(Proceed(deployment))
    desk.settle()
    assert (commands(desk), held(desk)) == (["new"] * 3, [])


def test_a_share_that_had_its_go_is_not_tried_again_after_a_forced_scale() -> None:
    desk, deployment = deployed({STRATEGY_LABEL: "canary", SHARE_LABEL: "25%,50%", FAILURES_LABEL: "1"})
    [canary] = [i for i in desk.running("/app") if i.config_version == newest(desk)]
    desk.status(canary, "TASK_FAILED")
    desk.wait(5)
    desk.settle()
    desk.command(Proceed(deployment))
    desk.settle()
    later = scaled(desk, 8)
    progress = desk.ledger.deployments[later].progress["/app"]
    assert (commands(desk).count("new"), progress.phase, progress.failures) == (4, 1, 1)


def test_a_forced_scale_in_the_middle_of_a_rolling_update_keeps_the_way_back() -> None:
    desk = Desk()
    desk.declare(app(instances=2))
    desk.settle()
    desk.update("/app", cmd="new")
    [launch, *_] = desk.offers()
    desk.status(launch.instance, "TASK_RUNNING")
    deployment = desk.update("/app", instances=5, force=True).deployment
    desk.command(CancelDeployment(deployment.id))
    desk.settle()
    assert (commands(desk), desk.ledger.declared.apps["/app"].instances) == (["run"] * 2, 2)
    assert not desk.ledger.deployments


def test_the_way_back_of_a_version_forced_over_one_that_waits_leads_past_it() -> None:
    desk, _ = deployed(CANARY)
    old = {i.id for i in desk.running("/app") if i.config_version != newest(desk)}
    newer = desk.update("/app", cmd="newer", force=True).deployment
    desk.settle()
    assert commands(desk) == ["newer", "run", "run", "run"]
    desk.command(CancelDeployment(newer.id))
    desk.settle()
    assert commands(desk) == ["run"] * 4 and old <= {i.id for i in desk.running("/app")}


def test_the_way_back_of_a_version_forced_over_one_that_was_accepted_leads_to_that() -> None:
    desk, deployment = deployed(CANARY)
    desk.command(Proceed(deployment))
    newer = desk.update("/app", cmd="newer", force=True).deployment
    desk.settle()
    desk.command(CancelDeployment(newer.id))
    desk.settle()
    assert commands(desk) == ["new"] * 4
