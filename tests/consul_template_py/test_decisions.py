"""The pure decisions: when a burst is over, when a drop is believed, how often a reload may happen."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consul_template_py.guard import Believe, Doubt, Guard, Hold, confirmed, judge
from consul_template_py.quiescence import Burst, Wait, changed, due, parse_wait
from consul_template_py.token_bucket import Bucket, Rate, full, take

TIMES = st.lists(st.floats(0, 100), min_size=1, max_size=20).map(sorted)


@given(TIMES, st.floats(0, 10), st.floats(0, 10))
def test_a_burst_ends_after_a_quiet_period_and_never_later_than_its_deadline(
    times: list[float], quiet: float, more: float
) -> None:
    wait, burst = Wait(quiet, quiet + more), None
    for time in times:
        burst = changed(burst, time)
    assert burst is not None
    assert due(burst, wait) <= times[0] + wait.max
    assert due(burst, wait) <= times[-1] + wait.min
    assert due(burst, wait) >= min(times[-1], times[0] + wait.max)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2s", Wait(2, 8)), ("2s:10s", Wait(2, 10)), ("250ms", Wait(0.25, 1)), ("1", Wait(1, 4)), ("0:0", Wait())],
)
def test_wait_is_written_as_consul_template_writes_it(text: str, expected: Wait) -> None:
    assert parse_wait(text) == expected


@pytest.mark.parametrize("text", ["", "soon", "1:2:3", "5s:2s", "-1s", "1s:"])
def test_a_wait_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_wait(text)


def test_no_wait_is_due_at_once() -> None:
    assert due(Burst(5.0, 7.0), Wait()) == 5.0


GUARD = Guard(min_instances=2, max_drop_percent=50, hold_down=10)


@pytest.mark.parametrize(
    ("before", "offered", "held"),
    [
        (10, 10, False),
        (10, 12, False),
        (10, 5, False),  # half is not more than half
        (10, 4, True),
        (10, 0, True),
        (3, 1, True),  # fewer than the floor
        (2, 2, False),
        (1, 1, False),  # it was below the floor already, and believed
        (1, 0, True),
        (None, 5, False),
        (None, 1, True),  # at the start the floor holds too
        (0, 0, False),
    ],
)
def test_what_is_doubted(before: int | None, offered: int, held: bool) -> None:
    assert isinstance(judge(GUARD, before, offered, None, 100.0), Hold) is held


@pytest.mark.parametrize(
    ("before", "offered", "held"), [(10, 9, True), (10, 10, False), (10, 11, False), (None, 5, False)]
)
def test_of_a_server_that_is_behind_any_drop_is_doubted(before: int | None, offered: int, held: bool) -> None:
    verdict = judge(GUARD, before, offered, None, 100.0, behind=True)
    assert isinstance(verdict, Hold) is held
    if isinstance(verdict, Hold):
        assert judge(GUARD, before, offered, confirmed(verdict.doubt), 110.0, behind=True) == Believe()


def test_a_drop_goes_through_once_it_is_confirmed_and_has_lasted() -> None:
    first = judge(GUARD, 10, 0, None, 100.0)
    assert isinstance(first, Hold) and first.confirm and first.again_at == 110.0
    unconfirmed = judge(GUARD, 10, 0, first.doubt, 1000.0)
    assert isinstance(unconfirmed, Hold) and unconfirmed.confirm
    early = judge(GUARD, 10, 0, confirmed(first.doubt), 109.9)
    assert isinstance(early, Hold) and not early.confirm
    assert judge(GUARD, 10, 0, confirmed(first.doubt), 110.0) == Believe()


def test_a_drop_that_recovers_was_never_seen() -> None:
    assert judge(GUARD, 10, 9, Doubt(100.0, confirmed=True), 105.0) == Believe()


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 20), st.floats(1, 100))
def test_growth_is_always_believed_and_a_doubt_always_has_an_end(
    before: int, offered: int, floor: int, percent: float
) -> None:
    guard = Guard(floor, percent, 5.0)
    verdict = judge(guard, before, offered, None, 0.0)
    if offered >= before:
        assert verdict == Believe()
    if isinstance(verdict, Hold):
        assert judge(guard, before, offered, confirmed(verdict.doubt), verdict.again_at) == Believe()


@given(TIMES, st.floats(0.1, 10), st.integers(1, 5))
@example([0.0, 0.0, 0.5, 1.0, 10.0], 0.1, 4)
def test_never_more_than_the_burst_and_the_rate_allow(times: list[float], per_second: float, burst: int) -> None:
    rate, bucket, taken = Rate(per_second, burst), full(Rate(per_second, burst), times[0]), 0
    for time in times:
        bucket, delay = take(rate, bucket, time)
        taken += delay == 0
        assert 0 <= bucket.tokens <= burst and delay >= 0
    assert taken <= burst + per_second * (times[-1] - times[0]) + 1e-6


def test_after_the_wait_that_it_names_there_is_a_token() -> None:
    rate = Rate(2.0, 1)
    bucket, delay = take(rate, full(rate, 0.0), 0.0)
    assert delay == 0
    bucket, delay = take(rate, bucket, 0.1)
    assert delay == pytest.approx(0.4)
    assert take(rate, bucket, 0.1 + delay)[1] == 0


def test_without_a_rate_there_is_no_limit() -> None:
    assert take(Rate(), Bucket(0, 0), 0.0)[1] == 0
