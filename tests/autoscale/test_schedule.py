from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscale.schedule import Schedule

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
