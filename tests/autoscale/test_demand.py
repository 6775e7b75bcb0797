import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscale.demand import Measured, combined, told
from autoscale.policy import Policy, Signal
from autoscale.sample import Quality, Sample

REQUESTS, CPU, LATENCY = Signal("requests", 20), Signal("cpu", 0.5), Signal("latency", 0.2)
POLICY = Policy(20, signals=(REQUESTS, CPU))


def measured(signal: Signal, value: float, quality: Quality = Quality.FRESH) -> Measured:
    return Measured(signal, Sample(0, value, quality))


def test_the_signal_that_asks_for_most_instances_wins():
    sample = combined(POLICY, [measured(REQUESTS, 60), measured(CPU, 2.5)], 4, 0)
    assert (sample.rate / POLICY.target, sample.quality) == (5.0, Quality.FRESH)
    sample = combined(POLICY, [measured(REQUESTS, 140), measured(CPU, 2.5)], 4, 0)
    assert sample.rate == 140


def test_latency_asks_for_more_of_what_is_in_rotation_but_for_no_more_than_twice_that():
    assert measured(LATENCY, 0.3).needed(4) == pytest.approx(6)
    assert measured(LATENCY, 9).needed(4) == 8


@pytest.mark.parametrize(
    ("first", "second", "rate", "quality"),
    [
        (Quality.FRESH, Quality.STALE, 60, Quality.PARTIAL),
        (Quality.STALE, Quality.STALE, 0, Quality.STALE),
        (Quality.FRESH, Quality.PARTIAL, 100, Quality.PARTIAL),
        (Quality.FRESH, Quality.UNPROVEN_ZERO, 60, Quality.PARTIAL),
        (Quality.TRUE_ZERO, Quality.TRUE_ZERO, 0, Quality.TRUE_ZERO),
        (Quality.TRUE_ZERO, Quality.UNPROVEN_ZERO, 0, Quality.UNPROVEN_ZERO),
        (Quality.FRESH, Quality.TRUE_ZERO, 60, Quality.FRESH),
    ],
)
def test_what_one_signal_does_not_know_leaves_the_whole_partial(first, second, rate, quality):
    zeros = (Quality.STALE, Quality.TRUE_ZERO, Quality.UNPROVEN_ZERO)
    parts = [
        measured(REQUESTS, 0 if first in zeros else 60, first),
        measured(CPU, 0 if second in zeros else 2.5, second),
    ]
    sample = combined(POLICY, parts, 4, 0)
    assert (sample.rate, sample.quality) == (rate, quality)


def test_all_signals_are_told_the_largest_first():
    text = told([measured(REQUESTS, 60), measured(CPU, 2.5), measured(LATENCY, 0, Quality.STALE)])
    assert text.startswith("cpu: 2.5 CPU shares in use of 0.5 an instance; requests: 60 requests/s of 20")
    assert "latency: stale" in text


@given(st.lists(st.tuples(st.floats(0, 1e6), st.sampled_from(Quality)), min_size=1, max_size=4))
def test_only_whole_and_proven_data_may_lower(values):
    parts = [measured(REQUESTS, value, quality) for value, quality in values]
    sample = combined(POLICY, parts, 3, 0)
    if sample.quality.may_lower:
        assert all(quality.may_lower for _, quality in values)
