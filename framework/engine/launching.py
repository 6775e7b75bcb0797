"""Instances that wait, and the offers they wait for: the queue, launch delays, matching, reviving and suppressing."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from framework.decide.backoff import Delay, forgotten, longer
from framework.decide.constraints import Spread
from framework.decide.match_offers import (
    Claim,
    Placement,
    Requirement,
    Round,
    Rules,
    Want,
    match_offers,
    reasons,
    reasons_of_claim,
)
from framework.decide.placement import LABEL, STRATEGIES, Strategy
from framework.engine.actions import Accept, Decline, Launch, Reconcile, Revive, Suppress, UpdateRoles
from framework.engine.core import Core, instance_id_of, task_id_of
from framework.engine.errors import NotFound
from framework.engine.view import QueueItem, UnusedOffer
from framework.engine.waiting import Entry
from framework.model.app import App
from framework.model.instance import Agent, Condition, Instance, Task
from framework.model.offer import Offer
from framework.model.pod import Pod
from framework.model.run_spec import RunSpec

CONFIRM = "confirm"
RIPE = "ripe"
REVIVE = "revive"
MATCH = "match"

LOOKS_FOR_A_LAUNCH = 40  # a look at an offer costs a small part of what a launch does
MOST_FOR_ONE_OFFER = 4  # times launches_in_batch: what a single offer, which cannot be divided, may take


@dataclass(slots=True)
class Part:
    """Offers that are being shown to all who wait, a bounded number of those in one batch. What is used leaves at once, the rest when
    all have had their turn. `counts`: how many of each spec may be launched; `most` of all, None for as many as will."""

    offers: dict[str, Offer]
    turn: deque[str]  # spec ids
    counts: dict[str, int]
    claims: list[Claim]
    most: int | None
    whole: bool  # of the round, too


class Launcher:
    def __init__(self, core: Core) -> None:
        self._core = core
        self._entries: dict[str, Entry] = {}
        self._delays: dict[tuple[str, str], Delay] = {}
        self._offers: dict[str, Offer] = {}
        self._part: Part | None = None  # of the round that is under way
        self._ports: dict[str, int] = {}  # agent id -> where the next free choice of ports begins
        self._round = 0  # one goes on until no offer is left; it may take several batches
        self._going_round = False
        self._launched_before_round = 0
        self._suppressed: frozenset[str] = frozenset()
        self._hungry = False  # somebody became ready to launch since the last REVIVE
        self._held_back = False  # somebody was ready, but too many launches were in flight
        self._last_revive = float("-inf")
        self._attempts: dict[str, int] = {}  # a launched instance without any status -> how often it was asked for
        self.roles: tuple[str, ...] = (core.settings.role,)
        self._told_roles: tuple[str, ...] = self.roles  # as the master knows them
        self.offers_received = self.offers_used = self.offers_declined = 0
        self.launched = self.groups_launched = self.reserved = 0
        self.revives = self.suppresses = 0

    # --- demand

    def want(self, spec: RunSpec, count: int) -> None:
        """How many instances of a spec wait now. 0 takes it off the queue."""
        entry = self._entries.get(spec.id)
        if count <= 0:
            if entry is not None:
                del self._entries[spec.id]
            return
        self._take_role(spec.role)
        if entry is None:
            self._entries[spec.id] = Entry.of(spec, count, self._core.now, self._core.settings.unused_offers_kept)
            self.wake(spec)
            return
        if entry.spec is not spec:
            entry.spec, entry.requirement, entry.refused = spec, Requirement.of(spec), False
            self.wake(spec)
        elif count > entry.count:
            self.wake(spec)
        entry.count = count

    def adopt_roles(self) -> None:
        """Those of all that is declared and runs, for a new subscription."""
        declared = self._core.ledger.declared
        roles = {app.role for app in declared.apps.values()} | {pod.role for pod in declared.pods.values()}
        roles |= {instance.role for instance in self._core.ledger.instances.values()}
        for role in sorted(roles):
            self._take_role(role)
        self._told_roles = self.roles

    def _take_role(self, role: str) -> None:
        if role not in self.roles:
            self.roles = tuple(sorted((*self.roles, role)))

    def specs(self) -> list[RunSpec]:
        """That wait."""
        return [entry.spec for entry in self._entries.values()]

    def wake(self, spec: RunSpec) -> None:
        delay = self._delay(spec)
        if delay is not None and delay.until > self._core.now:
            self._core.timers.set(RIPE, spec.id, delay.until)
        elif self._core.secrets.ready(spec):
            self._hungry = True

    def ripe(self, spec_id: str) -> None:
        self._core.stir(spec_id)  # of two versions of it that wait, the other one may have had the turn
        if spec_id in self._entries:
            self.wake(self._entries[spec_id].spec)

    def _delay(self, spec: RunSpec) -> Delay | None:
        key = (spec.id, spec.last_config_change_at)
        delay = self._delays.get(key)
        if delay is not None and forgotten(spec, delay, self._core.now):
            del self._delays[key]
            return None
        return delay

    def failed(self, instance: Instance) -> None:
        """An instance ended by itself: the next launch of its configuration waits longer."""
        spec = self._core.ledger.spec_of(instance)
        if spec is None:
            return
        key = (instance.spec_id, instance.config_version)
        self._delays[key] = delay = longer(spec, self._delays.get(key), self._core.now)
        self._core.timers.set(RIPE, spec.id, delay.until)

    def reset_delay(self, spec_id: str) -> None:
        entry = self._entries.get(spec_id)
        if entry is None:
            raise NotFound("Queue entry", spec_id)
        self._delays.pop((spec_id, entry.spec.last_config_change_at), None)
        self.wake(entry.spec)

    def clear(self) -> None:
        """Who waits is to be worked out anew."""
        self._entries.clear()
        self._told_roles = (self._core.settings.role,)  # what was to be told may have been dropped

    def forget(self, spec_id: str) -> None:
        """The spec is gone."""
        self._entries.pop(spec_id, None)
        for key in [key for key in self._delays if key[0] == spec_id]:
            del self._delays[key]

    # --- offers

    def subscribed(self) -> None:
        """A new subscription: old offers are void, and none are suppressed or filtered."""
        self._offers.clear()
        self._part, self._going_round = None, False
        self._suppressed = frozenset()
        self._hungry = False

    def disconnected(self) -> None:
        self._offers.clear()
        self._part, self._going_round = None, False

    def hungry(self) -> None:
        """Somebody needs offers soon."""
        self._hungry = True

    def offered(self, offers: Iterable[Offer]) -> None:
        for offer in offers:
            self._offers[offer.id] = offer
            self.offers_received += 1

    def rescinded(self, offer_id: str) -> None:
        self._offers.pop(offer_id, None)
        if self._part is not None:
            self._part.offers.pop(offer_id, None)

    def agent_lost(self, agent_id: str) -> None:
        for offers in (self._offers, self._part.offers if self._part else {}):
            for offer in [offer for offer in offers.values() if offer.agent.id == agent_id]:
                del offers[offer.id]

    def match(self) -> None:
        """At the end of a batch: offers meet those who wait; what is not used goes back at once.

        Where many wait, a batch shows some of the offers to some of them, and the next ones go on with the others.
        """
        core = self._core
        if self._part is None:
            if not self._offers:
                return
            if not self._going_round:
                self._round += 1
                self._launched_before_round = self.launched
            self._part = self._next_part()
        part = self._part
        launched = self._show(part)
        exhausted = part.most is not None and launched >= part.most
        if part.most is not None:
            part.most -= launched
        if part.turn:
            part.whole = False
        if not part.turn or not part.offers or exhausted:
            self._give_back(part.offers.values())
            self._part = None
        self._going_round = bool(self._offers or self._part)
        if self._going_round:
            core.timers.set(MATCH, "", core.now)
        elif not part.whole and self.launched > self._launched_before_round:
            self._hungry = True  # what a part of the offers had no use for may do for others now

    def _next_part(self) -> Part:
        """Of the offers that are there. Where instances are to be spread, each part of the offers gets its part of them."""
        ready = [entry for entry in self._entries.values() if self._can_launch(entry.spec)]
        counts = self._bounded(ready)
        wanted = sum(counts.values())
        # Who was refused by all that it saw does not make the others' parts smaller.
        likely = sum(counts[entry.spec.id] for entry in ready if not entry.refused)
        there, bound = len(self._offers), self._core.settings.launches_in_batch
        most, count = None, there
        if wanted > bound:
            most = bound * MOST_FOR_ONE_OFFER
            if likely > bound:
                count = max(1, there * bound // likely)
                if any(self._strategy(entry.spec) == "spread" for entry in ready):
                    most = min(most, -(-likely * count // there))
        offers = {offer_id: self._offers.pop(offer_id) for offer_id in list(self._offers)[:count]}
        claims: list[Claim] = []
        for entry in ready:
            if entry.requirement.volumes:
                claim = self._core.residents.claim(entry.spec, entry.requirement, counts[entry.spec.id])
                counts[entry.spec.id] -= claim.count
                claims.append(claim)
        turn = deque(entry.spec.id for entry in ready if counts[entry.spec.id])
        return Part(offers, turn, counts, claims, most, whole=most is None and not self._going_round)

    def _show(self, part: Part) -> int:
        """Shows a part's offers to the next of those whose turn it is. How many of them are launched."""
        core, settings = self._core, self._core.settings
        offers, claims = list(part.offers.values()), part.claims
        part.claims = []
        result = match_offers(
            self._wants(part),
            offers,
            self._rules(),
            lambda agent: self._ports.get(agent, 0),
            claims,
            part.most,
            settings.launches_in_batch * LOOKS_FOR_A_LAUNCH,
        )
        if any(self._entries[placement.spec.id].refused for placement in result.placements):
            for entry in self._entries.values():  # there is new room, for others too
                entry.refused = False
        launches: dict[str, list[Launch]] = {}
        for placement in result.placements:
            launches.setdefault(placement.offer.id, []).append(self._launch(placement))
        self._record(result, offers)
        for offer in offers:
            if offer.id in launches:
                del part.offers[offer.id]
                releases = core.residents.releases(offer)
                core.act(Accept(offer, tuple(launches[offer.id]), settings.decline_seconds, releases))
        # The next to be served first are those that got nothing, or not all, this time.
        for spec_id in dict.fromkeys(placement.spec.id for placement in result.placements):
            if spec_id in self._entries:
                self._entries[spec_id] = self._entries.pop(spec_id)
        return sum(placement.again is None for placement in result.placements)

    def _wants(self, part: Part) -> Iterator[Want]:
        while part.turn:
            spec_id = part.turn.popleft()
            entry = self._entries.get(spec_id)
            count = min(part.counts[spec_id], entry.count) if entry else 0
            if entry is not None and count > 0 and self._can_launch(entry.spec):
                yield self._want(entry, count)

    def _give_back(self, offers: Iterable[Offer]) -> None:
        """Nobody had a use for them, but something in them may be no longer needed."""
        core, seconds = self._core, self._core.settings.decline_seconds
        unused = []
        for offer in offers:
            releases = core.residents.releases(offer)
            if releases:
                core.act(Accept(offer, (), seconds, releases))
            else:
                unused.append(offer.id)
        if unused:
            self.offers_declined += len(unused)
            core.act(Decline(tuple(unused), seconds))

    def _rules(self) -> Rules:
        core, settings = self._core, self._core.settings
        return Rules(core.now, settings.maintenance_lead, core.home_region, settings.reserve_gpu_agents)

    def _bounded(self, entries: list[Entry]) -> dict[str, int]:
        """How many of each may be launched now: one of each in turn, as far as launches in flight are bounded."""
        most = self._core.settings.launches_in_flight
        if not most:
            return {entry.spec.id: entry.count for entry in entries}
        counts = {entry.spec.id: 0 for entry in entries}
        left = max(0, most - self._core.ledger.staged)
        turn = entries
        while left and turn:
            for entry in turn[:left]:
                counts[entry.spec.id] += 1
            left -= min(left, len(turn))
            turn = [entry for entry in turn if counts[entry.spec.id] < entry.count]
        self._held_back = bool(turn)
        return counts

    def _want(self, entry: Entry, count: int) -> Want:
        ledger, spec = self._core.ledger, entry.spec
        config = spec.last_config_change_at

        def peers() -> Iterable[Agent]:
            instances = ledger.instances_of(spec.id)
            return (i.agent for i in instances if i.config_version == config and not i.leaving and not i.parked)

        return Want(spec, entry.requirement, count, self._strategy(spec), peers, ledger.on_agents(spec.id))

    def _strategy(self, spec: RunSpec) -> Strategy:
        named = spec.labels.get(LABEL)
        return next((strategy for strategy in STRATEGIES if strategy == named), self._core.settings.placement)

    def _can_launch(self, spec: RunSpec) -> bool:
        return self.is_ripe(spec) and self._core.secrets.ready(spec) and self._core.residents.impossible(spec) is None

    def is_ripe(self, spec: RunSpec) -> bool:
        delay = self._delay(spec)
        return delay is None or delay.until <= self._core.now

    def _launch(self, placement: Placement) -> Launch:
        core, spec, offer = self._core, placement.spec, placement.offer
        before = placement.again
        instance_id = before.id if before else instance_id_of(spec.id, next(core.ids))
        incarnation = before.incarnation + 1 if before else 1
        instance = Instance(
            id=instance_id,
            spec_id=spec.id,
            spec_version=spec.version,
            config_version=spec.last_config_change_at,
            role=spec.role,
            agent=offer.agent,
            tasks=_tasks(spec, instance_id, incarnation, placement.host_ports, core.now),
            incarnation=incarnation,
            checked=_is_checked(spec),
            ready=not (isinstance(spec, App) and spec.readiness_checks),
            provisioned_at=core.now,
            since=core.now,
            held=core.rollouts.holds(spec),
        )
        core.put(instance, f"provisioned on {offer.agent.host} by offer {offer.id}")
        core.timers.set(CONFIRM, instance_id, core.now + core.settings.confirm_interval)
        if placement.host_ports:
            self._ports[offer.agent.id] = placement.host_ports[-1] + 1
        entry = self._entries[spec.id]
        entry.count -= 1
        entry.last_used_at = core.now
        if not entry.count:
            del self._entries[spec.id]
        reserve = bool(entry.requirement.volumes) and before is None
        self.launched += 1
        self.groups_launched += isinstance(spec, Pod)
        self.reserved += reserve
        return Launch(instance, spec, placement.takes, reserve=reserve)

    def _record(self, result: Round, offers: list[Offer]) -> None:
        self.offers_used += len(offers) - len(result.unused)
        placed = {placement.spec.id for placement in result.placements}
        unused = result.unused[-self._core.settings.unused_offers_kept :]
        for spec_id, rejects in result.rejects.items():
            entry = self._entries.get(spec_id)
            if entry is not None:
                entry.refused = spec_id not in placed and sum(rejects.values()) == result.seen[spec_id]
                entry.told(self._round, rejects, result.seen[spec_id], unused, self._core.now)

    # --- revive and suppress

    def revive_or_suppress(self) -> None:
        """At the end of a batch: asks for offers if somebody waits, and for none if nobody does."""
        core = self._core
        if not core.connected:
            return
        if self.roles != self._told_roles:
            self._told_roles, self._suppressed = self.roles, frozenset()
            core.act(UpdateRoles(self.roles))
        waiting = {entry.spec.role for entry in self._entries.values()} | core.residents.waiting_roles()
        idle = frozenset(self.roles) - waiting
        quiet = idle - self._suppressed
        if quiet:
            self.suppresses += 1
            core.act(Suppress(tuple(sorted(quiet))))
            self._suppressed |= quiet
        if not waiting:
            self._hungry = False
        if not waiting:
            return
        if self._held_back and core.ledger.staged < core.settings.launches_in_flight:
            self._held_back, self._hungry = False, True
        # Repeated while somebody waits, in case a call was lost on its way.
        soon = self._hungry or waiting & self._suppressed
        due = self._last_revive + (core.settings.revive_interval if soon else core.settings.revive_repeat)
        if due > core.now:
            core.timers.set_unless_sooner(REVIVE, "", due)
            return
        self._last_revive = core.now
        self._hungry = False
        self.revives += 1
        core.act(Revive(tuple(sorted(waiting))))
        self._suppressed -= waiting
        core.timers.set(REVIVE, "", core.now + core.settings.revive_repeat)

    # --- launches that nobody confirms

    def unconfirmed(self, instance_id: str) -> None:
        core = self._core
        instance = core.ledger.instances.get(instance_id)
        if instance is None or instance.condition is not Condition.PROVISIONED or instance.leaving:
            self._attempts.pop(instance_id, None)
            return
        waited = core.now - instance.provisioned_at
        if waited >= core.settings.launch_confirm_timeout:
            core.killer.kill(instance, "launch was never confirmed", drain=False)
            return
        core.act(Reconcile(tuple((task.id, instance.agent.id) for task in instance.tasks)))
        core.timers.set(CONFIRM, instance_id, core.now + core.settings.confirm_interval)

    # --- reading

    def queue(self, spec_id: str | None = None) -> tuple[QueueItem, ...]:
        entries = self._entries.values() if spec_id is None else [e for e in [self._entries.get(spec_id)] if e]
        return tuple(self._item(entry) for entry in entries)

    def _item(self, entry: Entry) -> QueueItem:
        delay = self._delay(entry.spec)
        problem = self._core.secrets.problem(entry.spec) or self._core.residents.problem(entry.spec)
        return entry.item(max(0.0, delay.until - self._core.now) if delay else 0.0, problem)

    def unused_offers(self, spec_id: str) -> tuple[UnusedOffer, ...]:
        """The last that were of no use to a spec that waits, as far as they are kept, with what is in their way now."""
        entry = self._entries.get(spec_id)
        if entry is None:
            return ()
        claim = self._core.residents.claim(entry.spec, entry.requirement, entry.count)
        if claim.instances and claim.alone:
            return tuple(entry.unused_offers_with(lambda offer: reasons_of_claim(claim, offer, self._rules())))
        peers = self._want(entry, entry.count).peers
        spread = Spread.of(entry.spec.constraints, peers()) if entry.spec.constraints else None
        return tuple(entry.unused_offers_with(lambda offer: reasons(entry.requirement, offer, spread, self._rules())))

    @property
    def waiting(self) -> int:
        return sum(entry.count for entry in self._entries.values())


def _is_checked(spec: RunSpec) -> bool:
    if isinstance(spec, Pod):
        return any(container.health_check for container in spec.containers)
    return bool(spec.health_checks)


def _tasks(
    spec: RunSpec, instance_id: str, incarnation: int, host_ports: tuple[int, ...], now: float
) -> tuple[Task, ...]:
    if isinstance(spec, App):
        return (Task(task_id_of(instance_id, None, incarnation), staged_at=now, host_ports=host_ports),)
    left = list(host_ports)
    tasks = []
    for container in spec.containers:
        count = sum(endpoint.host_port is not None for endpoint in container.endpoints)
        mine, left = left[:count], left[count:]
        task_id = task_id_of(instance_id, container.name, incarnation)
        tasks.append(Task(task_id, container.name, staged_at=now, host_ports=tuple(mine)))
    return tuple(tasks)
