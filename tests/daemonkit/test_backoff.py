from hypothesis import given
from hypothesis import strategies as st

from daemonkit.backoff import Backoff


def test_delays_double_up_to_the_most_and_start_anew_after_a_success():
    backoff = Backoff(first=1, most=5, jitter=0)
    assert [backoff.next() for _ in range(5)] == [1, 2, 4, 5, 5]
    backoff.reset()
    assert backoff.next() == 1


@given(st.integers(1, 2000), st.floats(0, 0.9))
def test_a_delay_never_leaves_the_spread_around_the_most(failures, jitter):
    backoff = Backoff(first=0.1, most=30, jitter=jitter)
    for _ in range(failures):
        assert 0 <= backoff.next() <= 30 * (1 + jitter)
