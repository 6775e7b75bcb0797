"""Every operator, with and without a value, on every kind of field."""

import pytest

from framework.decide.constraints import Spread
from framework.model.constraint import Constraint
from framework.model.instance import Agent


def agent(host: str = "h1", *, region: str | None = None, zone: str | None = None, **attributes: str) -> Agent:
    return Agent(f"agent-{host}", host, tuple(attributes.items()), region, zone)


def allows(constraint: tuple[str, ...], candidate: Agent, *peers: Agent) -> bool:
    return Spread.of((Constraint(*constraint),), peers).allows(candidate)  # type: ignore[arg-type]


RACK_A, RACK_B, RACK_C = agent("a", rack="a"), agent("b", rack="b"), agent("c", rack="c")


@pytest.mark.parametrize(
    ("constraint", "candidate", "peers", "expected"),
    [
        (("hostname", "UNIQUE"), agent("h1"), [agent("h2")], True),
        (("hostname", "UNIQUE"), agent("h1"), [agent("h1")], False),
        (("@hostname", "UNIQUE"), agent("h1"), [agent("h1")], False),
        (("rack", "UNIQUE"), RACK_A, [RACK_B], True),
        (("rack", "UNIQUE"), RACK_A, [RACK_A], False),
        (("rack", "CLUSTER", "a"), RACK_A, [], True),
        (("rack", "CLUSTER", "a"), RACK_B, [], False),
        (("rack", "CLUSTER"), RACK_B, [], True),
        (("rack", "CLUSTER"), RACK_B, [RACK_A], False),
        (("rack", "CLUSTER"), RACK_A, [RACK_A], True),
        (("rack", "GROUP_BY"), RACK_A, [], True),
        (("rack", "GROUP_BY"), RACK_A, [RACK_A], True),  # only one group is known
        (("rack", "GROUP_BY"), RACK_A, [RACK_A, RACK_B], True),
        (("rack", "GROUP_BY"), RACK_A, [RACK_A, RACK_A, RACK_B], False),
        (("rack", "GROUP_BY"), RACK_B, [RACK_A, RACK_A, RACK_B], True),
        (("rack", "GROUP_BY", "3"), RACK_A, [RACK_A, RACK_B], False),  # the third group is still empty
        (("rack", "GROUP_BY", "3"), RACK_C, [RACK_A, RACK_B], True),
        (("rack", "LIKE", "a|b"), RACK_A, [], True),
        (("rack", "LIKE", "a|b"), RACK_C, [], False),
        (("rack", "LIKE", "a"), agent(rack="ab"), [], False),  # the whole value is to match
        (("rack", "UNLIKE", "a|b"), RACK_A, [], False),
        (("rack", "UNLIKE", "a|b"), RACK_C, [], True),
        (("rack", "MAX_PER", "2"), RACK_A, [RACK_A], True),
        (("rack", "MAX_PER", "2"), RACK_A, [RACK_A, RACK_A], False),
        (("rack", "IS", "a"), RACK_A, [], True),
        (("rack", "IS", "a"), RACK_B, [], False),
        (("disks", "IS", "4.0001"), agent(disks="4"), [], True),  # three decimals count
        (("disks", "IS", "4.01"), agent(disks="4"), [], False),
        (("@region", "IS", "eu"), agent(region="eu"), [], True),
        (("@region", "IS", "eu"), agent(region="us"), [], False),
        (("@zone", "GROUP_BY"), agent(zone="1"), [agent(zone="1"), agent(zone="1"), agent(zone="2")], False),
    ],
)
def test_an_operator_decides(constraint, candidate, peers, expected) -> None:
    assert allows(constraint, candidate, *peers) is expected


@pytest.mark.parametrize("operator", ["UNIQUE", "CLUSTER", "GROUP_BY", "LIKE", "UNLIKE", "MAX_PER", "IS"])
def test_a_missing_attribute_is_met_by_unlike_only(operator: str) -> None:
    assert allows(("rack", operator, "1"), agent("bare")) is (operator == "UNLIKE")


def test_all_constraints_are_to_be_met() -> None:
    both = (Constraint("rack", "IS", "a"), Constraint("hostname", "UNIQUE"))
    assert Spread.of(both, []).allows(RACK_A)
    assert not Spread.of(both, [RACK_A]).allows(RACK_A)
    assert not Spread.of(both, []).allows(RACK_B)
