"""The state directory: where the daemons keep theirs, and where the platform remembers that it runs."""

import contextlib
import fcntl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from daemonkit.files import write_atomically
from dromos.errors import CommandError
from dromos.up.process import PidFile

# Apps' variables and what Consul keeps are nobody else's on this machine. Nginx' workers and tasks of other users pass through the rest.
_FOLDERS = (("run", 0o755), ("logs", 0o755), ("framework", 0o700), ("consul", 0o700), ("autoscale", 0o700))


@dataclass(frozen=True)
class StateDir:
    path: Path

    @property
    def supervisor(self) -> PidFile:
        return PidFile(self.path / "run" / "supervisor.json")

    def pid_file(self, daemon: str) -> PidFile:
        return PidFile(self.path / "run" / f"{daemon}.json")

    def log(self, daemon: str) -> Path:
        return self.path / "logs" / f"{daemon}.log"

    def create(self) -> None:
        """Raises CommandError where it cannot be written."""
        try:
            for folder, mode in _FOLDERS:
                (self.path / folder).mkdir(parents=True, exist_ok=True, mode=mode)
                (self.path / folder).chmod(mode)
            probe = self.path / "run" / ".probe"
            probe.write_bytes(b"x" * 4096)
            probe.unlink()
        except OSError as error:
            raise CommandError(
                f"state directory {self.path} cannot be written: {error.strerror}; choose another with --state-dir"
            ) from None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Held by the one supervisor of this directory. Raises CommandError if another has it."""
        with (self.path / "run" / "lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CommandError(
                    f"a platform already runs with state directory {self.path}; see `dromos status`, or give another --state-dir"
                ) from None
            yield

    def remember(self, facts: dict[str, Any]) -> None:
        """What `status` and `down` need to know of the platform that runs here."""
        write_atomically(self.path / "run" / "platform.json", orjson.dumps(facts, option=orjson.OPT_INDENT_2))

    def recall(self) -> dict[str, Any] | None:
        try:
            facts = orjson.loads((self.path / "run" / "platform.json").read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return None
        return facts if isinstance(facts, dict) else None

    def left(self) -> dict[str, tuple[str, ...]]:
        """The command lines of the daemons that were remembered last, in the order in which they were started."""
        return {str(one["name"]): tuple(map(str, one["argv"])) for one in self._remembered()}

    def held_ports(self, *, edge_runs: bool) -> set[int]:
        """The ports of those of them that still run. The edge's proxy may do so without its daemon."""
        return {
            int(port)
            for one in self._remembered()
            if self.pid_file(one["name"]).read() or (one["name"] == "edge" and edge_runs)
            for port, _ in one["ports"]
        }

    def _remembered(self) -> list[dict[str, Any]]:
        found = (self.recall() or {}).get("daemons")
        return found if isinstance(found, list) else []

    def forget(self) -> None:
        (self.path / "run" / "platform.json").unlink(missing_ok=True)
