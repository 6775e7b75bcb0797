"""Measured demand: what a package ships as data (requirements-data.lock), read without importing it and never fetched at run time.

AutoTS ships two years of the hourly traffic of a motorway (I-94 in Minnesota, from its department of transportation): days, weeks,
holidays, storms, and two rush hours a day, as people make them.
"""

import csv
import io
import random
import zipfile
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, files
from itertools import pairwise

from autoscale.replay.trace import Trace

PACKAGE, FILE = "autots", "autots/datasets/data/traffic_hourly.zip"
HOUR, MINUTE = 3600, 60
CARS_A_REQUEST = 6.0  # cars an hour for a request a second: up to about 1,200 requests a second
NOISE = 0.04  # share by which a minute differs from the line between two hours


def motorway(days: int = 28, *, first_day: int = 150, seed: int = 6) -> Trace:
    """`days` days of it, minute by minute: a line from each hour to the next, and noise that is the same for the same seed.

    Raises RuntimeError where the package is not installed.
    """
    hours = _hours()[24 * first_day : 24 * (first_day + days) + 1]
    source = random.Random(seed)
    times, rates = [], []
    for (_, before), (_, after) in pairwise(hours):
        for minute in range(HOUR // MINUTE):
            level = before + (after - before) * minute * MINUTE / HOUR
            times.append(float(len(times) * MINUTE))
            rates.append(max(0.0, level / CARS_A_REQUEST * (1 + NOISE * source.gauss(0, 1))))
    return Trace("motorway", tuple(times), tuple(rates))


def _hours() -> list[tuple[float, float]]:
    """(time, cars an hour), oldest first."""
    try:
        [path] = [path for path in files(PACKAGE) or [] if str(path) == FILE]
    except (PackageNotFoundError, ValueError):
        raise RuntimeError(f"{FILE} is missing: `make setup-test` installs it") from None
    with zipfile.ZipFile(str(path.locate())) as archive:
        text = archive.read(archive.namelist()[0]).decode()
    found = {
        datetime.fromisoformat(row["datetime"]).replace(tzinfo=UTC).timestamp(): float(row["traffic_volume"] or 0)
        for row in csv.DictReader(io.StringIO(text))
    }
    return sorted(found.items())
