import itertools
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
    assert decide(POLICY, Situation(4, False), fresh(88), History(), 0).instances == 4
    assert decide(POLICY, Situation(4, False), fresh(92), History(), 0).instances == 5


def test_fewer_instances_must_have_been_enough_for_the_whole_window():
    assert after_calm(10, instances=6, seconds=59).instances == 6
    assert after_calm(10, instances=6, seconds=61).instances == 2


def test_after_a_crowd_has_gone_it_goes_down_step_by_step_to_what_is_needed():
    counts, history, now, instances = [], History(), 0.0, 2
    for rate in [100] * 120 + [20] * 400:
        decision = decide(POLICY, Situation(instances, False), fresh(rate), history, now)
        history, now, instances = decision.history, now + 1, decision.instances
        counts.append(instances)
    assert max(counts) == 5 and counts[-1] == 2
    fall = counts[counts.index(5) :]
    assert fall == sorted(fall, reverse=True), "no way back up on the way down"
    assert counts[120 + 10] == 5, "ten seconds of calm are not enough"


def test_going_on_in_a_direction_needs_less_than_turning_round():
    def after(direction: int, rate: float, seconds: int = 2400) -> int:
        history = History(direction=direction, raised_at=0.0 if direction > 0 else None)
        for second in range(seconds):
            decision = decide(POLICY, Situation(6, False), fresh(rate), history, float(second))
            history = decision.history
            if decision.instances != 6:
                break
        return decision.instances

    serves = 20 * 1.1
    assert after(-1, 5 * serves * 0.96) == 5, "on the way down"
    assert after(1, 5 * serves * 0.96) == 6, "not enough to turn round"
    assert after(1, 5 * serves * 0.85) == 5
    assert after(1, 6 * serves * 1.04) == 7, "on the way up"
    assert after(-1, 6 * serves * 1.04) == 6, "not enough to turn round"
    assert after(-1, 6 * serves * 1.07) == 7


def test_after_a_rise_it_does_not_turn_down_for_a_while_that_grows_with_the_calm_asked_for():
    def seconds_until_down(down_after: float) -> float:
        policy = Policy(target=20, min=2, max=10, down_after=down_after)
        history, now, instances = History(), 0.0, 2
        while now < 10_000:
            decision = decide(policy, Situation(instances, False), fresh(150 if now == 0 else 20), history, now)
            if decision.instances < instances:
                return now
            history, now, instances = decision.history, now + 5, decision.instances
        raise AssertionError("never")

    assert seconds_until_down(10) == 60
    assert 1800 <= seconds_until_down(600) <= 3600


def test_few_instances_are_to_serve_less_above_the_target_than_many():
    assert decide(POLICY, Situation(1, False), fresh(21.5), History(), 0).instances == 2
    assert decide(POLICY, Situation(2, False), fresh(42), History(), 0).instances == 2
    assert decide(POLICY, Situation(2, False), fresh(43), History(), 0).instances == 3


def test_an_app_that_swings_is_left_with_more_instead_of_being_started_and_stopped():
    def reversals(decided: list[int]) -> int:
        steps = [after - before for before, after in itertools.pairwise(decided) if after != before]
        return sum(1 for one, two in itertools.pairwise(steps) if one * two < 0)

    counts, history, now, instances = [], History(), 0.0, 3
    for minute in range(180):
        for _ in range(60):
            rate = 75 if (minute // 5) % 2 else 50
            decision = decide(POLICY, Situation(instances, False), fresh(rate), history, now)
            history, now, instances = decision.history, now + 1, decision.instances
            counts.append(instances)
    assert reversals(counts[: len(counts) // 2]) > reversals(counts[len(counts) // 2 :])


def test_a_time_without_data_does_not_count_as_calm():
    history = after_calm(10, instances=6, seconds=50).history
    lost = decide(POLICY, Situation(6, False), Sample(1051, 0.0, Quality.STALE), history, 1051)
    assert lost.instances == 6
    assert decide(POLICY, Situation(6, False), fresh(10), lost.history, 1062).instances == 6


def test_a_zero_that_nothing_proves_is_held_against_for_a_quarter_of_an_hour():
    history, now, counts = History(), 0.0, []
    for second in range(1200):
        zero = second >= 60
        sample = Sample(now, 0.0, Quality.UNPROVEN_ZERO) if zero else fresh(120)
        decision = decide(POLICY, Situation(6, False), sample, history, now)
        history, now = decision.history, now + 1
        counts.append(decision.instances)
    assert set(counts[: 60 + 900]) == {6}
    assert counts[-1] == 2


def test_a_proven_zero_goes_down_as_any_calm_does():
    history, now = History(), 0.0
    for _ in range(200):
        decision = decide(POLICY, Situation(6, False), Sample(now, 0.0, Quality.TRUE_ZERO), history, now)
        history, now = decision.history, now + 1
    assert decision.instances == 2


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
    assert decided * POLICY.target * 1.1 * 1.15 >= min(rate, enough * POLICY.target) - 1e-6


@given(st.lists(st.tuples(rates, st.floats(0, 100)), max_size=200), st.integers(2, 10))
def test_history_stays_bounded(series, instances):
    history, now = History(), 0.0
    for rate, pause in series:
        now += pause
        history = decide(POLICY, Situation(instances, False), fresh(rate), history, now).history
        assert history.estimate is not None
        assert len(history.estimate.marks) <= 32
