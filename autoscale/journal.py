"""Why each app has the number of instances that it has: every decision and every non-decision, kept on disk within bounds.

Entries are JSON lines in `journal.jsonl`; a full file becomes `journal.1.jsonl` and the one before it goes. A line that a crash cut short
is passed over when they are read again. A full disk costs entries on disk, never a decision.
"""

import contextlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Literal

import orjson

from daemonkit.logs import get_logger

log = get_logger(__name__)

Outcome = Literal["held", "scaled", "refused", "ignored", "standby", "shadow", "dry run"]
REPEATED = ("held", "ignored", "standby", "dry run", "refused")  # said again and again while nothing changes
REPEATED_AFTER = 60.0  # seconds


@dataclass(frozen=True)
class Entry:
    """One look at one app: `at` (epoch seconds), how many instances it had, how many it is to have, and why."""

    at: float
    app: str
    instances: int
    decided: int
    reason: str
    outcome: Outcome
    rate: float | None = None  # of the first signal, where it was known
    quality: str = ""  # of the samples


class Journal:
    def __init__(self, directory: Path, *, max_bytes: int, in_memory: int) -> None:
        self._file = directory / "journal.jsonl"
        self._older = directory / "journal.1.jsonl"
        self._max_bytes = max_bytes
        self._entries: deque[Entry] = deque(maxlen=in_memory)
        self._kept: dict[str, Entry] = {}  # the last of each app
        self._newest: dict[str, Entry] = {}
        self._most_apps = in_memory
        self._output: FileIO | None = None
        self._failing = False  # the disk's trouble is told once
        for path in (self._older, self._file):
            for entry in _read(path):
                self._remember(entry)

    def note(self, entry: Entry) -> bool:
        """Keeps it, unless it says the same as the app's last one that was kept, less than a minute ago. Whether it was kept."""
        last = self._kept.get(entry.app)
        self._newest[entry.app] = entry
        if (
            last
            and entry.outcome in REPEATED
            and (entry.outcome, entry.instances, entry.decided, entry.quality)
            == (last.outcome, last.instances, last.decided, last.quality)
            and 0 <= entry.at - last.at < REPEATED_AFTER  # the clock may be set back
        ):
            return False
        self._remember(entry)
        try:
            self._write(entry)
            if self._failing:
                log.info("the journal is written again", path=str(self._file))
            self._failing = False
        except OSError as error:
            if not self._failing:
                log.warning("the journal cannot be written", path=str(self._file), error=error.strerror)
            self._failing = True
        return True

    def of(self, app: str | None = None, *, most: int = 200, since: float = 0.0) -> list[Entry]:
        """The newest entries, oldest first, and each app's latest look, kept or not.

        Those of a named app that memory has no room for are looked up on disk.
        """
        entries = list(self._entries)  # a round may add to it meanwhile
        newest = list(self._newest.values()) if app is None else [self._newest[app]] if app in self._newest else []
        latest = [entry for entry in newest if entry is not self._kept.get(entry.app)]
        found = [entry for entry in [*entries, *latest] if app in (None, entry.app) and entry.at >= since]
        found = sorted(found, key=lambda entry: entry.at)[-most:]
        if app is None or len(found) >= most:
            return found
        oldest = found[0].at if found else float("inf")
        older: deque[Entry] = deque(maxlen=most - len(found))
        for path in (self._older, self._file):
            older.extend(entry for entry in _read(path, app) if since <= entry.at < oldest)
        return [*older, *found]

    def _remember(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._kept[entry.app] = self._newest[entry.app] = entry
        while len(self._kept) > self._most_apps:  # apps come and go: the one that was heard of first is forgotten
            gone = next(iter(self._kept))
            del self._kept[gone]
            self._newest.pop(gone, None)

    def _write(self, entry: Entry) -> None:
        line = orjson.dumps(entry) + b"\n"
        if self._output is not None and self._output.tell() > self._max_bytes / 2:
            self._output.close()
            self._output = None
            self._file.replace(self._older)
        if self._output is None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._output = self._file.open("ab", buffering=0)
        self._output.write(line)

    def close(self) -> None:
        if self._output is not None:
            self._output.close()
            self._output = None


def _read(path: Path, app: str | None = None) -> Iterator[Entry]:
    """The entries of a file that can be understood, of one app or of all."""
    mark = b'"app":' + orjson.dumps(app)
    with contextlib.suppress(OSError), path.open("rb") as lines:
        for line in lines:
            if app is None or mark in line:
                with contextlib.suppress(ValueError, TypeError):
                    entry = Entry(**orjson.loads(line))
                    if isinstance(entry.at, int | float) and isinstance(entry.app, str):
                        yield entry
