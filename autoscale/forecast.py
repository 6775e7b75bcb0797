"""What yesterday says about the next minutes, believed only while it has been nearer to the truth than no forecast.

The demand's slow average is kept for a day in slots. The forecast is yesterday's course from this time of the day on, on today's
level. Each forecast is kept until its time has come; the back-test compares its error with that of the level as it was then.
"""

import math
from dataclasses import dataclass, replace

SLOT = 300.0  # seconds
SLOTS = 288  # a day
KEPT = SLOTS + 2  # a day back from any moment within the current slot, and the slot after that
BETTER = 0.9  # the share of the error without a forecast that the forecast's error must stay below
FEWEST_TESTED = 3  # forecasts whose time has come, before one is believed
STEEPEST = 1.5  # the most that a forecast may raise the level by, as a factor
SCALE = (0.5, 2.0)  # how far today's level may be from yesterday's
FORGETTING = math.exp(-1 / SLOTS)


@dataclass(frozen=True)
class Promise:
    """What was said of `slot`: by the forecast, and by the level of the time when it was said."""

    slot: int
    forecast: float
    level: float


@dataclass(frozen=True)
class Season:
    """The last day. `levels[slot % KEPT]` is the slow average at the slot's begin, None where it is not known."""

    slot: int | None = None
    levels: tuple[float | None, ...] = (None,) * KEPT
    promises: tuple[Promise, ...] = ()
    tested: int = 0
    error: float = 0.0
    error_without: float = 0.0

    @property
    def is_better(self) -> bool:
        """Whether the forecast has been nearer to the truth of late than the level without it."""
        return self.tested >= FEWEST_TESTED and self.error < BETTER * self.error_without

    def expects(self, slow: float, now: float, ahead: float) -> float | None:
        """The level in `ahead` seconds, None where yesterday is not known."""
        then, later = self._yesterday(now), self._yesterday(now + ahead)
        if not then or later is None:
            return None
        least, most = SCALE
        return later * min(most, max(least, slow / then))

    def after(self, slow: float, level: float, now: float, ahead: float) -> "Season":
        """With what is known now: the same value until a new slot begins. `ahead` in seconds."""
        slot = int(now // SLOT)
        if self.slot is not None and slot <= self.slot:
            return self
        levels = list(self.levels)
        first_missed = slot - KEPT if self.slot is None else max(self.slot + 1, slot - KEPT)
        for missed in range(first_missed, slot):
            levels[missed % KEPT] = None
        promised = int((now + ahead) // SLOT)
        forecast = self.expects(slow, now, promised * SLOT - now)
        levels[slot % KEPT] = slow
        due = [promise for promise in self.promises if promise.slot == slot]
        error, error_without = self.error * FORGETTING, self.error_without * FORGETTING
        for promise in due:
            error += abs(promise.forecast - slow)
            error_without += abs(promise.level - slow)
        promises = tuple(promise for promise in self.promises if promise.slot > slot)
        if forecast is not None:
            promises = (*promises, Promise(promised, forecast, level))
        return replace(
            self,
            slot=slot,
            levels=tuple(levels),
            promises=promises,
            tested=self.tested + len(due),
            error=error,
            error_without=error_without,
        )

    def _yesterday(self, moment: float) -> float | None:
        """The slow average a day before `moment`, between two slots."""
        if self.slot is None:
            return None
        place = moment / SLOT - SLOTS
        slot = math.floor(place)
        if not self.slot - KEPT < slot < self.slot:
            return None
        one, two = self.levels[slot % KEPT], self.levels[(slot + 1) % KEPT]
        return None if one is None or two is None else one + (two - one) * (place - slot)
