"""Demand over time: read from CSV, or made by a generator."""

import csv
import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from autoscale.errors import TraceError

DAY = 86_400.0
LATEST = 1e11  # seconds, in the year 5138: a later time was meant in milliseconds
LONGEST = 20 * 366 * DAY
MOST = 1e12  # requests a second
GAP = 3.0  # a pause this many times the usual step is a gap: nothing is known of the demand in it


@dataclass(frozen=True)
class Trace:
    """Requests a second, each value holding from its time (seconds) to the next; `step` is the usual distance."""

    name: str
    times: tuple[float, ...]
    rates: tuple[float, ...]

    @property
    def step(self) -> float:
        gaps = sorted(after - before for before, after in pairwise(self.times))
        return gaps[len(gaps) // 2] if gaps else 60.0

    @property
    def end(self) -> float:
        return self.times[-1] + self.step


def read_csv(path: Path) -> Trace:
    """Reads `time,value` rows, with or without a header. Time: epoch seconds or ISO 8601 (UTC where it names no zone).

    Raises TraceError that names the line. An empty value is a gap.
    """
    times: list[float] = []
    rates: list[float] = []
    try:
        with path.open(newline="") as file:
            for number, row in enumerate(csv.reader(file), 1):
                if not row or (number == 1 and not _is_time(row[0])):
                    continue
                try:
                    at, value = _time(row[0]), row[1].strip()
                except (ValueError, IndexError) as error:
                    raise TraceError(f"{path}, line {number}: {','.join(row)!r} is not time,value ({error})") from None
                if value:
                    times.append(at)
                    rates.append(_rate(value, path, number))
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(f"{path} cannot be read: {error}") from None
    if len(times) < 2:
        raise TraceError(f"{path} has fewer than two samples")
    if any(after <= before for before, after in pairwise(times)):
        first = next(index for index, (before, after) in enumerate(pairwise(times), 2) if after <= before)
        raise TraceError(f"{path}: sample {first} is not later than the one before it; sort the file by time")
    if times[-1] - times[0] > LONGEST:
        raise TraceError(f"{path} is about {(times[-1] - times[0]) / DAY:,.0f} days; 20 years are the most")
    return Trace(path.stem, tuple(times), tuple(rates))


def _is_time(text: str) -> bool:
    """Or at least a number: what is wrong with it is told of its line."""
    try:
        float(text)
        return True
    except ValueError:
        pass
    try:
        _time(text)
    except ValueError:
        return False
    return True


def _time(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not math.isfinite(value):
        raise ValueError("not a time")
    if abs(value) > LATEST:
        raise ValueError("a time is in seconds; this looks like milliseconds")
    return value


def _rate(text: str, path: Path, number: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= MOST:
        raise TraceError(f"{path}, line {number}: {text!r} is not a number of requests per second")
    return value


def generate(
    name: str,
    days: float,
    demand: Callable[[float, random.Random], float],
    *,
    seed: int = 1,
    step: float = 60.0,
    noise: float = 0.02,
    bursts_a_day: float = 10.0,
    burst_sizes: tuple[float, float] = (0.1, 0.3),
    burst_minutes: tuple[float, float] = (2.0, 8.0),
) -> Trace:
    """A trace of `demand(seconds, randomness)` as traffic has it: with noise, and bursts of some minutes. The same for the same seed.

    The defaults are such that over a day's wave other autoscalers act and turn back as often as they do on the recorded traffic of
    WorldCup98, at the same size: HPA 22 actions and 8 reversals a day, Nomad 90 and 73, AWS 24 and 12, marathon-lb-autoscale 6 and 2.
    """
    source = random.Random(f"{name}/{seed}")
    count = round(days * DAY / step)
    bursts = [0.0] * count
    for _ in range(round(bursts_a_day * days)):
        start, size = source.randrange(count), source.uniform(*burst_sizes)
        for index in range(start, min(count, start + round(60 * source.uniform(*burst_minutes) / step))):
            bursts[index] = max(bursts[index], size)
    times = tuple(index * step for index in range(count))
    rates = tuple(
        max(0.0, demand(at, source) * (1 + burst) * (1 + noise * source.gauss(0, 1)))
        for at, burst in zip(times, bursts, strict=True)
    )
    return Trace(name, times, rates)


def diurnal(days: float = 14, *, low: float = 100, high: float = 800, seed: int = 1) -> Trace:
    """Day and night, and weaker week-ends: the common case."""

    def demand(at: float, _source: random.Random) -> float:
        day = (at / DAY) % 7
        wave = (1 - math.cos(2 * math.pi * (at / DAY - 0.15))) / 2
        weight = 0.7 if day >= 5 else 1.0
        return low + (high - low) * weight * wave * math.sqrt(wave)

    return generate("diurnal", days, demand, seed=seed)


def growth(days: float = 28, *, seed: int = 5) -> Trace:
    """A product that grows: the wave of the day with an evening peak, four times as high at the end."""

    def demand(at: float, _source: random.Random) -> float:
        scale = 1 + 3 * at / (days * DAY)
        from_peak = (at / 3600 - 19) % 24
        from_peak = min(from_peak, 24 - from_peak)
        return 150 * scale * (0.25 + 0.9 * math.exp(-(from_peak**2) / 18))

    return generate("growth", days, demand, seed=seed)


def ramps(days: float = 14, *, low: float = 60, high: float = 1200, seed: int = 3) -> Trace:
    """Each day one steady climb to twentyfold and one fall, with flat parts between them."""

    def demand(at: float, _source: random.Random) -> float:
        phase = (at / DAY) % 1
        share = min(1.0, phase / 0.35) if phase < 0.5 else max(0.0, 1 - (phase - 0.5) / 0.35)
        return low + (high - low) * share

    return generate("ramps", days, demand, seed=seed)


def walk(days: float = 14, *, start: float = 400, seed: int = 4) -> Trace:
    """No season at all: a rate that drifts, which no forecast can know."""
    level = start

    def demand(_at: float, source: random.Random) -> float:
        nonlocal level
        level = min(2000.0, max(40.0, level * math.exp(0.012 * source.gauss(0, 1))))
        return level

    return generate("walk", days, demand, seed=seed)


def spikes(days: float = 14, *, base: float = 200, seed: int = 2) -> Trace:
    """A day's wave with a sudden crowd a day: each a few times the usual, gone within the hour."""
    source = random.Random(seed)
    crowds = [
        (source.uniform(0, days * DAY), source.uniform(1.0, 4.0), source.uniform(300, 2400)) for _ in range(round(days))
    ]

    def demand(at: float, _source: random.Random) -> float:
        wave = 1 + 0.5 * math.sin(2 * math.pi * at / DAY)
        crowd = sum(
            size * math.exp(-(at - start) / length) for start, size, length in crowds if 0 <= at - start < 6 * length
        )
        return base * (wave + crowd)

    return generate("spikes", days, demand, seed=seed)


def step_up(*, before: float, after: float, at: float = 3600.0, seconds: float = 7200.0, step: float = 5.0) -> Trace:
    """One step, for the time that a policy needs to follow."""
    times = tuple(index * step for index in range(round(seconds / step)))
    return Trace("step", times, tuple(after if when >= at else before for when in times))


def with_gap(trace: Trace, start: float, end: float) -> Trace:
    """The same without the samples in between."""
    kept = [(at, rate) for at, rate in zip(trace.times, trace.rates, strict=True) if not start <= at < end]
    return Trace(f"{trace.name} with a gap", *_columns(kept))


def _columns(samples: Iterable[tuple[float, float]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    times, rates = zip(*samples, strict=True)
    return times, rates
