from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscale.errors import PolicyError
from autoscale.schedule import Schedule, checked

OFFICE = Schedule("0 8 * * 1-5", 10 * 3600, "Europe/Berlin", min=4)


def at(text: str, zone: str = "Europe/Berlin") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("when", "active"),
    [
        ("2026-03-27 07:59:59", False),
        ("2026-03-27 08:00", True),
        ("2026-03-27 17:59:59", True),
        ("2026-03-27 18:00", False),
        ("2026-03-28 12:00", False),  # Saturday
        ("2026-03-30 07:59:59", False),  # the clocks went forward in between
        ("2026-03-30 08:00", True),
        ("2026-10-26 07:59:59", False),  # and back
        ("2026-10-26 08:00", True),
    ],
)
def test_a_window_opens_at_the_wall_clocks_time_of_its_zone(when, active):
    assert OFFICE.is_active(at(when)) is active


def test_windows_that_overlap_are_one():
    hourly = Schedule("0 * * * *", 2 * 3600, min=1)
    assert all(hourly.is_active(at("2026-05-01 00:30") + minute * 60) for minute in range(300))


@given(st.floats(0, 4e9), st.sampled_from(["*/7 * * * *", "30 2 * * *", "0 0 1 * *", "15 14 * * 0"]), st.booleans())
def test_it_is_active_for_its_length_after_each_time_and_at_no_other(now, cron, berlin):
    schedule = Schedule(cron, 60, "Europe/Berlin" if berlin else "UTC", min=1)
    fields = cron.split()
    local = datetime.fromtimestamp(now, ZoneInfo(schedule.zone))
    minutes = range(0, 60, 7) if fields[0] == "*/7" else [int(fields[0])]
    matches = (
        local.minute in minutes
        and fields[1] in ("*", str(local.hour))
        and fields[2] in ("*", str(local.day))
        and fields[4] in ("*", str(local.isoweekday() % 7))
    )
    if schedule.is_active(now) is not matches:
        # Only the hour that a change of clocks skips or repeats may differ.
        assert len({datetime.fromtimestamp(now + hours * 3600, local.tzinfo).utcoffset() for hours in (-26, 0, 26)}) > 1


@given(st.integers(0, 3600))
def test_a_window_shorter_than_a_start_stays_open_from_its_early_opening_to_its_end(second):
    """It opens early by the time that a start takes: those instances are not to be given back before it has begun."""
    short, opens = Schedule("0 12 * * *", 30, "UTC", min=4), at("2026-05-01 12:00", "UTC")
    now = opens - 1800 + second
    assert short.is_active(now, early=120) is (opens - 120 <= now < opens + 30)


@pytest.mark.parametrize("cron", ["R R * * *", "r(1-5) * * * *", "H * * * *", "0 0 30 2 *", "* * * *", "0 0 * * * *"])
def test_what_names_no_certain_time_is_no_schedule(cron):
    with pytest.raises(PolicyError):
        checked(Schedule(cron, 60, min=1))


def test_the_hour_that_is_skipped_opens_its_window_all_the_same_and_the_one_that_is_there_twice_opens_it_once():
    night = Schedule("30 2 * * *", 600, "Europe/Berlin", min=1)
    for day in ("2026-03-29", "2026-10-25"):
        midnight = at(f"{day} 00:00")
        open_for = sum(60 for minute in range(6 * 60) if night.is_active(midnight + 60 * minute))
        assert open_for == 600, day
