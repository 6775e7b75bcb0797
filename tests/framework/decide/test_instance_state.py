"""Every Mesos state, and what follows from one state to the next."""

import pytest

from framework.decide.instance_state import condition_of, next_condition, overall, own_fault
from framework.model.instance import TERMINAL, Condition, Task


@pytest.mark.parametrize(
    ("state", "reason", "condition"),
    [
        ("TASK_STAGING", None, Condition.STAGING),
        ("TASK_STARTING", None, Condition.STARTING),
        ("TASK_RUNNING", None, Condition.RUNNING),
        ("TASK_RUNNING", "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED", Condition.RUNNING),
        ("TASK_KILLING", None, Condition.KILLING),
        ("TASK_FINISHED", None, Condition.FINISHED),
        ("TASK_FAILED", "REASON_COMMAND_EXECUTOR_FAILED", Condition.FAILED),
        ("TASK_KILLED", None, Condition.KILLED),
        ("TASK_ERROR", "REASON_TASK_INVALID", Condition.ERROR),
        ("TASK_DROPPED", "REASON_INVALID_OFFERS", Condition.DROPPED),
        ("TASK_UNREACHABLE", "REASON_AGENT_REMOVED", Condition.UNREACHABLE),
        ("TASK_GONE", "REASON_RECONCILIATION", Condition.GONE),
        ("TASK_GONE_BY_OPERATOR", None, Condition.GONE),
        ("TASK_UNKNOWN", "REASON_RECONCILIATION", Condition.UNKNOWN),
        ("TASK_LOST", "REASON_INVALID_OFFERS", Condition.DROPPED),
        ("TASK_LOST", "REASON_RECONCILIATION", Condition.GONE),
        ("TASK_LOST", "REASON_AGENT_REMOVED", Condition.UNREACHABLE),
        ("TASK_LOST", "REASON_AGENT_DISCONNECTED", Condition.UNREACHABLE),
        ("TASK_LOST", "REASON_CONTAINER_LIMITATION_MEMORY", Condition.GONE),
        ("TASK_LOST", None, Condition.UNREACHABLE),
    ],
)
def test_a_state_and_its_reason_are_a_condition(state, reason, condition) -> None:
    assert condition_of(state, reason) is condition


def test_a_state_that_nobody_knows_changes_nothing() -> None:
    with pytest.raises(ValueError, match="TASK_DREAMING"):
        condition_of("TASK_DREAMING", None)


@pytest.mark.parametrize("ended", sorted(TERMINAL))
@pytest.mark.parametrize("said", sorted(Condition))
def test_what_has_ended_stays_ended(ended: Condition, said: Condition) -> None:
    assert next_condition(ended, said) is ended


@pytest.mark.parametrize(
    ("before", "said", "after"),
    [
        (Condition.PROVISIONED, Condition.STAGING, Condition.STAGING),
        (Condition.RUNNING, Condition.STAGING, Condition.RUNNING),  # an old update, sent again
        (Condition.KILLING, Condition.RUNNING, Condition.KILLING),  # a health result meanwhile
        (Condition.UNREACHABLE, Condition.RUNNING, Condition.RUNNING),
        (Condition.UNREACHABLE_INACTIVE, Condition.RUNNING, Condition.RUNNING),
        (Condition.UNREACHABLE_INACTIVE, Condition.UNREACHABLE, Condition.UNREACHABLE_INACTIVE),
        (Condition.RUNNING, Condition.UNREACHABLE, Condition.UNREACHABLE),
        (Condition.UNREACHABLE, Condition.GONE, Condition.GONE),
    ],
)
def test_conditions_only_go_on_except_back_from_unreachable(before, said, after) -> None:
    assert next_condition(before, said) is after


@pytest.mark.parametrize(
    ("states", "condition"),
    [
        (("TASK_RUNNING", "TASK_RUNNING"), Condition.RUNNING),
        (("TASK_RUNNING", "TASK_STARTING"), Condition.STARTING),
        (("TASK_RUNNING", "TASK_FAILED"), Condition.FAILED),
        (("TASK_KILLED", "TASK_FAILED"), Condition.FAILED),
        (("TASK_KILLED", "TASK_KILLED"), Condition.KILLED),
        (("TASK_FINISHED", "TASK_FINISHED"), Condition.FINISHED),
        (("TASK_KILLED", "TASK_RUNNING"), Condition.KILLING),
        (("TASK_UNREACHABLE", "TASK_RUNNING"), Condition.UNREACHABLE),
    ],
)
def test_a_pod_is_as_well_as_its_tasks(states, condition) -> None:
    tasks = [Task(f"t{i}", f"c{i}", state) for i, state in enumerate(states)]
    assert overall(tasks, Condition.RUNNING) is condition


def test_an_offer_that_had_gone_is_nobodys_fault() -> None:
    assert own_fault(Condition.FAILED, None)
    assert own_fault(Condition.FINISHED, None)
    assert not own_fault(Condition.KILLED, None)
    assert not own_fault(Condition.DROPPED, "REASON_INVALID_OFFERS")
