"""Versions and times as Marathon writes them: ISO 8601 in UTC with milliseconds. Such texts sort as the times do."""

from datetime import UTC, datetime
from functools import lru_cache


@lru_cache(maxsize=64)  # all that is announced of one batch bears the same time
def to_text(epoch_seconds: float) -> str:
    """`0.5` -> `1970-01-01T00:00:00.500Z`"""
    # Rounded first: a plain cut would turn x.9999 into the millisecond before.
    moment = datetime.fromtimestamp(round(epoch_seconds * 1000) / 1000, UTC)
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"


def to_epoch(text: str) -> float:
    """Any ISO 8601 time with an offset (none counts as UTC) -> epoch seconds. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
