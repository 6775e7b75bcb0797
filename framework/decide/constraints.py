"""Whether an agent may take another instance, by the placement constraints of the spec and where its peers are."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from framework.model.constraint import HOSTNAME_FIELDS, REGION_FIELD, ZONE_FIELD, Constraint
from framework.model.instance import Agent


def value_of(agent: Agent, name: str) -> str | None:
    """The value of a constraint's field on an agent; None where it has none."""
    if name in HOSTNAME_FIELDS:
        return agent.host
    if name == REGION_FIELD:
        return agent.region
    if name == ZONE_FIELD:
        return agent.zone
    return next((value for key, value in agent.attributes if key == name), None)


@dataclass(slots=True)
class Spread:
    """How many instances of the current configuration there are for each value of each constrained field."""

    constraints: tuple[Constraint, ...]
    counts: Mapping[str, Counter[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, constraints: tuple[Constraint, ...], agents: Iterable[Agent]) -> "Spread":
        spread = cls(constraints, {constraint.field: Counter() for constraint in constraints})
        for agent in agents:
            spread.add(agent)
        return spread

    def add(self, agent: Agent) -> None:
        for name, counter in self.counts.items():
            value = value_of(agent, name)
            if value is not None:
                counter[value] += 1

    def allows(self, agent: Agent) -> bool:
        return all(_met(c, value_of(agent, c.field), self.counts[c.field]) for c in self.constraints)


def _met(constraint: Constraint, value: str | None, peers: Counter[str]) -> bool:
    if value is None:
        return constraint.operator == "UNLIKE"
    wanted = constraint.value
    match constraint.operator:
        case "UNIQUE":
            return peers[value] == 0
        case "CLUSTER":
            return (not wanted or value == wanted) and (wanted is not None or not peers or value in peers)
        case "MAX_PER":
            return peers[value] < int(wanted or 1)
        case "LIKE":
            return wanted is not None and _pattern(wanted).fullmatch(value) is not None
        case "UNLIKE":
            return wanted is not None and _pattern(wanted).fullmatch(value) is None
        case "IS":
            return wanted is not None and _same(value, wanted)
        case "GROUP_BY":
            return _evens_out(value, peers, int(wanted) if wanted else 1)
    raise ValueError(f"unknown operator {constraint.operator}")


def _evens_out(value: str, peers: Counter[str], groups: int) -> bool:
    """Whether one more here keeps the groups even. Groups that are expected but not yet seen count as empty."""
    present = {name: count for name, count in peers.items() if count}
    if value not in present:
        return True
    least = 0 if len(present) < groups else min(present.values())
    return present[value] <= least


def _same(value: str, wanted: str) -> bool:
    """Exact text; numbers are equal to three decimals."""
    if value == wanted:
        return True
    try:
        return round(float(value), 3) == round(float(wanted), 3)
    except ValueError:
        return False


@lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)
