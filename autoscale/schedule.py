"""Bounds that hold at certain times: a cron expression that opens a window, its length, and a time zone."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from croniter import croniter

from autoscale.errors import PolicyError

LONGEST = 366 * 86_400.0


@dataclass(frozen=True)
class Schedule:
    """From each time that `cron` names (minute hour day month weekday, in `zone`) and for `seconds`, `min` and `max` hold instead.

    A None leaves the policy's own bound.
    """

    cron: str
    seconds: float
    zone: str = "UTC"
    min: int | None = None
    max: int | None = None

    def is_active(self, now: float, early: float = 0.0) -> bool:
        """Whether a window is open, or opens within `early` seconds."""
        opened, next_opens = _around(self.cron, self.zone, now)
        return now < opened + self.seconds or next_opens <= now + early


def checked(schedule: Schedule) -> Schedule:
    """The same one. Raises PolicyError with what cannot be."""
    fields = schedule.cron.split()
    # croniter takes letters that stand for a time by chance, too: a window is to be the same at each look.
    if len(fields) != 5 or any(field[:1].upper() in ("R", "H") for field in fields) or not _is_cron(schedule.cron):
        raise PolicyError(f"{schedule.cron!r} is not a cron expression: minute hour day month weekday")
    try:
        ZoneInfo(schedule.zone)
    except (OSError, ValueError, KeyError):
        raise PolicyError(f"{schedule.zone!r} is not a time zone like Europe/Berlin") from None
    if not 0 < schedule.seconds <= LONGEST:
        raise PolicyError(f"a schedule's window of {schedule.seconds:g} s is to be above 0 and at most a year")
    if schedule.min is None and schedule.max is None:
        raise PolicyError(f"schedule {schedule.cron!r} names neither min nor max")
    lowest, highest = schedule.min, schedule.max
    if (lowest is not None and lowest < 0) or (highest is not None and highest < 1):
        raise PolicyError(f"schedule {schedule.cron!r}: min is to be at least 0 and max at least 1")
    if lowest is not None and highest is not None and lowest > highest:
        raise PolicyError(f"schedule {schedule.cron!r}: min {lowest} is above max {highest}")
    try:
        _around(schedule.cron, schedule.zone, datetime.now(UTC).timestamp())
    except (ValueError, KeyError):
        raise PolicyError(f"{schedule.cron!r} names no time that ever comes") from None
    return schedule


def _is_cron(text: str) -> bool:
    try:
        return bool(croniter.is_valid(text))
    except Exception:  # its parser trips over some texts
        return False


def _around(cron: str, zone: str, now: float) -> tuple[float, float]:
    """The last time at or before `now` that the expression names, and the next one. Looked up once between two of them."""
    known = _windows(cron, zone)
    if not known[0] <= now < known[1]:
        known[:] = _search(cron, zone, now)
    return known[0], known[1]


@lru_cache(maxsize=10_000)
def _windows(_cron: str, _zone: str) -> list[float]:
    return [0.0, 0.0]


def _search(cron: str, zone: str, now: float) -> tuple[float, float]:
    # croniter's own arithmetic is on the wall clock; each hit is then read in the zone, so that 08:00 stays 08:00 over a change of
    # clocks. In the hour that is there twice, the first one counts.
    local = datetime.fromtimestamp(now, ZoneInfo(zone)).replace(tzinfo=None)

    def instant(wall: datetime) -> float:
        return wall.replace(tzinfo=ZoneInfo(zone)).timestamp()

    before = croniter(cron, local + timedelta(seconds=1)).get_prev(datetime)
    after = croniter(cron, before).get_next(datetime)
    while instant(after) <= now:
        before, after = after, croniter(cron, after).get_next(datetime)
    while instant(before) > now:
        before, after = croniter(cron, before).get_prev(datetime), before
    return instant(before), instant(after)
