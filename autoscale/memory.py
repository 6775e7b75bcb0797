"""What a restart must not forget: the past of each app, in one file that is replaced as a whole."""

from dataclasses import replace
from pathlib import Path

import orjson
from pydantic import TypeAdapter, ValidationError

from autoscale.steer import Past
from daemonkit.logs import get_logger

log = get_logger(__name__)

FORMAT = 2
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
    return {app: _after_a_gap(past, now, longest_gap) for app, past in pasts.items()}


def save(path: Path, pasts: dict[str, Past]) -> None:
    """Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(orjson.dumps({"format": FORMAT, "apps": pasts}))
    part.replace(path)


def _after_a_gap(past: Past, now: float, longest_gap: float) -> Past:
    estimate = past.history.estimate
    if estimate is None or now - estimate.at <= longest_gap:
        return past
    return replace(past, history=replace(past.history, estimate=None), asked=(), idle_since=None)
