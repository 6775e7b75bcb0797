from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscale import memory
from autoscale.decide import Situation
from autoscale.policy import Behaviour, Policy, Rate
from autoscale.sample import Quality, Sample
from autoscale.steer import Past, steer

POLICY = Policy(target=20, min=2, max=10, down_after=60, down=Behaviour(60, (Rate("instances", 1, 60),)))


def after(*rates: float) -> Past:
    past = Past()
    for second, rate in enumerate(rates):
        past = steer(POLICY, Situation(6, False), Sample(second, rate, Quality.FRESH), past, second).past
    return past.accepted(len(rates), 6, 4)


@given(rates=st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_a_restart_decides_as_if_it_had_not_happened(tmp_path_factory, rates):
    path = tmp_path_factory.mktemp("memory") / "history.json"
    past, now = after(*rates), float(len(rates))
    memory.save(path, {"/a": past})
    loaded = memory.load(path, now=now, longest_gap=60)
    sample = Sample(now, 10, Quality.FRESH)
    assert loaded == {"/a": past}
    situation = Situation(6, False)
    assert steer(POLICY, situation, sample, loaded["/a"], now) == steer(POLICY, situation, sample, past, now)


def test_a_long_time_away_is_a_gap(tmp_path):
    path = tmp_path / "history.json"
    memory.save(path, {"/a": after(10, 10, 10)})
    assert memory.load(path, now=50, longest_gap=60)["/a"].history.estimate is not None
    assert memory.load(path, now=100, longest_gap=60)["/a"].history.estimate is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 99, "apps": {}}', '{"format": 2, "apps": {"/a": {"changes": 5}}}']
)
def test_a_file_that_cannot_be_understood_is_left_behind(tmp_path, text):
    path = tmp_path / "history.json"
    path.write_text(text)
    assert memory.load(path, now=0, longest_gap=60) == {}
    memory.save(path, {"/a": Past()})
    assert memory.load(path, now=0, longest_gap=60) == {"/a": Past()}


def test_no_file_is_no_history(tmp_path):
    assert memory.load(tmp_path / "none.json", now=0, longest_gap=60) == {}


@given(back=st.floats(2, 1e9), rates=st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_a_clock_that_was_set_back_changes_nothing_but_the_times(back, rates):
    now = 2e9 + len(rates)
    past = Past()
    for second, rate in enumerate(rates):
        past = steer(POLICY, Situation(6, False), Sample(2e9 + second, rate, Quality.FRESH), past, 2e9 + second).past
    past = past.accepted(now, 6, 4)
    moved = memory.continued(past, now - back, 60)
    sample = Sample(now, 10, Quality.FRESH)
    one = steer(POLICY, Situation(6, False), sample, past, now)
    other = steer(POLICY, Situation(6, False), replace(sample, at=now - back), moved, now - back)
    assert (one.instances, one.reason) == (other.instances, other.reason)
    assert memory.continued(past, now, 60) == past, "a clock that goes on is no reason to move anything"


def test_years_in_the_future_are_no_reason_to_hold_for_years():
    policy = Policy(target=20, min=1, max=10, down_after=60)
    past = Past()
    for second in range(0, 600, 10):
        sample = Sample(4e9 + second, 150, Quality.FRESH)
        past = steer(policy, Situation(8, False), sample, past, 4e9 + second).past
    past, now, count = past.accepted(4e9 + 600, 4, 8), 1.7e9, 8
    for second in range(0, 900, 10):
        past = memory.continued(past, now + second, 60)
        steered = steer(policy, Situation(count, False), Sample(now + second, 15, Quality.FRESH), past, now + second)
        past, count = steered.past, steered.instances
    assert count == 1
    assert past.history.season.slot is not None and past.history.season.slot < 4e9 / 300


@pytest.mark.parametrize("quality", [Quality.UNPROVEN_ZERO, Quality.TRUE_ZERO])
def test_a_clock_set_forward_proves_nothing(quality):
    """Not that an app was idle, nor that few instances were enough, nor that a zero can be believed."""
    policy = Policy(target=20, min=0, max=10, down_after=60, idle_after=300)
    past = Past()
    for now in (0.0, 10.0, 20.0, 7220.0, 7230.0):
        past = memory.continued(past, now, 60)
        steered = steer(policy, Situation(6, False), Sample(now, 0.0, quality), past, now)
        assert steered.instances == 6, steered.reason
        past = steered.past
