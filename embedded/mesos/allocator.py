"""Who is offered what: fair shares between roles and frameworks, and the offers that they do not want to see again soon.

All decisions and no I/O: time is an argument, and `allocate` answers with what is to be offered. As in Mesos, each agent in
turn gives all that it has free to one framework: of the role with the smallest dominant share, the framework with the
smallest dominant share that does not filter it. (The dominant share is the largest of the fractions that it holds of any
one resource.)
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from embedded.mesos.resources import Resources

# What is smaller than both is not worth an offer: Mesos's min_allocatable_resources, in thousandths.
SMALLEST_CPUS = 10
SMALLEST_MEM = 32_000


@dataclass(frozen=True)
class Allocation:
    framework_id: str
    role: str
    agent_id: str
    resources: Resources


@dataclass
class _Agent:
    total: Resources
    free: Resources
    active: bool = True


@dataclass
class _Framework:
    roles: set[str]
    suppressed: set[str]
    takes_gpus: bool
    active: bool = True
    # What it refused: (role, agent) -> what, and until when.
    filters: dict[tuple[str, str], list[tuple[Resources, float]]] = field(default_factory=dict)
    held: dict[str, dict[str, int]] = field(default_factory=dict)  # role -> name -> thousandths


class Allocator:
    def __init__(self, *, interval: float, shuffle: Callable[[list[str]], None]) -> None:
        self._interval = interval
        self._shuffle = shuffle
        self._agents: dict[str, _Agent] = {}
        self._frameworks: dict[str, _Framework] = {}
        self._total: dict[str, int] = {}

    # Frameworks

    def add_framework(
        self, framework_id: str, roles: Iterable[str], *, suppressed: Iterable[str], takes_gpus: bool
    ) -> None:
        self._frameworks[framework_id] = _Framework(set(roles), set(suppressed), takes_gpus)

    def update_framework(
        self, framework_id: str, roles: Iterable[str], *, suppressed: Iterable[str], takes_gpus: bool
    ) -> None:
        framework = self._frameworks[framework_id]
        framework.roles, framework.suppressed, framework.takes_gpus = set(roles), set(suppressed), takes_gpus

    def remove_framework(self, framework_id: str) -> None:
        self._frameworks.pop(framework_id, None)

    def activate(self, framework_id: str) -> None:
        self._frameworks[framework_id].active = True

    def deactivate(self, framework_id: str) -> None:
        """It gets no more offers, and what it refused is forgotten."""
        framework = self._frameworks[framework_id]
        framework.active = False
        framework.filters.clear()

    def suppress(self, framework_id: str, roles: Iterable[str]) -> None:
        framework = self._frameworks[framework_id]
        framework.suppressed |= set(roles) or framework.roles

    def revive(self, framework_id: str, roles: Iterable[str]) -> None:
        """Forgets what was refused for these roles (all where none is named), and offers to them again."""
        framework = self._frameworks[framework_id]
        wanted = set(roles) or set(framework.roles)
        framework.suppressed -= wanted
        framework.filters = {key: value for key, value in framework.filters.items() if key[0] not in wanted}

    def suppressed(self, framework_id: str) -> set[str]:
        return self._frameworks[framework_id].suppressed

    # Agents

    def add_agent(self, agent_id: str, total: Resources, used: Resources) -> None:
        self._agents[agent_id] = _Agent(total, total - used)
        self._count(total, 1)

    def convert(self, agent_id: str, total: Resources) -> None:
        """Its total changed by operations on resources that are not free now, but offered."""
        self._agents[agent_id].total = total

    def remove_agent(self, agent_id: str) -> None:
        agent = self._agents.pop(agent_id, None)
        if agent:
            self._count(agent.total, -1)
        for framework in self._frameworks.values():
            framework.filters = {key: value for key, value in framework.filters.items() if key[1] != agent_id}

    def set_agent_active(self, agent_id: str, active: bool) -> None:
        if agent_id in self._agents:
            self._agents[agent_id].active = active

    def total(self) -> dict[str, int]:
        return self._total

    def free(self, agent_id: str) -> Resources:
        return self._agents[agent_id].free

    # What is held

    def hold(self, framework_id: str, role: str, resources: Resources) -> None:
        """Counts resources that a framework holds, other than by `allocate`: those of recovered tasks."""
        self._account(framework_id, role, resources, 1)

    def recover(
        self,
        framework_id: str,
        role: str,
        agent_id: str,
        resources: Resources,
        *,
        now: float,
        refuse_seconds: float | None = None,
    ) -> None:
        """Resources come back; with `refuse_seconds`, the framework does not want to be offered them for so long."""
        if not resources:
            return
        self._account(framework_id, role, resources, -1)
        agent = self._agents.get(agent_id)
        if agent:
            agent.free += resources
        framework = self._frameworks.get(framework_id)
        if framework and framework.active and agent and refuse_seconds and refuse_seconds > 0:
            until = now + max(refuse_seconds, self._interval)
            framework.filters.setdefault((role, agent_id), []).append((resources, until))

    # The decision

    def allocate(self, now: float, agent_ids: Iterable[str] | None = None) -> list[Allocation]:
        """What is to be offered now, of these agents or of all; it counts as held from here on."""
        candidates = [
            agent_id
            for agent_id in (self._agents if agent_ids is None else agent_ids)
            if agent_id in self._agents and self._agents[agent_id].active and _worthwhile(self._agents[agent_id].free)
        ]
        takers = self._takers()
        if not candidates or not takers:
            return []
        self._shuffle(candidates)
        allocations = []
        for agent_id in candidates:
            agent = self._agents[agent_id]
            while _worthwhile(agent.free):  # what is reserved for one role leaves the rest to another
                allocation = self._one(agent_id, agent, takers, now)
                if allocation is None:
                    break
                agent.free -= allocation.resources
                self._account(allocation.framework_id, allocation.role, allocation.resources, 1)
                allocations.append(allocation)
        return allocations

    def _takers(self) -> dict[str, list[str]]:
        """Role -> the frameworks that take offers for it."""
        takers: dict[str, list[str]] = {}
        for framework_id, framework in self._frameworks.items():
            if framework.active:
                for role in framework.roles - framework.suppressed:
                    takers.setdefault(role, []).append(framework_id)
        return takers

    def _one(self, agent_id: str, agent: _Agent, takers: dict[str, list[str]], now: float) -> Allocation | None:
        has_gpus = agent.total.thousandths("gpus") > 0
        for role in self._by_share(takers):
            offered = agent.free.available_to(role)
            if not _worthwhile(offered):
                continue
            for framework_id in self._frameworks_by_share(role, takers[role]):
                framework = self._frameworks[framework_id]
                if has_gpus and not framework.takes_gpus:
                    continue
                if not self._is_filtered(framework, role, agent_id, offered, now):
                    return Allocation(framework_id, role, agent_id, offered)
        return None

    def _is_filtered(self, framework: _Framework, role: str, agent_id: str, offered: Resources, now: float) -> bool:
        key = (role, agent_id)
        filters = framework.filters.get(key)
        if not filters:
            return False
        filters = [(refused, until) for refused, until in filters if until > now]
        if filters:
            framework.filters[key] = filters
        else:
            del framework.filters[key]
        return any(refused.contains(offered) for refused, _ in filters)

    def _by_share(self, takers: dict[str, list[str]]) -> list[str]:
        if len(takers) == 1:
            return list(takers)
        shares = {role: self._share(self._held_by_role(role)) for role in takers}
        return sorted(takers, key=lambda role: (shares[role], role))

    def _frameworks_by_share(self, role: str, framework_ids: list[str]) -> list[str]:
        if len(framework_ids) == 1:
            return framework_ids
        return sorted(framework_ids, key=lambda id: (self._share(self._frameworks[id].held.get(role, {})), id))

    def _held_by_role(self, role: str) -> dict[str, int]:
        total: dict[str, int] = {}
        for framework in self._frameworks.values():
            for name, amount in framework.held.get(role, {}).items():
                total[name] = total.get(name, 0) + amount
        return total

    def _share(self, held: dict[str, int]) -> float:
        return max((amount / self._total[name] for name, amount in held.items() if self._total.get(name)), default=0.0)

    def share(self, role: str) -> float:
        """The role's dominant share, 0 to 1."""
        return self._share(self._held_by_role(role))

    def _account(self, framework_id: str, role: str, resources: Resources, sign: int) -> None:
        framework = self._frameworks.get(framework_id)
        if framework:
            held = framework.held.setdefault(role, {})
            for name, amount in resources.quantities().items():
                held[name] = held.get(name, 0) + sign * amount

    def _count(self, resources: Resources, sign: int) -> None:
        for name, amount in resources.quantities().items():
            self._total[name] = self._total.get(name, 0) + sign * amount


def _worthwhile(resources: Resources) -> bool:
    return resources.thousandths("cpus") >= SMALLEST_CPUS or resources.thousandths("mem") >= SMALLEST_MEM
