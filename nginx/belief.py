"""Which of the instances that Consul gives are believed: the shrink guard of consul_template_py, for the edge as a whole. Pure.

An instance that is put into maintenance leaves at once, whatever the guard says: someone said that it goes. What the guard doubts are
instances that vanish or turn unhealthy in great numbers together, which is more often a Consul in trouble than an operator's wish.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from consul_template_py.guard import Doubt, Guard, Hold, judge
from nginx.model import Instance

Services = Mapping[str, Sequence[Instance]]


@dataclass(frozen=True)
class Belief:
    """`services` as they are to be routed. `held`: why a drop is being held back, "" if none is. `again_at` as in `Hold`.

    `lost` are the services of a held drop that have fewer instances than before.
    """

    services: Services
    doubt: Doubt | None = None
    held: str = ""
    confirm: bool = False
    again_at: float = 0.0
    lost: tuple[str, ...] = ()


def healthy_count(services: Services) -> int:
    return sum(one.healthy for instances in services.values() for one in instances)


class Census:
    """`healthy_count` of services of which few change from one call to the next: counts those alone."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Sequence[Instance], int]] = {}

    def count(self, services: Services) -> int:
        known = self._known
        if len(known) > 2 * len(services) + 100:
            known.clear()
        total = 0
        for name, instances in services.items():
            found = known.get(name)
            if found is None or found[0] is not instances:
                found = known[name] = (instances, sum(one.healthy for one in instances))
            total += found[1]
        return total


def believe(
    guard: Guard,
    at_least: int,
    before: Services | None,
    offered: Services,
    doubt: Doubt | None,
    now: float,
    count: Callable[[Services], int] = healthy_count,
    *,
    behind: bool = False,
) -> Belief:
    """`at_least`: with fewer healthy instances than that before, nothing is doubted: one of two is no multitude.

    `count` is `healthy_count`, or a Census' for one who asks often. `behind`: a server that may know less than it did has answered.
    """
    if before is None or not guard.active:
        return Belief(offered)
    # Those that leave by intent make a drop smaller, so one that is fine with them is fine.
    if doubt is None and not isinstance(judge(guard, count(before), count(offered), None, now, behind=behind), Hold):
        return Belief(offered)
    leaving = {(name, one.id) for name, instances in offered.items() for one in instances if one.leaving}
    staying = {
        name: [one for one in instances if one.healthy and (name, one.id) not in leaving]
        for name, instances in before.items()
    }
    known = sum(map(len, staying.values()))
    if known < at_least:
        return Belief(offered)
    verdict = judge(guard, known, healthy_count(offered), doubt, now, behind=behind)
    if not isinstance(verdict, Hold):
        return Belief(offered)
    held = dict(offered)
    lost = []
    for name, instances in staying.items():
        now_healthy = {one.id for one in offered.get(name, ()) if one.healthy}
        missing = [one for one in instances if one.id not in now_healthy]
        if missing:
            lost.append(name)
            others = [one for one in offered.get(name, ()) if one.id not in {gone.id for gone in missing}]
            held[name] = tuple(sorted([*others, *missing], key=lambda one: one.id))
    return Belief(held, verdict.doubt, verdict.why, verdict.confirm, verdict.again_at, tuple(sorted(lost)))
