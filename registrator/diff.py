"""PURE: wanted services and those that an agent has -> the writes to make, and what has to be confirmed before it is removed.

What is equal is not written. Only services with our owner's name in their meta are touched. Removal needs evidence: the task is
known to have ended, is unhealthy, or no longer has this service; mere absence has to be seen twice, in two answers of its own, and
absence of everything longer. What has ended is removed at once; all other removals share a rate.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from registrator.merge import Judged, Kind, Verdict
from registrator.model import Registered, Service
from registrator.naming import OWNER, TASK, key_of

# The reasons by which our maintenance modes are told from an operator's.
DRAINING = "dromos: draining"
HELD = "dromos: held"


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, and removals: at most `burst` at once and `rate` a second, those of ended instances not counted.

    Without `cleanup` what is only absent is never removed."""

    confirm_after: float = 1.0
    empty_hold: float = 5.0
    burst: float = 50.0
    rate: float = 10.0
    cleanup: bool = True


@dataclass(frozen=True, slots=True)
class Proof:
    """A complete look of a kind's authority. `fresh`: the answer was asked for at `at`; `empty`: it shows no instance at all."""

    at: float
    fresh: bool
    empty: bool


@dataclass(frozen=True, slots=True)
class Memory:
    """What one comparison hands on to the next: since when a service is absent, and the removals that may be made."""

    absent: Mapping[str, float] = field(default_factory=dict)
    tokens: float = 50.0
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The writes, in the order in which they are made: what is new comes before what goes."""

    register: tuple[Service, ...]
    held: tuple[Service, ...]  # these are registered in maintenance mode
    drop_checks: tuple[str, ...]
    maintenance: tuple[tuple[str, bool], ...]  # service id, whether it begins: those that end come first
    deregister: tuple[tuple[str, str], ...]  # (service id, why)
    waiting: Mapping[str, str]  # service id -> why it is not removed yet
    conflicts: Mapping[str, str]  # service id -> whose it is
    postponed: frozenset[str]  # ids of services that drain as soon as another instance serves
    look_again_in: float | None
    memory: Memory

    @property
    def writes(self) -> int:
        kinds = (self.register, self.held, self.drop_checks, self.maintenance, self.deregister)
        return sum(len(writes) for writes in kinds)


def diff(
    *,
    judged: Mapping[str, Judged],
    wanted: Mapping[str, tuple[Service, ...]],
    unsure: frozenset[str],
    ended: frozenset[str],
    proofs: Mapping[Kind, Proof | None],
    actual: Mapping[str, Registered],
    owner: str,
    memory: Memory,
    now: float,
    limits: Limits,
) -> Plan:
    """`judged` and `wanted` are by instance key; those in `unsure` may have more services than `wanted` could name.

    `proofs` has None for a kind whose absence nothing proves at the moment.
    """
    ours = {id: found for id, found in actual.items() if found.meta.get(OWNER) == owner}
    keys_there = {key_of(found.meta) for found in ours.values()}
    register: list[Service] = []
    held: list[Service] = []
    drop_checks: list[str] = []
    conflicts: dict[str, str] = {}
    for key, judgement in sorted(judged.items()):
        if judgement.verdict is Verdict.NEW_ONLY and key in keys_there:
            continue
        if judgement.verdict not in (Verdict.WANTED, Verdict.NEW_ONLY, Verdict.HELD):
            continue
        for service in wanted.get(key, ()):
            found = actual.get(service.id)
            if found and service.id not in ours:
                conflicts[service.id] = f"another owner has it: {found.meta.get(OWNER) or 'one without a mark'}"
            elif judgement.verdict is Verdict.HELD:
                held += () if found else (service,)
                continue
            elif not found or differs(service, found):
                register.append(service)
            if service.id in ours:
                drop_checks += _surplus_checks(service, ours[service.id])
    removal = _Removal(memory, now, limits)
    deregister = []
    for id, found in sorted(ours.items()):
        if why := removal.decide(found, key_of(found.meta), judged, wanted, unsure, ended, proofs):
            deregister.append((id, why))
    gone = {id for id, _ in deregister}
    maintenance, postponed = _maintenance(ours, judged, register)
    waiting = removal.waiting | dict.fromkeys(postponed, "drains as soon as another instance passes its checks")
    return Plan(
        register=tuple(register),
        held=tuple(held),
        drop_checks=tuple(drop_checks),
        maintenance=tuple(item for item in maintenance if item[0] not in gone),
        deregister=tuple(deregister),
        waiting=waiting,
        conflicts=conflicts,
        postponed=frozenset(postponed),
        look_again_in=removal.look_again_in,
        memory=Memory(removal.absent, removal.tokens, now),
    )


def names_that_drain(judged: Mapping[str, Judged], actual: Mapping[str, Registered], owner: str) -> frozenset[str]:
    """The services of which an instance is to be put into maintenance mode: their checks have to be known as they are now."""
    if not any(judgement.drain for judgement in judged.values()):
        return frozenset()
    return frozenset(
        found.name
        for found in actual.values()
        if found.maintenance is None
        and found.meta.get(OWNER) == owner
        and (judgement := judged.get(key_of(found.meta))) is not None
        and judgement.drain
    )


def differs(service: Service, found: Registered) -> bool:
    return (
        service.port != found.port
        or service.address != found.address
        or service.name != found.name
        or service.meta != found.meta
        or (service.tags != found.tags and service.tags != tuple(sorted(found.tags)))
        or not found.check_ids.issuperset([check.id for check in service.checks])
    )


class _Removal:
    """Decides service by service, and keeps the count that the rate and the confirmations need."""

    def __init__(self, memory: Memory, now: float, limits: Limits) -> None:
        self._before = memory.absent
        self._limits = limits
        self.tokens = min(limits.burst, memory.tokens + max(0.0, now - memory.at) * limits.rate)
        self.absent: dict[str, float] = {}
        self.waiting: dict[str, str] = {}
        self.look_again_in: float | None = None

    def decide(
        self,
        found: Registered,
        key: str,
        judged: Mapping[str, Judged],
        wanted: Mapping[str, tuple[Service, ...]],
        unsure: frozenset[str],
        ended: frozenset[str],
        proofs: Mapping[Kind, Proof | None],
    ) -> str:
        """Why the service is to be removed now; "" if it is not."""
        if key in ended:
            return "its instance has ended"
        judgement = judged.get(key)
        if judgement is None:
            return self._absent(found, proofs)
        if judgement.verdict is Verdict.REMOVE:
            return self._within_rate(found.id, f"its instance {judgement.why}")
        superseded = found.id not in {service.id for service in wanted.get(key, ())}
        if judgement.verdict is Verdict.WANTED and superseded and key not in unsure:
            return self._within_rate(found.id, "its instance no longer has this service")
        return ""

    def _absent(self, found: Registered, proofs: Mapping[Kind, Proof | None]) -> str:
        if not self._limits.cleanup:
            self.waiting[found.id] = "absent; left as it is, as --no-cleanup asks"
            return ""
        proof = proofs.get("task" if TASK in found.meta else "container")
        if proof is None:
            self.waiting[found.id] = "absent, but the source that would know fails or is incomplete"
            return ""
        first = self.absent[found.id] = self._before.get(found.id, proof.at)
        hold = self._limits.empty_hold if proof.empty else self._limits.confirm_after
        if proof.fresh and proof.at - first >= hold:
            return self._within_rate(found.id, "its instance is absent, and was before")
        self.waiting[found.id] = "absent; to be confirmed by a second answer"
        self._again(max(0.0, first + hold - proof.at))
        return ""

    def _within_rate(self, id: str, why: str) -> str:
        if self.tokens >= 1.0:
            self.tokens -= 1.0
            return why
        self.waiting[id] = f"{why}, but the rate of removals is reached"
        self._again((1.0 - self.tokens) / self._limits.rate)
        return ""

    def _again(self, seconds: float) -> None:
        self.look_again_in = seconds if self.look_again_in is None else min(seconds, self.look_again_in)


def _maintenance(
    ours: Mapping[str, Registered], judged: Mapping[str, Judged], register: Sequence[Service]
) -> tuple[list[tuple[str, bool]], list[str]]:
    """The maintenance modes to lift and to set, and the ids of those that have to go on serving for now.

    While an app's new instances have yet to pass their checks, the old ones drain only as far as one still serves: a service
    whose last instance leaves the rotation before another has come answers nobody.
    """
    drains: list[str] = []
    lifted: list[str] = []
    for id, found in sorted(ours.items()):
        judgement = judged.get(key_of(found.meta))
        if judgement is None:
            continue
        if judgement.drain and found.maintenance is None:
            drains.append(id)
        elif not judgement.drain and judgement.verdict is Verdict.WANTED and found.maintenance in (DRAINING, HELD):
            lifted.append(id)  # on the word of who set it: while the framework is silent, things stay as they are
    if not drains:
        return [(id, False) for id in lifted], []
    names = {ours[id].name for id in drains}
    coming, serving = {service.name for service in register}, set()
    for id, found in ours.items():
        judgement = judged.get(key_of(found.meta))
        in_rotation = found.maintenance is None or id in lifted
        if found.name in names and in_rotation and judgement is not None and not judgement.drain:
            coming.add(found.name)
            if found.passes:
                serving.add(found.name)
    postponed = [id for id in drains if ours[id].passes and ours[id].name in coming - serving]
    return [(id, False) for id in lifted] + [(id, True) for id in drains if id not in postponed], postponed


def _surplus_checks(service: Service, found: Registered) -> Iterator[str]:
    """Checks that an earlier registration of ours left; those that others have added to the service stay."""
    wanted = {check.id for check in service.checks}
    for id in sorted(found.check_ids - wanted):
        if id.startswith(f"service:{service.id}:"):
            yield id
