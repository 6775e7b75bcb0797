"""From two declarations to steps."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.decide.plan_deployment import DependencyCycle, plan_deployment
from framework.model.app import App, VersionInfo
from framework.model.deployment import SpecChange
from framework.model.group import Declared, Group

OLD, NEW = "2020-01-01T00:00:00.000Z", "2020-01-02T00:00:00.000Z"


def app(app_id: str, *dependencies: str, config: str = OLD, version: str = OLD, instances: int = 1) -> App:
    return App(
        app_id,
        dependencies=dependencies,
        version=version,
        version_info=VersionInfo(version, config),
        instances=instances,
    )


def plan(before: list[App], after: list[App], groups: tuple[Group, ...] = (), **more):
    old, new = {a.id: a for a in before}, {a.id: a for a in after}
    changes = {i: SpecChange(old.get(i), new.get(i)) for i in {**old, **new} if old.get(i) != new.get(i)}
    declared = Declared(apps=new, groups={g.id: g for g in groups}).with_enclosing_groups()
    return [[(a.kind, a.spec_id) for a in step.actions] for step in plan_deployment(changes, declared, **more)]


def test_what_goes_goes_first_what_is_new_is_made_before_it_is_scaled() -> None:
    changed = replace(app("/changed", config=NEW, version=NEW), cmd="x")
    scaled = app("/scaled", version=NEW, instances=5)
    assert plan(
        [app("/gone"), app("/changed"), app("/scaled"), app("/same")], [changed, scaled, app("/same"), app("/new")]
    ) == [
        [("stop", "/gone")],
        [("start", "/new")],
        [("restart", "/changed"), ("scale", "/new"), ("scale", "/scaled")],
    ]


def test_nothing_changed_needs_no_step() -> None:
    assert plan([app("/a")], [app("/a")]) == []


def test_what_others_depend_on_comes_first() -> None:
    after = [app("/web", "/api"), app("/api", "/db"), app("/db"), app("/alone")]
    steps = plan([], after)
    assert steps[1:] == [[("scale", "/alone"), ("scale", "/db")], [("scale", "/api")], [("scale", "/web")]]


def test_a_dependency_on_a_group_is_one_on_all_in_it_and_holds_for_all_in_the_group_that_has_it() -> None:
    groups = (Group("/front", dependencies=("/back",)), Group("/back"))
    after = [app("/front/web"), app("/back/one"), app("/back/two")]
    steps = plan([], after, groups)
    assert steps[1:] == [[("scale", "/back/one"), ("scale", "/back/two")], [("scale", "/front/web")]]


def test_order_holds_across_an_app_that_does_not_change() -> None:
    api = app("/api", "/db")
    before = [app("/web", "/api"), api, app("/db")]
    after = [app("/web", "/api", version=NEW, config=NEW), api, app("/db", version=NEW, config=NEW)]
    assert plan(before, after) == [[("restart", "/db")], [("restart", "/web")]]


def test_left_behind_instances_of_a_third_configuration_make_a_scaling_a_restart() -> None:
    steps = plan([app("/a")], [app("/a", version=NEW, instances=2)], is_outdated=lambda spec_id: True)
    assert steps == [[("restart", "/a")]]


def test_a_cycle_is_named() -> None:
    with pytest.raises(DependencyCycle) as caught:
        plan([], [app("/a", "/b"), app("/b", "/c"), app("/c", "/a")])
    assert set(caught.value.cycle) == {"/a", "/b", "/c"}


def test_a_long_chain_is_no_trouble() -> None:
    chain = [app(f"/a{i}", *([f"/a{i + 1}"] if i < 3000 else [])) for i in range(3001)]
    assert len(plan([], chain)) == 1 + 3001


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda e: e[0] > e[1]), max_size=20))
def test_every_dependency_is_scaled_in_an_earlier_step(edges) -> None:
    apps = [app(f"/a{i}", *(f"/a{to}" for source, to in edges if source == i)) for i in range(10)]
    step_of = {spec_id: index for index, step in enumerate(plan([], apps)) for kind, spec_id in step if kind == "scale"}
    assert all(step_of[f"/a{to}"] < step_of[f"/a{source}"] for source, to in edges)
    assert len(step_of) == 10
