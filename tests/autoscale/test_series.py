import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscale import series_file
from autoscale.series import Point, Series


def test_a_minute_shows_the_highest_of_each():
    series = Series(10)
    series.note(60, 5, 1, 2, 2)
    series.note(90, 9, 0.5, 3, 1)
    series.note(119, None, None, 3, None)
    assert series.points() == [Point(60, 9, 1, 3, 2)]


def test_minutes_that_were_not_seen_are_unknown():
    series = Series(10)
    series.note(60, 5, 1, 2, 2)
    series.note(240, 6, 1, 2, 2)
    assert [(point.at, point.rate) for point in series.points()] == [(60, 5), (120, None), (180, None), (240, 6)]


def test_after_a_time_longer_than_the_chart_it_begins_anew():
    series = Series(10)
    series.note(60, 5, 1, 2, 2)
    series.note(6000, 6, 1, 2, 2)
    assert [point.at for point in series.points()] == [6000]


@settings(deadline=None)
@given(st.lists(st.floats(-200, 2000), max_size=60))
def test_it_stays_within_its_length_and_in_order_whatever_the_clock_does(steps):
    series, now = Series(20), 1e6
    for step in steps:
        now += step
        series.note(now, 1, 1, 1, 1)
        points = series.points()
        assert 1 <= len(points) <= 20
        assert [point.at for point in points] == [points[0].at + 60 * index for index in range(len(points))]
        assert points[-1].rate == 1


def test_charts_go_on_after_a_restart(tmp_path):
    path = tmp_path / "charts.bin"
    web, api = Series(100), Series(100)
    for minute in range(130):
        web.note(60.0 * minute, minute, 1, 2, None)
    api.note(60, 5, 1, 2, 2)
    series_file.save(path, {"/web": web, "/api": api})
    loaded = series_file.load(path, 100)
    assert {app: one.points() for app, one in loaded.items()} == {"/web": web.points(), "/api": api.points()}
    loaded["/api"].note(180, 7, 1, 2, 2)
    assert [point.rate for point in loaded["/api"].points()] == [5, None, 7]


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"format": 9, "apps": []}\n', b'{"format": 1, "apps": [["/a", 5, 3]]}\n\0\0']
)
def test_a_file_that_cannot_be_understood_is_left_behind(tmp_path, content):
    path = tmp_path / "charts.bin"
    path.write_bytes(content)
    assert series_file.load(path, 100) == {}
    assert series_file.load(tmp_path / "none.bin", 100) == {}
