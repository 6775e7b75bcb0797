"""Who goes first."""

from collections import Counter
from dataclasses import replace

import pytest

from framework.decide.advance_deployment import Orders
from framework.decide.kill_order import kill_order, ordered_victims, select_victims
from framework.model.app import App, VersionInfo
from framework.model.constraint import Constraint
from framework.model.instance import Agent, Condition, Instance

BASE = Instance(
    "i", "/app", "v1", "c1", "*", Agent("a", "h"), (), condition=Condition.RUNNING, provisioned_at=0, active_since=0
)


def instance(name: str, since: float = 0.0, rack: str = "a", **more) -> Instance:
    agent = Agent(f"agent-{name}", name, (("rack", rack),))
    return replace(BASE, id=name, agent=agent, active_since=since, **more)


def ids(instances) -> list[str]:
    return [i.id for i in instances]


def test_the_youngest_goes_first_unless_the_app_says_otherwise() -> None:
    old, young = instance("old", 1), instance("young", 2)
    assert ids(kill_order([old, young])) == ["young", "old"]
    assert ids(kill_order([old, young], "OLDEST_FIRST")) == ["old", "young"]


def test_the_least_useful_goes_before_the_selection() -> None:
    found = kill_order(
        [
            instance("running", 9),
            instance("unhealthy", 5, healthy=False),
            instance("starting", condition=Condition.STARTING),
            instance("staging", condition=Condition.STAGING),
            instance("unreachable", condition=Condition.UNREACHABLE),
        ]
    )
    assert ids(found) == ["unreachable", "staging", "starting", "unhealthy", "running"]


def test_named_ones_go_before_all_and_outdated_ones_before_current_ones() -> None:
    members = [instance("new", 9), instance("named", 1), instance("outdated", 2, config_version="c0")]
    found = kill_order(members, config_version="c1", first=frozenset({"named"}))
    assert ids(found) == ["named", "outdated", "new"]


def test_group_by_takes_from_the_largest_group_so_that_the_rest_stays_even() -> None:
    members = [instance(f"a{i}", i, "a") for i in range(4)] + [instance(f"b{i}", 10 + i, "b") for i in range(2)]
    group_by = (Constraint("rack", "GROUP_BY"),)
    victims = select_victims(members, 3, constraints=group_by)
    left = Counter(i.agent.attributes[0][1] for i in members if i not in victims)
    assert left in ({"a": 2, "b": 1}, {"a": 1, "b": 2})
    assert ids(select_victims(members, 2, constraints=group_by)) == ["a3", "a2"]


@pytest.mark.parametrize(
    ("orders", "former", "victims"),
    [
        (Orders(), None, []),
        (Orders(kill_old=1, healthy_kills=1), None, ["older-sick"]),
        (Orders(kill_old=2, healthy_kills=0), None, ["older-sick"]),
        (Orders(kill_old=2, healthy_kills=1), None, ["older-sick", "old"]),
        (Orders(kill_old=2, healthy_kills=1), "c1", ["older-sick", "oldest"]),
        (Orders(kill_old=3, healthy_kills=3), None, ["oldest", "older-sick", "old"]),
        (Orders(kill_new=1), None, ["new-2"]),
        (Orders(kill_any=2), None, ["older-sick", "old"]),
    ],
)
def test_what_a_deployment_orders_is_the_unhealthy_first_and_no_more_healthy_ones_than_it_may(
    orders: Orders, former: str | None, victims: list[str]
) -> None:
    spec = App("/app", cmd="x", version="v2", version_info=VersionInfo("v2", "c2"))
    staying = [
        instance("oldest", 1, config_version="c0"),
        instance("older-sick", 2, config_version="c1", checked=True, healthy=False),
        instance("old", 3, config_version="c1"),
        instance("new-1", 4, config_version="c2"),
        instance("new-2", 5, config_version="c2"),
    ]
    assert ids(ordered_victims(staying, orders, spec, former)) == victims
    assert set(ids(ordered_victims(staying, Orders(kill_any=5, healthy_kills=5), None))) == set(ids(staying))
