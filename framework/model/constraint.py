"""Where instances may run relative to agents' attributes and to one another."""

from dataclasses import dataclass
from typing import Literal, get_args

Operator = Literal["UNIQUE", "CLUSTER", "GROUP_BY", "LIKE", "UNLIKE", "MAX_PER", "IS"]
OPERATORS: tuple[Operator, ...] = get_args(Operator)

HOSTNAME_FIELDS = ("hostname", "@hostname")
REGION_FIELD = "@region"
ZONE_FIELD = "@zone"


@dataclass(frozen=True, slots=True)
class Constraint:
    """`field` is an attribute's name, `hostname`/`@hostname`, `@region` or `@zone`. In JSON `[field, operator, value?]`."""

    field: str
    operator: Operator
    value: str | None = None
