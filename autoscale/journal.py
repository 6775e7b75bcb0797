"""Why each app has the number of instances that it has: every decision and every non-decision, kept on disk within bounds.

Entries are JSON lines in `journal.jsonl`; a full file becomes `journal.1.jsonl` and the one before it goes. A line that a crash cut short
is passed over when they are read again. A full disk costs entries on disk, never a decision.
"""

import contextlib
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import orjson

from daemonkit.logs import get_logger

log = get_logger(__name__)

Outcome = Literal["held", "scaled", "refused", "ignored"]


@dataclass(frozen=True)
class Entry:
    """One look at one app: `at` (epoch seconds), how many instances it had, how many it is to have, and why."""

    at: float
    app: str
    instances: int
    decided: int
    reason: str
    outcome: Outcome
    rate: float | None = None  # requests a second, where they were known


class Journal:
    def __init__(self, directory: Path, *, max_bytes: int, in_memory: int) -> None:
        self._file = directory / "journal.jsonl"
        self._older = directory / "journal.1.jsonl"
        self._max_bytes = max_bytes
        self._entries: deque[Entry] = deque(maxlen=in_memory)
        self._last: dict[str, Entry] = {}
        for path in (self._older, self._file):
            for entry in _read(path):
                self._remember(entry)

    def note(self, entry: Entry) -> None:
        """Keeps it in memory; on disk too unless it says the same as the app's last entry there."""
        last = self._last.get(entry.app)
        self._remember(entry)
        if (
            last
            and entry.outcome == "held" == last.outcome
            and entry.instances == last.instances
            and entry.at - last.at < 60
        ):
            self._last[entry.app] = last  # so that a minute after it, the next one is written
            return
        try:
            self._write(entry)
        except OSError as error:
            log.warning("the journal cannot be written", path=str(self._file), error=error.strerror)

    def of(self, app: str | None = None, *, most: int = 200, since: float = 0.0) -> list[Entry]:
        """The newest entries, oldest first."""
        found = [entry for entry in self._entries if app in (None, entry.app) and entry.at >= since]
        return found[-most:]

    def _remember(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._last[entry.app] = entry

    def _write(self, entry: Entry) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        if self._file.exists() and self._file.stat().st_size > self._max_bytes / 2:
            self._file.replace(self._older)
        with self._file.open("ab") as file:
            file.write(orjson.dumps(asdict(entry)) + b"\n")


def _read(path: Path) -> list[Entry]:
    entries = []
    with contextlib.suppress(OSError):
        for line in path.read_bytes().splitlines():
            with contextlib.suppress(ValueError, TypeError):
                entries.append(Entry(**orjson.loads(line)))
    return entries
