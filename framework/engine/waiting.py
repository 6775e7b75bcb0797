"""A spec with instances that wait for an offer, and what came of those that it was shown: what the queue tells of it."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from framework.decide.match_offers import OpenOffer, Requirement
from framework.engine.view import QueueItem, UnusedOffer
from framework.model.offer import Offer
from framework.model.run_spec import RunSpec


@dataclass(slots=True)
class Entry:
    spec: RunSpec
    requirement: Requirement
    count: int
    since: float
    unused_offers: deque[tuple[Offer, float]]  # the last ones, and when each was refused
    processed: int = 0
    unused: int = 0
    last_unused_at: float | None = None
    last_used_at: float | None = None
    last_round: int = 0
    last_rejects: Counter[str] = field(default_factory=Counter)
    last_offers: int = 0
    all_rejects: Counter[str] = field(default_factory=Counter)
    refused: bool = False  # by every offer that it was shown last

    @classmethod
    def of(cls, spec: RunSpec, count: int, now: float, offers_kept: int) -> "Entry":
        return cls(spec, Requirement.of(spec), count, now, deque(maxlen=offers_kept))

    def told(self, round: int, rejects: Mapping[str, int], seen: int, unused: Iterable[Offer], now: float) -> None:
        """Of `seen` offers, so many were refused by reason; `unused` are the last of those that nobody took."""
        declined = sum(rejects.values())
        self.processed += seen
        self.unused += declined
        if self.last_round != round:
            self.last_round, self.last_rejects, self.last_offers = round, Counter(), 0
        self.last_rejects.update(rejects)
        self.last_offers += seen
        self.all_rejects.update(rejects)
        if declined:
            self.last_unused_at = now
            self.unused_offers.extend((offer, now) for offer in unused)

    def item(self, delay_left: float, problem: str | None) -> QueueItem:
        return QueueItem(
            spec=self.spec,
            count=self.count,
            since=self.since,
            delay_left=delay_left,
            overdue=delay_left == 0.0,
            processed_offers=self.processed,
            unused_offers=self.unused,
            last_unused_at=self.last_unused_at,
            last_used_at=self.last_used_at,
            last_rejects=dict(self.last_rejects),
            last_offers=self.last_offers,
            launch_rejects=dict(self.all_rejects),
            problem=problem,
        )

    def unused_offers_with(self, reasons: Callable[[OpenOffer], Iterable[str]]) -> Iterator[UnusedOffer]:
        """With what is in the way of each now, by `reasons`."""
        for offer, at in self.unused_offers:
            yield UnusedOffer(offer.raw, tuple(reasons(OpenOffer(offer))), at)
