from hypothesis import given
from hypothesis import strategies as st

from autoscale.sample import Quality, Reading, Readings


def readings(*entries: tuple[float, float, float], window: float = 10) -> Readings:
    """(at, started, requests of /a)"""
    found = Readings(window)
    for at, started, total in entries:
        found = found.with_reading(Reading(at, started, {"/a": total}))
    return found


def test_a_rate_is_the_growth_over_the_window():
    sample = readings((0, 0, 100), (5, 0, 150), (10, 0, 300)).sample("/a", 10, fresh_for=5)
    assert (sample.rate, sample.quality) == (20.0, Quality.FRESH)


def test_one_reading_is_not_a_rate():
    assert readings((0, 0, 100)).sample("/a", 0, fresh_for=5).quality is Quality.STALE


def test_what_is_too_old_is_not_fresh():
    known = readings((0, 0, 100), (5, 0, 200))
    assert known.sample("/a", 9, fresh_for=5).quality is Quality.FRESH
    assert known.sample("/a", 11, fresh_for=5).quality is Quality.STALE


def test_a_restart_of_the_load_balancer_is_never_a_drop_in_traffic():
    known = readings((0, 0, 1000), (5, 0, 1100), (7, 6, 3))
    assert known.sample("/a", 7, fresh_for=5).quality is Quality.STALE
    assert known.with_reading(Reading(9, 6, {"/a": 43})).sample("/a", 9, fresh_for=5).rate == 20.0


def test_a_counter_that_falls_without_a_restart_is_not_believed():
    assert readings((0, 0, 1000), (5, 0, 10)).sample("/a", 5, fresh_for=5).quality is Quality.STALE


def test_a_counter_that_is_there_and_stands_still_is_a_true_zero():
    sample = readings((0, 0, 7), (5, 0, 7)).sample("/a", 5, fresh_for=5)
    assert (sample.rate, sample.quality) == (0.0, Quality.TRUE_ZERO)


def test_without_its_counter_nothing_proves_a_zero():
    sample = readings((0, 0, 1), (5, 0, 1)).sample("/quiet", 5, fresh_for=5)
    assert (sample.rate, sample.quality) == (0.0, Quality.UNPROVEN_ZERO)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1e6)), min_size=2, max_size=20))
def test_a_rate_is_never_negative(entries):
    found = Readings(30)
    at = 0.0
    for gap, total in entries:
        at += gap
        found = found.with_reading(Reading(at, 0, {"/a": total}))
    assert found.sample("/a", at, fresh_for=5).rate >= 0
