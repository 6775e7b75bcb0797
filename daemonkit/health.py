"""Why a daemon is or is not healthy: named parts, each of which says so of itself."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from daemonkit.logs import get_logger

log = get_logger(__name__)


@dataclass(frozen=True)
class Part:
    healthy: bool
    why: str
    since: float  # epoch seconds of the last change of `healthy`


@dataclass
class Health:
    """The parts of one daemon. A part that never reported counts as unhealthy, so that "ready" means ready.

    `required` parts decide the answer of /health; others are shown but do not turn it red. `told(part, state)` hears of a part that
    begins to fail, and of one that is well again: a daemon's log is to say what its health says, and each only once.
    """

    required: tuple[str, ...] = ()
    told: Callable[[str, Part], None] | None = None
    _parts: dict[str, Part] = field(default_factory=dict)

    def ok(self, part: str, why: str = "") -> None:
        self._set(part, True, why)

    def failing(self, part: str, why: str) -> None:
        self._set(part, False, why)

    def forget(self, part: str) -> None:
        self._parts.pop(part, None)

    @property
    def healthy(self) -> bool:
        return all(name in self._parts and self._parts[name].healthy for name in self.required)

    def report(self) -> dict[str, object]:
        """`{healthy, parts: {name: {healthy, why, since}}}`"""
        parts = {name: {"healthy": False, "why": "has not reported yet", "since": 0.0} for name in self.required}
        parts |= {name: {"healthy": p.healthy, "why": p.why, "since": p.since} for name, p in self._parts.items()}
        return {"healthy": self.healthy, "parts": parts}

    def _set(self, part: str, healthy: bool, why: str) -> None:
        before = self._parts.get(part)
        since = before.since if before and before.healthy == healthy else time.time()
        self._parts[part] = now = Part(healthy, why, since)
        if self.told and healthy != (before.healthy if before else True):
            self.told(part, now)


def tell_log(name: str, part: Part) -> None:
    """For `told`: a warning with the reason, and a word when it is over."""
    if part.healthy:
        log.info("works again", part=name)
    else:
        log.warning("does not work", part=name, why=part.why)
