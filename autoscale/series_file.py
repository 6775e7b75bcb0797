"""The charts' series over a restart, in one file: a line of JSON that says what is in it, then the rows as 32-bit numbers."""

from array import array
from collections.abc import Mapping
from pathlib import Path

import orjson

from autoscale.series import ROWS, Series
from daemonkit.files import write_atomically
from daemonkit.logs import get_logger

log = get_logger(__name__)

FORMAT = 1


def save(path: Path, series: Mapping[str, Series]) -> None:
    """Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    apps = [[app, one.end, len(one.rows[0])] for app, one in series.items()]
    head = orjson.dumps({"format": FORMAT, "apps": apps}) + b"\n"
    write_atomically(path, head + b"".join(row.tobytes() for one in series.values() for row in one.rows), durable=False)


def load(path: Path, minutes: int) -> dict[str, Series]:
    """What was saved; a file that cannot be read is told and left behind: charts then begin anew."""
    found = {}
    try:
        with path.open("rb") as file:
            document = orjson.loads(file.readline())
            if document["format"] != FORMAT:
                raise ValueError(f"format {document['format']}, not {FORMAT}")
            for app, end, length in document["apps"]:
                rows = tuple(array("f") for _ in range(ROWS))
                for row in rows:
                    row.fromfile(file, length)
                found[app] = Series(minutes, end=end, rows=rows)
    except FileNotFoundError:
        return {}
    except (OSError, EOFError, ValueError, KeyError, TypeError, OverflowError, MemoryError) as error:
        log.warning("charts cannot be read, starting without them", path=str(path), error=str(error)[:300])
        return {}
    return found
