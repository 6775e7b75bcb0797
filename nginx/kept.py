"""Services without an instance whose route is to stay for long: what their last instances said, in a file that outlives the daemon.

An app that was scaled to zero is woken by its first request, which needs a route to be counted at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson

from daemonkit.files import write_atomically
from daemonkit.logs import get_logger
from nginx.model import Instance

log = get_logger(__name__)


@dataclass(frozen=True)
class Gone:
    """`until`: epoch seconds."""

    instances: tuple[Instance, ...]
    until: float


@dataclass
class Kept:
    """By service. What cannot be read is told and begun anew: a route then comes back with the service's next instance."""

    path: Path
    services: dict[str, Gone] = field(default_factory=dict)
    _saved: bool = True

    def load(self) -> None:
        try:
            stored = orjson.loads(self.path.read_bytes())
            self.services = {name: _gone(entry) for name, entry in stored.items()}
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("kept routes cannot be read", path=str(self.path), error=str(error)[:300])

    def keep(self, name: str, instances: Sequence[Instance], until: float) -> None:
        """Until the next `save` in memory alone: many may go at once."""
        self.services[name] = Gone(tuple(instances), until)
        self._saved = False

    def drop(self, name: str) -> None:
        if self.services.pop(name, None) is not None:
            self._saved = False

    def save(self) -> None:
        """Writes the file, if something has changed; where it cannot be written, that is told, and the next change tries again."""
        if self._saved:
            return
        self._saved = True
        document = {
            name: {
                "until": gone.until,
                "instances": [asdict(replace(one, meta={})) | {"meta": dict(one.meta)} for one in gone.instances],
            }
            for name, gone in sorted(self.services.items())
        }
        try:
            write_atomically(self.path, orjson.dumps(document), mode=0o600)
        except OSError as error:
            log.warning("kept routes cannot be written", path=str(self.path), error=str(error))


def _gone(entry: Mapping[str, Any]) -> Gone:
    found = []
    for stored in entry["instances"]:
        fields = {
            **stored,
            "tags": tuple(stored["tags"]),
            "meta": MappingProxyType(dict(stored["meta"])),
            "healthy": False,
        }
        found.append(Instance(**fields))
    return Gone(tuple(found), float(entry["until"]))
