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
