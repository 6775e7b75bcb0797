import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscale.sample import Quality, Reading, Readings, Sample, Traffic, together


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


def edge(at: float, totals: dict[str, float], **more: float) -> Reading:
    numbers = {name: {"/a": value} for name, value in more.items() if name != "beat"}
    return Reading(at, 0, totals, beat=more.get("beat"), **numbers)


def test_a_source_whose_clock_stands_still_is_a_frozen_picture():
    found = Readings(10)
    for at in (0, 3, 6):
        found = found.with_reading(edge(at, {"/a": 50}, beat=1000))
    assert found.sample("/a", 6, fresh_for=5).quality is Quality.STALE
    alive = Readings(10)
    for at in (0, 3, 6):
        alive = alive.with_reading(edge(at, {"/a": 50}, beat=1000 + at))
    assert alive.sample("/a", 6, fresh_for=5).quality is Quality.TRUE_ZERO


def test_traffic_that_ends_for_all_apps_at_one_moment_is_no_true_zero_until_it_comes_back():
    found = Readings(4)
    for at in (0, 2, 4):
        found = found.with_reading(Reading(at, 0, dict.fromkeys("abc", 10.0 * at) | {"/quiet": 5.0}))
    for at in (6, 8, 10, 12):
        found = found.with_reading(Reading(at, 0, dict.fromkeys("abc", 40.0) | {"/quiet": 5.0}))
    assert {found.sample(app, 12, fresh_for=5).quality for app in (*"abc", "/quiet")} == {Quality.UNPROVEN_ZERO}
    for at in (14, 16):
        found = found.with_reading(Reading(at, 0, {"a": 40 + at, "b": 40.0, "c": 40.0}))
    assert found.sample("a", 16, fresh_for=5).quality is Quality.FRESH
    assert found.sample("b", 16, fresh_for=5).quality is Quality.TRUE_ZERO


def test_one_app_that_ends_while_others_go_on_has_a_true_zero():
    found = Readings(4)
    for at in (0, 2, 4, 6, 8, 10):
        found = found.with_reading(Reading(at, 0, {"a": min(at, 4) * 10.0, "b": at * 10.0, "c": at * 10.0}))
    assert found.sample("a", 10, fresh_for=5).quality is Quality.TRUE_ZERO


def test_latency_errors_and_what_is_under_way_are_those_of_the_window():
    found = Readings(10)
    found = found.with_reading(edge(0, {"/a": 100}, seconds=50, answered=100, errors=1, active=4, queued=9))
    found = found.with_reading(edge(10, {"/a": 200}, seconds=55, answered=200, errors=6, active=6, queued=2))
    traffic = found.traffic("/a", 10, fresh_for=5)
    assert (traffic.sample.rate, traffic.latency, traffic.error_rate) == (10.0, 0.05, 0.5)
    assert (traffic.active, traffic.queued) == (5.0, 2.0)


def test_a_source_without_sums_tells_its_own_mean():
    found = Readings(10).with_reading(edge(0, {"/a": 1}, mean=0.3)).with_reading(edge(5, {"/a": 9}, mean=0.2))
    assert found.traffic("/a", 5, fresh_for=5).latency == 0.2


def traffic(rate: float, quality: Quality, latency: float | None = None) -> Traffic:
    return Traffic(Sample(0, rate, quality), 1, 0, 0, latency)


GOOD, LOST = traffic(10, Quality.FRESH, 0.1), traffic(0, Quality.STALE)
ZERO, DOUBTED = traffic(0, Quality.TRUE_ZERO), traffic(0, Quality.UNPROVEN_ZERO)


@pytest.mark.parametrize(
    ("parts", "quorum", "rate", "quality"),
    [
        ([GOOD, GOOD, GOOD], 2, 30, Quality.FRESH),
        ([GOOD, GOOD, LOST], 2, 20, Quality.PARTIAL),
        ([GOOD, LOST, LOST], 2, 0, Quality.STALE),
        ([GOOD, ZERO], 2, 10, Quality.FRESH),
        ([ZERO, ZERO], 2, 0, Quality.TRUE_ZERO),
        ([ZERO, DOUBTED], 2, 0, Quality.UNPROVEN_ZERO),
        ([ZERO, LOST], 1, 0, Quality.PARTIAL),
        ([LOST], 1, 0, Quality.STALE),
    ],
)
def test_several_load_balancers_are_added_up_as_far_as_they_answer(parts, quorum, rate, quality):
    whole = together(parts, 0, quorum=quorum)
    assert (whole.sample.rate, whole.sample.quality) == (rate, quality)


def test_latencies_are_weighed_by_traffic():
    whole = together([traffic(30, Quality.FRESH, 0.1), traffic(10, Quality.FRESH, 0.5)], 0, quorum=1)
    assert whole.latency == pytest.approx(0.2)
