"""A copy on this machine of what was last read, which serves when Consul is away. Readable by its owner alone."""

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

import orjson

from consul_template_py.config_centre.model import Effective
from daemonkit.files import write_atomically


@dataclass(frozen=True, slots=True)
class Copy:
    values: dict[str, Effective]
    at: float  # epoch seconds

    @property
    def age(self) -> float:
        return max(0.0, time.time() - self.at)


class Cache:
    """One file for each Consul, prefix and environment, below `folder`."""

    def __init__(self, folder: Path, *scope: str) -> None:
        self._folder = folder
        self._scope = scope

    def save(self, environment: str, values: dict[str, Effective]) -> None:
        """Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._path(environment)
        entries = {name: [value.value, value.origin] for name, value in values.items() if _is_text(value.value)}
        body = orjson.dumps({"at": time.time(), "environment": environment, "values": entries})
        write_atomically(path, body, mode=0o600)

    def load(self, environment: str) -> Copy | None:
        """None where there is no copy that can be read."""
        try:
            found = orjson.loads(self._path(environment).read_bytes())
            values = {name: Effective(value, origin) for name, (value, origin) in found["values"].items()}
            return Copy(values, float(found["at"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _path(self, environment: str) -> Path:
        scope = hashlib.sha256("\0".join([*self._scope, environment]).encode()).hexdigest()[:16]
        return self._folder / f"{environment}-{scope}.json"


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
