"""Launch delays, health verdicts and the budget for kills."""

import pytest

from framework.decide.backoff import Delay, longer
from framework.decide.health_verdict import KillBudget, is_due, judge, overall_health
from framework.model.app import App
from framework.model.health import HealthCheck
from framework.model.instance import HealthResult


def test_each_failure_makes_the_delay_longer_up_to_the_maximum() -> None:
    app = App("/a", backoff_seconds=1, backoff_factor=2, max_launch_delay_seconds=5)
    delay, seconds = None, []
    for now in range(5):
        delay = longer(app, delay, float(now))
        seconds.append(delay.seconds)
        assert delay.until == now + delay.seconds
    assert seconds == [1, 2, 4, 5, 5]


def test_a_delay_that_was_over_for_long_is_forgotten() -> None:
    app = App("/a", backoff_seconds=1, backoff_factor=2, max_launch_delay_seconds=60)
    assert longer(app, Delay(32, until=100), now=160).seconds == 60
    assert longer(app, Delay(32, until=100), now=161).seconds == 1


def judged(check: HealthCheck, *outcomes: tuple[float, bool | None]) -> HealthResult:
    """The result after probes at (seconds since it runs, alive)."""
    result = HealthResult("i")
    for now, alive in outcomes:
        result = judge(check, result, alive, "refused", active_since=0, now=now)
    return result


CHECK = HealthCheck(grace_period_seconds=10, max_consecutive_failures=3)


@pytest.mark.parametrize(
    ("outcomes", "alive", "failures", "due"),
    [
        ([(1, True)], True, 0, False),
        ([(1, False), (2, False), (3, False)], False, 0, False),  # grace
        ([(11, False)], False, 1, False),
        ([(11, False), (12, False), (13, False)], False, 3, True),
        ([(1, True), (2, False), (3, False), (4, False)], False, 3, True),  # after a first success they count at once
        ([(11, False), (12, False), (13, True), (14, False)], False, 1, False),
        ([(1, True), (2, None)], True, 0, False),
        ([(1, True), (2, False), (3, None), (4, False), (5, False)], False, 3, True),
    ],
)
def test_a_check_is_judged_by_its_grace_and_its_failures_in_a_row(outcomes, alive, failures, due) -> None:
    result = judged(CHECK, *outcomes)
    assert (result.alive, result.consecutive_failures, is_due(CHECK, result)) == (alive, failures, due)


def test_a_maximum_of_zero_never_kills() -> None:
    check = HealthCheck(grace_period_seconds=0, max_consecutive_failures=0)
    assert not is_due(check, judged(check, *((float(i), False) for i in range(1, 50))))


def test_all_checks_are_to_pass() -> None:
    good, bad = HealthResult("i", alive=True), HealthResult("i", consecutive_failures=1)
    young = HealthResult("i")
    assert overall_health([good, good]) is True
    assert overall_health([good, bad]) is False
    assert overall_health([None, bad]) is False
    assert overall_health([good, None]) is None
    assert overall_health([good, young]) is None


@pytest.mark.parametrize(
    ("failing", "probed", "replacing", "instances", "allowed"),
    [
        (1, 1, 0, 1, True),  # the only one there is: it is replaced
        (1, 100, 0, 10, True),
        (3, 3, 0, 3, True),  # too few to suspect anything else
        (100, 100, 0, 10, False),  # everything at once
        (75, 100, 0, 10, False),
        (74, 100, 0, 10, True),
        (5, 100, 2, 10, False),  # a quarter of ten are on their way
        (5, 100, 1, 10, True),
        (2, 100, 1, 2, False),  # one at a time
    ],
)
def test_the_budget_for_kills(failing, probed, replacing, instances, allowed) -> None:
    budget = KillBudget(failing, probed, replacing, instances)
    assert (budget.refusal(mass_share=0.75, mass_least=4, spec_share=0.25) is None) is allowed
