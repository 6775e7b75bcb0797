import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscale import memory
from autoscale.decide import History, Situation, decide
from autoscale.policy import Policy
from autoscale.sample import Quality, Sample

POLICY = Policy(target=20, min=2, max=10, down_after=60)


def after(*rates: float) -> History:
    history = History()
    for second, rate in enumerate(rates):
        history = decide(POLICY, Situation(6, False), Sample(second, rate, Quality.FRESH), history, second).history
    return history


@given(rates=st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_a_restart_decides_as_if_it_had_not_happened(tmp_path_factory, rates):
    path = tmp_path_factory.mktemp("memory") / "history.json"
    history, now = after(*rates), float(len(rates))
    memory.save(path, {"/a": history})
    loaded = memory.load(path, now=now, longest_gap=60)
    sample = Sample(now, 10, Quality.FRESH)
    assert decide(POLICY, Situation(6, False), sample, loaded["/a"], now) == decide(
        POLICY, Situation(6, False), sample, history, now
    )


def test_a_long_time_away_is_a_gap(tmp_path):
    path = tmp_path / "history.json"
    memory.save(path, {"/a": after(10, 10, 10)})
    assert memory.load(path, now=50, longest_gap=60)["/a"].estimate is not None
    assert memory.load(path, now=100, longest_gap=60)["/a"].estimate is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 99, "histories": {}}', '{"format": 1, "histories": {"/a": {}}}']
)
def test_a_file_that_cannot_be_understood_is_left_behind(tmp_path, text):
    path = tmp_path / "history.json"
    path.write_text(text)
    assert memory.load(path, now=0, longest_gap=60) == {}
    memory.save(path, {"/a": History()})
    assert memory.load(path, now=0, longest_gap=60) == {"/a": History()}


def test_no_file_is_no_history(tmp_path):
    assert memory.load(tmp_path / "none.json", now=0, longest_gap=60) == {}
