import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscale.decide import History, Situation, decide
from autoscale.forecast import KEPT, SLOT, STEEPEST, Season
from autoscale.policy import Policy
from autoscale.sample import Quality, Sample

DAY = 86_400.0
AHEAD = 900.0


def wave(at: float) -> float:
    return 500 - 400 * math.cos(2 * math.pi * at / DAY)


def learned(course, days: float, *, start: float = 0.0, season: Season | None = None) -> Season:
    season = season or Season()
    for number in range(round(days * DAY / SLOT)):
        now = start + number * SLOT
        season = season.after(course(now), course(now), now, AHEAD)
    return season


def test_on_the_first_day_nothing_is_expected():
    season = learned(wave, 0.9)
    assert season.expects(100, 0.9 * DAY, AHEAD) is None
    assert not season.is_better


def test_the_second_day_is_expected_to_be_as_the_first():
    season = learned(wave, 1.25)
    now = 1.25 * DAY
    assert season.expects(wave(now), now, AHEAD) == pytest.approx(wave(now + AHEAD), rel=0.01)
    assert season.is_better


def test_a_day_with_twice_the_traffic_is_expected_to_go_on_with_twice_the_traffic():
    season = learned(lambda at: wave(at) * (2 if at >= DAY else 1), 1.25)
    now = 1.25 * DAY
    assert season.expects(2 * wave(now), now, AHEAD) == pytest.approx(2 * wave(now + AHEAD), rel=0.01)


def test_days_that_are_not_alike_are_not_believed():
    season = learned(lambda at: wave(at) if at < DAY else 500 + 400 * math.sin(14 * math.pi * at / DAY), 1.9)
    assert season.expects(500, 1.9 * DAY, AHEAD) is not None
    assert not season.is_better


def test_trust_is_lost_when_the_days_change_and_comes_back_when_they_settle():
    season = learned(wave, 3)
    assert season.is_better
    season = learned(lambda at: wave(at + DAY / 2), 0.8, start=3 * DAY, season=season)
    assert not season.is_better
    season = learned(lambda at: wave(at + DAY / 2), 4, start=3.8 * DAY, season=season)
    assert season.is_better


def test_what_was_missed_is_not_expected_from():
    season = learned(wave, 0.5)
    season = learned(wave, 0.25, start=0.75 * DAY, season=season)
    assert season.expects(100, DAY, AHEAD) is not None
    season = season.after(100, 100, 1.6 * DAY, AHEAD)
    assert season.expects(100, 1.6 * DAY, AHEAD) is None, "there was no look at this time yesterday"


def test_a_clock_that_goes_back_changes_nothing():
    season = learned(wave, 1.5)
    assert season.after(1.0, 1.0, DAY, AHEAD) is season


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 2 * DAY)), max_size=60))
def test_it_stays_bounded_and_finite(looks):
    season, now = Season(), 0.0
    for level, pause in looks:
        now += pause
        season = season.after(level, level, now, AHEAD)
        expected = season.expects(level, now, AHEAD)
        assert expected is None or 0 <= expected < math.inf
    assert len(season.levels) == KEPT and len(season.promises) <= AHEAD / SLOT + 1


def scaled(forecast: str, *, days: float) -> list[int]:
    """The counts of the last quarter of a day's climb, one look a minute."""
    policy = Policy(target=20, max=1000, forecast=forecast)
    history, instances, counts, now = History(), 5, [], 0.0
    while now < days * DAY:
        decision = decide(policy, Situation(instances, False), Sample(now, wave(now), Quality.FRESH), history, now)
        history, instances, now = decision.history, decision.instances, now + 60
        counts.append(instances)
    return counts[-180:]


def test_a_climb_that_comes_every_day_is_met_earlier_on_the_second_day():
    without, with_forecast = scaled("off", days=1.3), scaled("auto", days=1.3)
    assert all(one >= other for one, other in zip(with_forecast, without, strict=True))
    assert sum(with_forecast) > sum(without)


def test_a_forecast_raises_by_a_bounded_share_and_never_lowers():
    policy = Policy(target=20, max=1000, forecast="on")
    season = learned(lambda at: 1000.0 if (at % DAY) > DAY / 4 else 100.0, 1.245)
    history, now = History(season=season), 1.246 * DAY
    for _ in range(40):
        decision = decide(policy, Situation(5, False), Sample(now, 100.0, Quality.FRESH), history, now)
        history, now = decision.history, now + 1
    estimate = decision.history.estimate
    assert estimate is not None and estimate.reactive == pytest.approx(100)
    assert estimate.level == pytest.approx(100 * STEEPEST)
    assert "as forecast" in decision.reason
