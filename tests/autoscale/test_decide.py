import math

from hypothesis import given
from hypothesis import strategies as st

from autoscale.decide import History, Situation, decide
from autoscale.policy import Policy
from autoscale.sample import Quality, Sample

POLICY = Policy(target=20, min=2, max=10, down_after=60)


def fresh(rate: float, at: float = 0.0) -> Sample:
    return Sample(at, rate, Quality.FRESH)


def after_calm(rate: float, *, instances: int, seconds: float, policy: Policy = POLICY, deploying: bool = False):
    """The decision after `seconds` of the same rate, one look each second."""
    history, now = History(), 1000.0
    while True:
        decision = decide(policy, Situation(instances, deploying), fresh(rate), history, now)
        if now >= 1000 + seconds:
            return decision
        history, now = decision.history, now + 1


def test_three_times_the_load_asks_for_three_times_the_instances_at_once():
    assert decide(POLICY, Situation(2, False), fresh(120), History(), 0).instances == 6


def test_a_rate_within_the_tolerance_changes_nothing():
    assert decide(POLICY, Situation(4, False), fresh(87), History(), 0).instances == 4
    assert decide(POLICY, Situation(4, False), fresh(89), History(), 0).instances == 5


def test_fewer_instances_must_have_been_enough_for_the_whole_window():
    assert after_calm(10, instances=6, seconds=59).instances == 6
    assert after_calm(10, instances=6, seconds=61).instances == 2


def test_it_goes_down_only_to_the_peak_of_the_window():
    history, now = History(), 0.0
    for rate in [60] * 30 + [10] * 31:
        decision = decide(POLICY, Situation(6, False), fresh(rate), history, now)
        history, now = decision.history, now + 1
    assert decision.instances == 3


def test_a_time_without_data_does_not_count_as_calm():
    history = after_calm(10, instances=6, seconds=50).history
    lost = decide(POLICY, Situation(6, False), Sample(1051, 0.0, Quality.STALE), history, 1051)
    assert lost.instances == 6
    assert decide(POLICY, Situation(6, False), fresh(10), lost.history, 1062).instances == 6


def test_nothing_is_taken_away_during_a_deployment_but_what_is_needed_is_added():
    assert after_calm(10, instances=6, seconds=100, deploying=True).instances == 6
    assert decide(POLICY, Situation(2, True), fresh(200), History(), 0).instances == 10


def test_an_app_outside_its_bounds_is_brought_back_whatever_the_data():
    stale = Sample(0, 0.0, Quality.STALE)
    assert decide(POLICY, Situation(1, False), stale, History(), 0).instances == 2
    assert decide(POLICY, Situation(50, False), stale, History(), 0).instances == 10


rates = st.floats(0, 1e6)
samples = st.one_of(st.builds(fresh, rates), st.builds(lambda: Sample(0, 0.0, Quality.STALE)))


@given(st.lists(samples, min_size=1, max_size=80), st.integers(2, 10), st.booleans())
def test_bad_data_never_lowers_and_bounds_are_never_left(series, instances, deploying):
    history, now = History(), 0.0
    for sample in series:
        decision = decide(POLICY, Situation(instances, deploying), sample, history, now)
        assert POLICY.min <= decision.instances <= POLICY.max
        if sample.quality is not Quality.FRESH or deploying:
            assert decision.instances >= instances
        history, now, instances = decision.history, now + 5, decision.instances


@given(rates, st.integers(2, 10))
def test_what_is_decided_upwards_serves_the_rate(rate, instances):
    decided = decide(POLICY, Situation(instances, False), fresh(rate), History(), 0).instances
    enough = min(POLICY.max, math.ceil(rate / POLICY.target))
    assert decided * POLICY.target * (1 + POLICY.tolerance) >= min(rate, enough * POLICY.target) - 1e-6


@given(st.lists(rates, max_size=200))
def test_history_stays_bounded(series):
    history = History()
    for second, rate in enumerate(series):
        history = decide(POLICY, Situation(2, False), fresh(rate), history, float(second)).history
    assert len(history.wanted) <= 2 * POLICY.down_after + 61
