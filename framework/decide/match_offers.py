"""Offers meet instances that wait: who is launched where, and why others are not.

Pure, and fair: one instance of each waiting spec in turn, so that no spec starves another, whatever it asks for.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from framework.decide.constraints import Spread
from framework.decide.disks import DiskDemand, choose_disks, persistent_volumes
from framework.decide.placement import Score, Strategy, score
from framework.decide.ports import PortDemand, PortPool, assign, port_demand
from framework.model.constraint import REGION_FIELD, ZONE_FIELD, Constraint
from framework.model.instance import Agent, Instance
from framework.model.offer import UNRESERVED, Offer, Pool, Take, milli, on_root_disk
from framework.model.run_spec import RunSpec

# Why an offer does not do, in Marathon's order: the first that applies is counted.
ROLE = "UnfulfilledRole"
CONSTRAINT = "UnfulfilledConstraint"
RESERVATION = "NoCorrespondingReservationFound"
MAINTENANCE = "AgentMaintenance"
CPUS = "InsufficientCpus"
MEMORY = "InsufficientMemory"
DISK = "InsufficientDisk"
GPUS = "InsufficientGpus"
PORTS = "InsufficientPorts"
SCARCE = "DeclinedScarceResources"
REASONS = (ROLE, CONSTRAINT, RESERVATION, MAINTENANCE, CPUS, MEMORY, DISK, GPUS, PORTS, SCARCE)

# How many agents that would do are compared before the best is taken. More would cost time on large clusters and gain little.
CANDIDATES = 16

WANT_WORK = 8  # what a want costs before its first look at an offer, in looks


@dataclass(frozen=True, slots=True)
class Requirement:
    """What one instance of a spec asks of an offer, worked out once for each version of the spec. Scalars in thousandths."""

    role: str
    accepted: frozenset[str]
    cpus: int
    mem: int
    disk: int
    gpus: int
    ports: PortDemand
    constraints: tuple[Constraint, ...]
    regional: bool  # asks for a region or zone itself
    volumes: frozenset[str] = frozenset()  # container paths of persistent volumes; sizes on the root disk are in `disk`
    disks: tuple[DiskDemand, ...] = ()  # volumes that are not on the root disk

    @classmethod
    def of(cls, spec: RunSpec) -> "Requirement":
        needs = spec.resources
        volumes = persistent_volumes(spec)
        on_root = [volume for volume in volumes if volume.persistent.type == "root"]
        return cls(
            role=spec.role,
            # What is reserved for an instance is taken from what nobody has reserved.
            accepted=frozenset((UNRESERVED,) if volumes else spec.accepted_resource_roles or (UNRESERVED, spec.role)),
            cpus=milli(needs.cpus),
            mem=milli(needs.mem),
            disk=milli(needs.disk + sum(volume.persistent.size for volume in on_root)),
            gpus=milli(needs.gpus),
            ports=port_demand(spec),
            constraints=spec.constraints,
            regional=any(constraint.field in (REGION_FIELD, ZONE_FIELD) for constraint in spec.constraints),
            volumes=frozenset(volume.container_path for volume in volumes),
            disks=tuple(DiskDemand.of(v.container_path, v.persistent) for v in volumes if v not in on_root),
        )


@dataclass(frozen=True, slots=True)
class Claim:
    """Of the instances of a spec that have their volumes on an agent already, `count` are launched: each where its volumes are, on what is
    reserved for it, or not at all. One that has no room there holds up none of the others. `alone`: no others of the spec wait."""

    spec: RunSpec
    requirement: Requirement
    instances: tuple[Instance, ...]  # to be tried in this order
    count: int
    framework_id: str
    alone: bool = True


@dataclass(slots=True)
class Want:
    """`count` instances of a spec. `peers`: agents of its current instances (asked for only if there are constraints);
    `peers_on`: agent id -> how many of its instances are there."""

    spec: RunSpec
    requirement: Requirement
    count: int
    strategy: Strategy = "spread"
    peers: Callable[[], Iterable[Agent]] = lambda: ()
    peers_on: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Placement:
    spec: RunSpec
    offer: Offer
    takes: tuple[Take, ...]
    host_ports: tuple[int, ...]
    again: Instance | None = None  # whose volumes it takes up


@dataclass(slots=True)
class Round:
    """What came of one round: `rejects` by spec id count offers by reason, `seen` the offers looked at. `work` is what it took: a look at
    an offer is 1."""

    placements: list[Placement] = field(default_factory=list)
    rejects: dict[str, Mapping[str, int]] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    unused: list[Offer] = field(default_factory=list)
    work: int = 0

    def refused(self, spec_id: str, rejects: Mapping[str, int], seen: int) -> None:
        """Of `seen` offers, so many by reason."""
        known = self.rejects.get(spec_id)
        self.rejects[spec_id] = rejects if known is None else Counter(known) + Counter(rejects)
        self.seen[spec_id] = self.seen.get(spec_id, 0) + seen


@dataclass(frozen=True, slots=True)
class Rules:
    """`home_region`: specs that do not ask for a region run only there (None: anywhere). `now` and `draining_seconds` decide on
    maintenance: an agent that goes down within them takes nothing new. `scarce_gpus`: only specs that ask for GPUs may use such agents.
    """

    now: float = 0.0
    draining_seconds: float = 0.0
    home_region: str | None = None
    scarce_gpus: bool = True


class OpenOffer:
    """An offer while a round takes from it."""

    __slots__ = ("cpus", "disk", "disks", "gpus", "has_gpus", "mem", "offer", "pools", "ports", "used")

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        self.pools = [_OpenPool(pool) for pool in offer.pools if not pool.labelled]
        self.cpus = sum(pool.cpus for pool in self.pools)
        self.mem = sum(pool.mem for pool in self.pools)
        self.disk = sum(pool.disk for pool in self.pools)
        self.gpus = sum(pool.gpus for pool in self.pools)
        self.ports = [PortPool(pool.pool.ports) for pool in self.pools]
        self.has_gpus = self.gpus > 0
        self.disks = {
            disk: disk.size for pool in self.pools for disk in pool.pool.disks if pool.pool.role == UNRESERVED
        }
        self.used = False


class _OpenPool:
    __slots__ = ("cpus", "disk", "gpus", "mem", "pool")

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.cpus, self.mem, self.disk, self.gpus = pool.cpus, pool.mem, pool.disk, pool.gpus


def reject(need: Requirement, offer: OpenOffer, spread: Spread | None, rules: Rules) -> str | None:
    """Why this offer will not do for one instance, the first reason that applies; None if it will."""
    return next(reasons(need, offer, spread, rules), None)


def reasons(need: Requirement, offer: OpenOffer, spread: Spread | None, rules: Rules) -> Iterator[str]:
    """Everything that keeps this offer from doing for one instance, in the order of REASONS."""
    if offer.offer.role != need.role:
        yield ROLE
    whole = len(offer.pools) == 1 and offer.pools[0].pool.role in need.accepted
    mine = () if whole else [pool for pool in offer.pools if pool.pool.role in need.accepted]
    if not whole and not mine and offer.offer.role == need.role:
        yield ROLE
    if (spread is not None and not spread.allows(offer.offer.agent)) or (
        rules.home_region is not None
        and not need.regional
        and offer.offer.agent.region not in (None, rules.home_region)
    ):
        yield CONSTRAINT
    if _in_maintenance(offer.offer, rules):
        yield MAINTENANCE
    if need.cpus > (offer.cpus if whole else sum(pool.cpus for pool in mine)):
        yield CPUS
    if need.mem > (offer.mem if whole else sum(pool.mem for pool in mine)):
        yield MEMORY
    if need.disk > (offer.disk if whole else sum(pool.disk for pool in mine)) or (
        need.disks and choose_disks(need.disks, offer.disks) is None
    ):
        yield DISK
    if need.gpus > (offer.gpus if whole else sum(pool.gpus for pool in mine)):
        yield GPUS
    if need.ports.wanted and not _ports_fit(need, offer):
        yield PORTS
    if offer.has_gpus and not need.gpus and rules.scarce_gpus:
        yield SCARCE


def _ports_fit(need: Requirement, offer: OpenOffer) -> bool:
    pools = [ports for pool, ports in zip(offer.pools, offer.ports, strict=True) if pool.pool.role in need.accepted]
    if sum(pool.size for pool in pools) < need.ports.count:
        return False
    exact = need.ports.exact
    return not exact or (len(set(exact)) == len(exact) and all(any(port in pool for pool in pools) for port in exact))


def _in_maintenance(offer: Offer, rules: Rules) -> bool:
    if offer.maintenance_at is None or rules.now < offer.maintenance_at - rules.draining_seconds:
        return False
    return offer.maintenance_until is None or rules.now < offer.maintenance_until


def match_offers(
    wants: Iterable[Want],
    offers: Sequence[Offer],
    rules: Rules,
    port_start: Callable[[str], int] = lambda agent_id: 0,
    claims: Sequence[Claim] = (),
    most: int | None = None,
    most_work: int | None = None,
) -> Round:
    """Places as many instances as fit, those with volumes of their own first. `port_start(agent id)`: where the free choice of ports
    begins on an agent. After `most` placements for `wants` (at least one) it ends, and after `most_work` no further want has a turn; those
    that had none by then are not even asked for.
    """
    result = Round()
    open_offers = [OpenOffer(offer) for offer in offers]
    by_agent: dict[str, list[OpenOffer]] = {}
    for open_offer in open_offers:
        by_agent.setdefault(open_offer.offer.agent.id, []).append(open_offer)
    for claim in claims:
        _take_up(claim, by_agent, rules, port_start, result)
    hopeless: dict[object, Counter[str]] = {}
    starts: dict[str, int] = {}
    begun: list[_Placer] = []
    upcoming = iter(wants)

    def begin() -> Iterator[_Placer]:
        while most_work is None or result.work < most_work:
            want = next(upcoming, None)
            if want is None:
                return
            result.work += WANT_WORK
            begun.append(_Placer(want, open_offers, rules, len(begun), result, hopeless))
            yield begun[-1]

    turn: Iterable[_Placer] = begin()
    while turn and most != 0:
        waiting = []
        for placer in turn:
            chosen = placer.next_offer()
            if chosen is None:
                continue
            agent_id = chosen.offer.agent.id
            start = starts.get(agent_id)
            placement = take(placer.want, chosen, port_start(agent_id) if start is None else start)
            if placement.host_ports:
                starts[agent_id] = placement.host_ports[-1] + 1
            result.placements.append(placement)
            if placer.placed(chosen):
                waiting.append(placer)
            most = None if most is None else most - 1
            if most == 0:
                break
        turn = waiting
    for placer in begun:
        placer.end()
    result.unused = [open_offer.offer for open_offer in open_offers if not open_offer.used]
    return result


def _take_up(
    claim: Claim,
    by_agent: Mapping[str, list[OpenOffer]],
    rules: Rules,
    port_start: Callable[[str], int],
    result: Round,
) -> None:
    left = claim.count
    refused: dict[str, str] = {}  # offer id -> why it does not do for the first of those that would be there
    for instance in claim.instances:
        if not left:
            break
        for offer in by_agent.get(instance.agent.id, ()):
            pool = _reserved_for(instance, claim, offer.offer)
            reason = next(_reasons_again(claim.requirement, pool, offer, rules), None)
            if pool is None or reason is not None:
                refused.setdefault(offer.offer.id, reason or RESERVATION)
                continue
            result.placements.append(_take_again(claim, instance, pool, offer, port_start))
            refused.pop(offer.offer.id, None)
            left -= 1
            break
    if left and claim.alone:
        # Those who have volumes of their own look at no other agent: in every other offer their reservation is missing.
        at_home = {instance.agent.id for instance in claim.instances}
        elsewhere = [offer for agent_id, offers in by_agent.items() if agent_id not in at_home for offer in offers]
        refused |= {o.offer.id: RESERVATION if o.offer.role == claim.requirement.role else ROLE for o in elsewhere}
    if refused:
        result.refused(claim.spec.id, Counter(refused.values()), len(refused))


def reasons_of_claim(claim: Claim, offer: OpenOffer, rules: Rules) -> Iterator[str]:
    """Everything that keeps this offer from doing for the first of those that have their volumes on its agent."""
    instance = next((i for i in claim.instances if i.agent.id == offer.offer.agent.id), None)
    pool = _reserved_for(instance, claim, offer.offer) if instance else None
    return _reasons_again(claim.requirement, pool, offer, rules)


def _reserved_for(instance: Instance, claim: Claim, offer: Offer) -> Pool | None:
    return next((pool for pool in offer.pools if pool.owner == (claim.framework_id, instance.id)), None)


def _take_again(
    claim: Claim, instance: Instance, pool: Pool, offer: OpenOffer, port_start: Callable[[str], int]
) -> Placement:
    """Takes up what is reserved for an instance, `pool`, and ports beside it."""
    need = claim.requirement
    scratch = need.disk - _on_root_disk(pool)
    own = Take(pool, need.cpus, need.mem, max(0, scratch), need.gpus, volumes=pool.volumes)
    order = [index for index, p in enumerate(offer.pools) if p.pool.role in need.accepted]
    assigned = assign(need.ports, [offer.ports[index] for index in order], port_start(offer.offer.agent.id)) or []
    ports = [
        Take(offer.pools[index].pool, ports=tuple(port for where, port in assigned if where == position))
        for position, index in enumerate(order)
    ]
    offer.used = True
    takes = (own, *(part for part in ports if part.ports))
    return Placement(claim.spec, offer.offer, takes, tuple(port for _, port in assigned), instance)


def _reasons_again(need: Requirement, pool: Pool | None, offer: OpenOffer, rules: Rules) -> Iterator[str]:
    """`pool`: what the offer has that is reserved for the instance."""
    if offer.offer.role != need.role:
        yield ROLE
    there = {str(volume["disk"]["volume"]["container_path"]) for volume in pool.volumes} if pool else set()
    if pool is None or not need.volumes <= there:
        yield RESERVATION
    if _in_maintenance(offer.offer, rules):
        yield MAINTENANCE
    if pool is None:
        return
    scratch = need.disk - _on_root_disk(pool)
    for amount, available, reason in (
        (need.cpus, pool.cpus, CPUS),
        (need.mem, pool.mem, MEMORY),
        (scratch, pool.disk, DISK),
        (need.gpus, pool.gpus, GPUS),
    ):
        if amount > available:
            yield reason
    if need.ports.wanted and not _ports_fit(need, offer):
        yield PORTS


def _on_root_disk(pool: Pool) -> int:
    return sum(milli(volume["scalar"]["value"]) for volume in pool.volumes if on_root_disk(volume))


def take(want: Want, offer: OpenOffer, port_start: int) -> Placement:
    """Takes one instance's resources out of the offer, reserved ones first. The offer has been found to do."""
    need = want.requirement
    order = sorted(
        (index for index, pool in enumerate(offer.pools) if pool.pool.role in need.accepted),
        key=lambda index: offer.pools[index].pool.role == UNRESERVED,
    )
    assigned = assign(need.ports, [offer.ports[index] for index in order], port_start) or []
    takes = []
    left = {"cpus": need.cpus, "mem": need.mem, "disk": need.disk, "gpus": need.gpus}
    disks = (choose_disks(need.disks, offer.disks) or ()) if need.disks else ()
    for taken_disk in disks:
        offer.disks[taken_disk.disk] -= taken_disk.amount
    for position, index in enumerate(order):
        pool = offer.pools[index]
        taken = {}
        for name, amount in left.items():
            taken[name] = part = min(amount, getattr(pool, name))
            left[name] -= part
            setattr(pool, name, getattr(pool, name) - part)
            setattr(offer, name, getattr(offer, name) - part)
        ports = tuple(port for where, port in assigned if where == position)
        own_disks = disks if pool.pool.role == UNRESERVED else ()
        if ports or own_disks or any(taken.values()):
            takes.append(Take(pool.pool, ports=ports, disks=own_disks, **taken))
    offer.used = True
    return Placement(want.spec, offer.offer, tuple(takes), tuple(port for _, port in assigned))


class _Placer:
    """One want in a round: a heap of the offers that would do, best first, each looked at again when its turn comes."""

    def __init__(
        self,
        want: Want,
        offers: list[OpenOffer],
        rules: Rules,
        position: int,
        result: Round,
        hopeless: dict[object, Counter[str]],
    ) -> None:
        self.want, self._offers, self._rules, self._result, self._hopeless = want, offers, rules, result, hopeless
        need = want.requirement
        self._spread = Spread.of(need.constraints, want.peers()) if need.constraints else None
        # Only GROUP_BY can allow later in a round what it forbids now: when the other groups have caught up.
        self._evens_out = any(constraint.operator == "GROUP_BY" for constraint in need.constraints)
        self._blocked: list[int] = []
        self._left = want.count
        self._on: dict[str, int] = {}
        self._heap: list[tuple[Score, int]] = []
        # Specs begin at different offers, so that a crowd of them does not compare the same few.
        self._next = position % len(offers) if offers else 0
        self._unseen = len(offers)
        self._rejects: Counter[str] = Counter()

    def next_offer(self) -> OpenOffer | None:
        """The best offer that will do now; None if there is none."""
        need = self.want.requirement
        # What fits nowhere for one want without constraints fits nowhere for its like: offers only shrink during a round.
        if self._unseen == len(self._offers) and self._spread is None and need in self._hopeless:
            self._rejects = self._hopeless[need]
            self._unseen = 0
            return None
        while self._fill():
            rank, index = heapq.heappop(self._heap)
            offer = self._offers[index]
            self._result.work += 1
            reason = reject(need, offer, self._spread, self._rules)
            if reason is not None:
                self._refuse(index, reason)
                continue
            rank = self._score(offer)
            heapq.heappush(self._heap, (rank, index))
            if self._heap[0][1] == index:
                return offer
        if self._spread is None and self._left == self.want.count:
            self._hopeless[need] = self._rejects
        return None

    def placed(self, offer: OpenOffer) -> bool:
        """Books one instance on the offer; whether more are wanted."""
        agent = offer.offer.agent
        self._on[agent.id] = self._on.get(agent.id, 0) + 1
        if self._spread is not None:
            self._spread.add(agent)
        for index in self._blocked:
            heapq.heappush(self._heap, (self._score(self._offers[index]), index))
        self._blocked.clear()
        self._left -= 1
        return self._left > 0

    def _fill(self) -> bool:
        """Looks at further offers until there are enough that would do; whether there is any."""
        while self._unseen and len(self._heap) < CANDIDATES:
            index = self._next
            self._next = (index + 1) % len(self._offers)
            self._unseen -= 1
            self._result.work += 1
            offer = self._offers[index]
            reason = reject(self.want.requirement, offer, self._spread, self._rules)
            if reason is None:
                heapq.heappush(self._heap, (self._score(offer), index))
            else:
                self._refuse(index, reason)
        return bool(self._heap)

    def _refuse(self, index: int, reason: str) -> None:
        if reason == CONSTRAINT and self._evens_out:
            self._blocked.append(index)
        else:
            self._rejects[reason] += 1

    def _score(self, offer: OpenOffer) -> Score:
        agent_id = offer.offer.agent.id
        return score(
            self.want.strategy,
            peers=self.want.peers_on.get(agent_id, 0) + self._on.get(agent_id, 0),
            cpus_left=offer.cpus,
            mem_left=offer.mem,
        )

    def end(self) -> None:
        """Reports the want's figures."""
        rejects = self._rejects
        if self._blocked:
            rejects = rejects + Counter({CONSTRAINT: len(self._blocked)})
        self._result.refused(self.want.spec.id, rejects, len(self._offers) - self._unseen)
