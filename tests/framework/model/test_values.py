"""The quick ways to make and to copy frozen values do what those of the standard library do."""

import copy as standard
import dataclasses
import pickle
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.model.deployment import Progress, Step, StepAction
from framework.model.instance import Agent, Condition, Goal, HealthResult, Instance, Task
from framework.model.pod import Pod
from framework.model.values import quick, replace

AGENT = Agent("S1", "host", (("rack", "a"),))
VALUES = [
    Instance("i", "/web", "v1", "v1", "*", AGENT, (Task("t"),), healthy=True, since=3.0),
    Task("t", host_ports=(31000,)),
    AGENT,
    Progress(3, extra=True),
    HealthResult("i", alive=True),
    Step((StepAction("start", "/web"),)),  # has one field
    Pod("/pod"),  # has a field that is not given to __init__
]
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "condition": st.sampled_from(Condition),
        "goal": st.sampled_from(Goal),
        "healthy": st.none() | st.booleans(),
        "tasks": st.just(()),
        "since": st.floats(0, 1e9),
    },
)


@settings(deadline=None)
@given(CHANGES)
def test_a_changed_copy_is_the_one_of_the_standard_library(changes) -> None:
    before = VALUES[0]
    copy = replace(before, **changes)
    assert copy == dataclasses.replace(before, **changes) and hash(copy) == hash(dataclasses.replace(before, **changes))
    assert before == dataclasses.replace(before), "what is copied stays"


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_copy_of_each_kind_of_value_equals_it_and_is_frozen_too(value) -> None:
    copy = replace(value)
    assert copy == value and copy is not value
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(copy, dataclasses.fields(value)[0].name, "other")


def test_a_field_that_there_is_not_is_named() -> None:
    with pytest.raises(TypeError, match="Instance has no field healhty"):
        replace(VALUES[0], healhty=True)


# --- making


@quick
@dataclass(frozen=True, slots=True)
class Made:
    name: str
    count: int = 3
    items: list[str] = field(default_factory=list)


def test_a_value_made_quickly_has_what_was_given_and_else_the_defaults() -> None:
    assert dataclasses.astuple(Made("a")) == ("a", 3, [])
    assert dataclasses.astuple(Made("a", items=["x"], count=1)) == ("a", 1, ["x"])
    assert Made("a").items is not Made("a").items, "each has a list of its own"
    assert repr(Made("a")) == "Made(name='a', count=3, items=[])"


def test_a_value_made_quickly_is_of_its_class_and_frozen() -> None:
    made = Made("a")
    assert type(made) is Made and made == Made("a") and made != Made("b")
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.name = "b"  # type: ignore[misc]


@pytest.mark.parametrize("arguments", [{}, {"name": "a", "other": 1}])
def test_what_the_class_does_not_take_is_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(TypeError, match="argument"):
        Made(**arguments)


def test_a_value_made_quickly_can_be_copied_and_pickled() -> None:
    assert standard.deepcopy(VALUES[0]) == VALUES[0] == pickle.loads(pickle.dumps(VALUES[0]))


def test_only_a_class_without_a_base_can_be_made_quickly() -> None:
    @dataclass(frozen=True, slots=True)
    class Derived(Made):
        more: int = 0

    with pytest.raises(TypeError, match="Derived has a base"):
        quick(Derived)
