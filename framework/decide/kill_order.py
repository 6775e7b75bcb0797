"""Which instances go first when some are too many."""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from functools import partial

from framework.decide.advance_deployment import Orders
from framework.decide.constraints import value_of
from framework.model.constraint import Constraint
from framework.model.instance import Condition, Instance
from framework.model.run_spec import RunSpec
from framework.model.strategy import KillSelection

_RANK = {
    Condition.UNREACHABLE_INACTIVE: 0,
    Condition.UNREACHABLE: 1,
    Condition.PROVISIONED: 2,
    Condition.STAGING: 3,
    Condition.STARTING: 4,
    Condition.RUNNING: 5,
}


def ordered_victims(
    staying: Sequence[Instance], orders: Orders, spec: RunSpec | None, former: str | None = None
) -> list[Instance]:
    """Those of the `staying` that a deployment orders to kill: old ones, new ones, any, and no more healthy ones than it may.

    `former`: the configuration that a roll-back would bring back; old instances of any other go first.
    """
    config = spec.last_config_change_at if spec else ""
    selection: KillSelection = spec.kill_selection if spec else "YOUNGEST_FIRST"
    constraints = spec.constraints if spec else ()
    old = [i for i in staying if i.config_version != config]
    new = [i for i in staying if i.config_version == config]
    strays = frozenset(i.id for i in old if former is not None and i.config_version != former)
    select = partial(select_victims, selection=selection, constraints=constraints, config_version=config, first=strays)
    victims: list[Instance] = []
    for group, count, healthy_kills in (
        (old, orders.kill_old, orders.healthy_kills),
        (new, orders.kill_new, orders.kill_new),
        (staying, orders.kill_any, orders.kill_any),
    ):
        if not count:
            continue
        if min(count, healthy_kills) >= len(group):
            victims += group
            continue
        weak, strong = [i for i in group if not i.ok], [i for i in group if i.ok]
        chosen = select(weak, min(count, len(weak)))
        victims += chosen + select(strong, min(count - len(chosen), healthy_kills))
    return victims


def kill_order(
    instances: Iterable[Instance],
    selection: KillSelection = "YOUNGEST_FIRST",
    *,
    config_version: str | None = None,
    first: frozenset[str] = frozenset(),
) -> list[Instance]:
    """Named ones, then outdated ones, then by condition (least useful first), then unhealthy ones, then by age."""
    sign = -1 if selection == "YOUNGEST_FIRST" else 1

    def rank(instance: Instance) -> tuple[object, ...]:
        return (
            instance.id not in first,
            config_version is not None and instance.config_version == config_version,
            _RANK.get(instance.condition, 9),
            instance.healthy is not False,
            sign * (instance.active_since or instance.provisioned_at),
            instance.id,
        )

    return sorted(instances, key=rank)


def select_victims(
    instances: Sequence[Instance],
    count: int,
    selection: KillSelection = "YOUNGEST_FIRST",
    constraints: tuple[Constraint, ...] = (),
    *,
    config_version: str | None = None,
    first: frozenset[str] = frozenset(),
) -> list[Instance]:
    """The `count` instances to kill. With GROUP_BY, running ones are taken from the largest group, so that the rest stays even."""
    ordered = kill_order(instances, selection, config_version=config_version, first=first)
    fields = [constraint.field for constraint in constraints if constraint.operator == "GROUP_BY"]
    if not fields or count >= len(ordered):
        return ordered[:count]
    return _from_largest_groups(ordered, count, fields[0], first)


def _from_largest_groups(ordered: list[Instance], count: int, field: str, first: frozenset[str]) -> list[Instance]:
    chosen = [instance for instance in ordered if instance.id in first][:count]
    named = {instance.id for instance in chosen}
    groups: dict[str | None, deque[Instance]] = {}
    for instance in ordered:
        if instance.id not in named:
            groups.setdefault(value_of(instance.agent, field), deque()).append(instance)
    sizes = Counter({value: len(members) for value, members in groups.items()})
    while len(chosen) < count:
        largest = max(sizes.values())
        # Among the largest groups, the one whose first member stands first in the order.
        value = min((v for v, size in sizes.items() if size == largest), key=lambda v: ordered.index(groups[v][0]))
        chosen.append(groups[value].popleft())
        sizes[value] -= 1
    return chosen
