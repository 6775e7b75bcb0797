"""Who answers for a service: it itself, or its standby. On command, or because it has had too few healthy instances for too long.

A command lasts until it is taken back, over restarts of the daemon. A switch that was made for want of instances ends by itself once
there have been enough of them for the same time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import orjson

from daemonkit.files import write_atomically
from nginx.errors import EdgeError
from nginx.model import Model, Service

Position = Literal["standby", "own", "auto"]


@dataclass(frozen=True, slots=True)
class Watch:
    """What is remembered of a service with a standby. `since`: when its count went over the line it is now on the other side of."""

    switched: bool = False
    since: float | None = None


def judge(service: Service, standby_is_ready: bool, watch: Watch, position: Position, now: float) -> Watch:
    """Pure. Whether the standby is to answer from now on. A standby without an instance never takes over by itself."""
    standby = service.standby
    if standby is None:
        return Watch()
    if position != "auto":
        return Watch(position == "standby", None)
    enough = len(service.endpoints) >= standby.minimum or not standby_is_ready
    if enough == (not watch.switched):
        return Watch(watch.switched, None)
    since = watch.since if watch.since is not None else now
    if now - since >= standby.after:
        return Watch(not enough, None)
    return Watch(watch.switched, since)


@dataclass
class Switchboard:
    """The positions that were commanded, kept in `path`, and the watches."""

    path: Path
    positions: dict[str, Position] = field(default_factory=dict)
    watches: dict[str, Watch] = field(default_factory=dict)

    @property
    def is_waiting(self) -> bool:
        """Whether time alone may change who answers."""
        return any(watch.since is not None for watch in self.watches.values())

    def load(self) -> None:
        """A file that cannot be read is an operator's business: the edge must not guess who answers."""
        try:
            found = orjson.loads(self.path.read_bytes())
        except FileNotFoundError:
            return
        except (OSError, orjson.JSONDecodeError) as error:
            raise EdgeError(
                f"{self.path} cannot be read: {error}; mend it, or remove it to undo all switches"
            ) from None
        self.positions = {str(name): value for name, value in found.items() if value in ("standby", "own")}

    def command(self, service: str, position: Position) -> None:
        """Raises EdgeError if it cannot be kept."""
        positions = {name: value for name, value in self.positions.items() if name != service}
        if position != "auto":
            positions[service] = position
        try:
            write_atomically(self.path, orjson.dumps(positions))
        except OSError as error:
            raise EdgeError(f"the switch cannot be kept in {self.path}: {error.strerror}") from None
        self.positions = positions

    def judge(self, model: Model, now: float) -> frozenset[str]:
        """The services whose standby is to answer now."""
        services: Mapping[str, Service] = model.services
        watches = {}
        for name, service in services.items():
            if service.standby is not None:
                ready = bool(services[service.standby.service].endpoints)
                position = self.positions.get(name, "auto")
                watches[name] = judge(service, ready, self.watches.get(name, Watch()), position, now)
        self.watches = watches
        return frozenset(name for name, watch in watches.items() if watch.switched)
