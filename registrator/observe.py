"""The sources together: when each is looked at, what it last showed, and whether that proves anything."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from daemonkit.backoff import Backoff
from daemonkit.health import Health
from daemonkit.logs import get_logger
from registrator.diff import Proof
from registrator.errors import SourceError
from registrator.merge import Kind, Seen, Truth
from registrator.metrics import Metrics
from registrator.sources.base import Source

log = get_logger(__name__)

# A source is busy with our looks for at most this share of the time, however fast the hints come.
_LOOK_SHARE = 0.25


@dataclass
class _Watched:
    source: Source
    seen: Seen = field(default_factory=Seen)
    dirty: bool = True
    looked_at: float = 0.0  # when the look that `seen` shows began
    fresh: bool = False
    not_before: float = 0.0
    backoff: Backoff = field(default_factory=lambda: Backoff(first=0.25, most=10.0))


class Observer:
    def __init__(self, sources: Sequence[Source], *, resync: float, metrics: Metrics, health: Health) -> None:
        self._watched = {source.name: _Watched(source) for source in sources}
        self._resync = resync
        self._metrics = metrics
        self._health = health

    @property
    def seen(self) -> Mapping[str, Seen]:
        return {name: watched.seen for name, watched in self._watched.items()}

    def mark(self, name: str) -> None:
        """Something may have changed there. What the framework announces concerns Mesos too."""
        self._watched[name].dirty = True
        if name == "framework" and "mesos" in self._watched:
            self._watched["mesos"].dirty = True

    def next_look(self) -> float:
        """When (loop time) the next look is due."""
        return min(
            max(watched.not_before, 0.0 if watched.dirty else watched.looked_at + self._resync)
            for watched in self._watched.values()
        )

    async def look(self, *, fresh: bool) -> None:
        """Looks at all sources that are due; with `fresh` at all of them, and for a new answer. Failures are kept, not raised."""
        now = _now()
        due = [
            watched
            for watched in self._watched.values()
            if fresh or (now >= watched.not_before and (watched.dirty or now - watched.looked_at >= self._resync))
        ]
        await asyncio.gather(*(self._look(watched, fresh) for watched in due))

    def proofs(self, truth: Truth) -> dict[Kind, Proof | None]:
        """What the present looks prove of the absence of each kind. Of a kind that no configured source knows, all is absent."""
        proofs: dict[Kind, Proof | None] = {}
        for kind, name in truth.authority.items():
            if name is None:
                proofs[kind] = Proof(at=_now(), fresh=True, empty=True)
                continue
            watched = self._watched[name]
            look = watched.seen.look
            if look is None or not watched.seen.proves_absence:
                proofs[kind] = None
            else:
                empty = not any(instance.kind == kind for instance in look.instances.values())
                proofs[kind] = Proof(watched.looked_at, watched.fresh, empty)
        return proofs

    async def watch(self, hint: Callable[[str, str], None], stop: asyncio.Event) -> None:
        """Follows all sources until `stop`; `hint` is called with a source's name and a reason."""

        def hint_of(name: str) -> Callable[[str], None]:
            return lambda reason: hint(name, reason)

        await asyncio.gather(
            *(self._watch(watched.source, hint_of(name), stop) for name, watched in self._watched.items())
        )

    async def close(self) -> None:
        for watched in self._watched.values():
            await watched.source.close()

    async def _watch(self, source: Source, hint: Callable[[str], None], stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await source.watch(hint, stop)
            except Exception as error:
                log.exception("a watch failed and is started again", source=source.name, error=repr(error))
                await asyncio.sleep(1.0)

    async def _look(self, watched: _Watched, fresh: bool) -> None:
        name, began = watched.source.name, _now()
        watched.dirty = False
        try:
            look = await watched.source.look(fresh=fresh)
        except Exception as error:
            if not isinstance(error, SourceError):
                log.exception("a look failed in a way that was not foreseen", source=name)
            if not watched.seen.failing:
                log.warning("a source fails; what it last showed stays", source=name, error=str(error))
            watched.seen = Seen(watched.seen.look, failing=str(error))
            watched.dirty = True
            watched.not_before = _now() + watched.backoff.next()
            self._health.failing(name, str(error))
            self._metrics.errors.labels(at=name).inc()
            self._metrics.source_up.labels(source=name).set(0)
            return
        took = _now() - began
        watched.seen, watched.looked_at, watched.fresh = Seen(look), began, fresh
        watched.not_before = _now() + took * (1 / _LOOK_SHARE - 1)
        watched.backoff.reset()
        self._health.ok(
            name, f"{len(look.instances)} instances" + (f"; {look.why_incomplete}" if look.why_incomplete else "")
        )
        self._metrics.source_up.labels(source=name).set(1)
        self._metrics.look_seconds.labels(source=name).observe(took)


def _now() -> float:
    return asyncio.get_running_loop().time()
