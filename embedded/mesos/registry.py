"""What the master remembers over a restart: who its frameworks and agents are, and what operators told it about them.

One JSON file, replaced as a whole. Changes of one turn of the event loop are written once, at its end, or earlier by `flush`,
which whoever answers a client calls first: what was accepted is on disk. A disk that refuses is logged and tried again with
the next change; the master works on from memory.
"""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import orjson

from daemonkit.files import write_atomically
from daemonkit.logs import get_logger
from embedded.mesos.errors import MesosError

Json = dict[str, Any]
log = get_logger(__name__)

SECTIONS = ("frameworks", "removed_frameworks", "agents", "gone_agents", "unreachable_agents")
KEPT_REMOVED = 1000  # ids of removed frameworks and gone agents


class Registry:
    """Sections of entries by id. Change them through `put` and `drop` alone."""

    def __init__(self, path: Path | None) -> None:
        """Without a path nothing outlives the process. Raises MesosError if there is a file and it cannot be read."""
        self._path = path
        self._sections: dict[str, dict[str, Any]] = {name: {} for name in (*SECTIONS, "settings")}
        self._pending: asyncio.Handle | None = None
        self.size = 0  # bytes, as last written
        if path:
            self._load(path)

    def entries(self, section: str) -> dict[str, Any]:
        return self._sections[section]

    def put(self, section: str, key: str, value: object) -> None:
        entries = self._sections[section]
        entries[key] = value
        if section in ("removed_frameworks", "gone_agents"):
            while len(entries) > KEPT_REMOVED:
                entries.pop(next(iter(entries)))
        self._changed()

    def drop(self, section: str, key: str) -> None:
        if self._sections[section].pop(key, None) is not None:
            self._changed()

    def _changed(self) -> None:
        if self._path and self._pending is None:
            self._pending = asyncio.get_running_loop().call_soon(self.save)

    def flush(self) -> None:
        """Writes at once what has changed."""
        if self._pending:
            self.save()

    def save(self) -> None:
        if self._pending:
            self._pending.cancel()
            self._pending = None
        if not self._path:
            return
        data = orjson.dumps(self._sections, option=orjson.OPT_INDENT_2)
        try:
            write_atomically(self._path, data)
            self.size = len(data)
        except OSError as error:
            log.error("the registry cannot be written", path=str(self._path), error=str(error))

    def _load(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                stored = orjson.loads(path.read_bytes())
                for name, entries in self._sections.items():
                    entries.update(stored.get(name, {}))
        except OSError as error:
            raise MesosError(
                f"{path} cannot be read: {error.strerror}; give another --state-dir or its rights"
            ) from None
        except (orjson.JSONDecodeError, AttributeError, ValueError):
            raise MesosError(f"{path} is damaged; move it away to begin with an empty cluster") from None
