"""What a restart must not forget: the history of each app, in one file that is replaced as a whole."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from autoscale.decide import History
from autoscale.estimate import Estimate
from daemonkit.logs import get_logger

log = get_logger(__name__)

FORMAT = 1


def load(path: Path, *, now: float, longest_gap: float) -> dict[str, History]:
    """Histories by app. A time away that is longer than `longest_gap` seconds is a gap in the data, as an outage is.

    A file that cannot be read is told and left behind: the autoscaler starts without history, which can hold or raise, never lower.
    """
    try:
        document = orjson.loads(path.read_bytes())
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']}, not {FORMAT}")
        return {
            app: _history(stored, now=now, longest_gap=longest_gap) for app, stored in document["histories"].items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("history cannot be read, starting without it", path=str(path), error=str(error))
        return {}


def save(path: Path, histories: dict[str, History]) -> None:
    """Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    document = {"format": FORMAT, "histories": {app: asdict(history) for app, history in histories.items()}}
    part.write_bytes(orjson.dumps(document))
    part.replace(path)


def _history(stored: dict[str, Any], *, now: float, longest_gap: float) -> History:
    estimate = None
    if stored["estimate"] and now - stored["estimate"]["at"] <= longest_gap:
        fields = dict(stored["estimate"])
        fields["peaks"] = tuple((at, level) for at, level in fields["peaks"])
        fields["marks"] = tuple((at, level) for at, level in fields["marks"])
        estimate = Estimate(**fields)
    return History(estimate, tuple(stored["reversals"]), stored["direction"], stored["zero_since"])
