"""What a restart must not forget: the past of each app, in one file that is replaced as a whole."""

from dataclasses import replace
from itertools import chain
from pathlib import Path

import orjson
from pydantic import TypeAdapter, ValidationError

from autoscale.forecast import SLOT, Season
from autoscale.steer import Past
from daemonkit.files import write_atomically
from daemonkit.logs import get_logger

log = get_logger(__name__)

FORMAT = 2
CLOCKS_DIFFER = 1.0  # seconds that a clock may be set back by without a word
_PAST = TypeAdapter(Past)


def load(path: Path, *, now: float, longest_gap: float) -> dict[str, Past]:
    """Pasts by app. A time away that is longer than `longest_gap` seconds is a gap in the data, as an outage is.

    A file that cannot be read is told and left behind: the autoscaler starts without history, which can hold or raise, never lower.
    """
    try:
        document = orjson.loads(path.read_bytes())
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']}, not {FORMAT}")
        pasts = {app: _PAST.validate_python(stored) for app, stored in document["apps"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        log.warning("history cannot be read, starting without it", path=str(path), error=str(error)[:300])
        return {}
    return {app: continued(past, now, longest_gap) for app, past in pasts.items()}


def save(path: Path, pasts: dict[str, Past]) -> None:
    """Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, orjson.dumps({"format": FORMAT, "apps": pasts}), durable=False)


def continued(past: Past, now: float, longest_gap: float) -> Past:
    """The past as it may be gone on with at `now`.

    A time without a look is a gap in the data, and so is a clock that was set forward: neither proves that few instances were enough. What
    lies in the future, since the clock was set back, is moved so that its newest moment is now: nothing is held until the clock is there.
    """
    newest = _newest(past)
    if newest > now + CLOCKS_DIFFER:
        past = _moved(past, now - newest, now)
    estimate = past.history.estimate
    if estimate is None or now - estimate.at <= longest_gap:
        return past
    return replace(past, history=replace(past.history, estimate=None, zero_since=None), asked=(), idle_since=None)


def _newest(past: Past) -> float:
    history = past.history
    looked = history.estimate.at if history.estimate else None
    times = (looked, history.raised_at, history.zero_since, past.idle_since)
    lasts = (entries[-1][0] for entries in (past.asked, past.changes) if entries)
    return max(chain((time for time in times if time is not None), lasts, history.reversals[-1:]), default=0.0)


def _moved(past: Past, by: float, now: float) -> Past:
    def moved(time: float | None) -> float | None:
        return None if time is None else time + by

    history = past.history
    if (estimate := history.estimate) is not None:
        estimate = replace(
            estimate,
            at=estimate.at + by,
            peaks=tuple((at + by, level) for at, level in estimate.peaks),
            marks=tuple((at + by, level) for at, level in estimate.marks),
            known_since=estimate.known_since + by,
        )
    # The times of the day that it knows were none.
    season = Season() if (history.season.slot or 0) > now // SLOT else history.season
    return replace(
        past,
        history=replace(
            history,
            estimate=estimate,
            reversals=tuple(at + by for at in history.reversals),
            raised_at=moved(history.raised_at),
            zero_since=moved(history.zero_since),
            season=season,
        ),
        asked=tuple((at + by, least, most) for at, least, most in past.asked),
        changes=tuple((at + by, before, change) for at, before, change in past.changes),
        idle_since=moved(past.idle_since),
    )
