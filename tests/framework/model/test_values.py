"""The quick copy of frozen values does what the one of the standard library does."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.model.deployment import Progress, Step, StepAction
from framework.model.instance import Agent, Condition, Goal, HealthResult, Instance, Task
from framework.model.pod import Pod
from framework.model.values import replace

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
