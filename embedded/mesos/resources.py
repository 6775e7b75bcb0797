"""Resources as values: added, subtracted, compared, read from and written to JSON and Mesos's own strings.

A Resources maps kinds to amounts. The kind is what must be equal for two amounts to be added: the name, the role that it is
reserved for (`*`: nobody), and what else sets it apart (reservation, volume, …). Scalars are whole thousandths, as in Mesos,
so that sums of 0.1 come out even. Nothing that is zero or empty is kept: a resource that is used up is absent.
"""

import itertools
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from embedded.mesos.errors import CallError, ResourcesError
from embedded.mesos.messages import parse

Json = dict[str, Any]
Ranges = tuple[tuple[int, int], ...]
Amount = int | Ranges | frozenset[str]

UNRESERVED = "*"
EXAMPLE = "cpus:4;mem:4096;disk:4096;ports:[31000-32000]"
_APART = ("disk", "revocable", "shared", "provider_id")


@dataclass(frozen=True, slots=True)
class Kind:
    name: str
    role: str = UNRESERVED
    apart: bytes = b""  # canonical JSON of reservations, disk, revocable, shared and provider_id, where there are any

    @property
    def details(self) -> Json:
        details: Json = orjson.loads(self.apart) if self.apart else {}
        return details

    @property
    def reservations(self) -> list[Json]:
        reservations: list[Json] = self.details.get("reservations", [])
        return reservations


class Resources:
    """An immutable bag of resources."""

    __slots__ = ("_amounts",)

    def __init__(self, amounts: dict[Kind, Amount] | None = None) -> None:
        self._amounts = amounts or {}

    # Arithmetic

    def __add__(self, other: "Resources") -> "Resources":
        if not other._amounts:
            return self
        if not self._amounts:
            return other
        total = dict(self._amounts)
        for kind, amount in other._amounts.items():
            total[kind] = _sum(total[kind], amount) if kind in total else amount
        return Resources(total)

    def __sub__(self, other: "Resources") -> "Resources":
        """What is left; taking more than there is leaves nothing of it."""
        if not other._amounts or not self._amounts:
            return self
        rest = dict(self._amounts)
        for kind, amount in other._amounts.items():
            if kind in rest:
                left = _difference(rest[kind], amount)
                if left:
                    rest[kind] = left
                else:
                    del rest[kind]
        return Resources(rest)

    def contains(self, other: "Resources") -> bool:
        mine = self._amounts
        return all(kind in mine and _covers(mine[kind], amount) for kind, amount in other._amounts.items())

    def __bool__(self) -> bool:
        return bool(self._amounts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Resources) and self._amounts == other._amounts

    def __hash__(self) -> int:
        return hash(frozenset(self._amounts.items()))

    def __iter__(self) -> Iterator[tuple[Kind, Amount]]:
        return iter(self._amounts.items())

    def __str__(self) -> str:
        return "; ".join(f"{_show_kind(kind)}:{_show_amount(amount)}" for kind, amount in self) or "{}"

    __repr__ = __str__

    # Looks

    def scalar(self, name: str) -> float:
        """The sum over all reservations, 0 where there is none."""
        return self.thousandths(name) / 1000

    def thousandths(self, name: str) -> int:
        return sum(amount for kind, amount in self if kind.name == name and isinstance(amount, int))

    def quantities(self) -> dict[str, int]:
        """Thousandths by name, over all reservations; ranges and sets count their members."""
        total: dict[str, int] = {}
        for kind, amount in self:
            total[kind.name] = total.get(kind.name, 0) + (amount if isinstance(amount, int) else 1000 * _count(amount))
        return total

    def available_to(self, role: str) -> "Resources":
        """What may be offered to the role: the unreserved, and what is reserved for it or a role above it."""
        if all(kind.role == UNRESERVED for kind in self._amounts):
            return self
        above = {"/".join(role.split("/")[: depth + 1]) for depth in range(role.count("/") + 1)}
        return Resources({k: a for k, a in self if k.role == UNRESERVED or k.role in above})

    def by_role(self) -> dict[str, "Resources"]:
        found: dict[str, dict[Kind, Amount]] = {}
        for kind, amount in self:
            found.setdefault(kind.role, {})[kind] = amount
        return {role: Resources(amounts) for role, amounts in found.items()}

    # JSON

    @classmethod
    def from_json(cls, items: Iterable[Json]) -> "Resources":
        """From v1 Resource objects, whichever way they tell reservations. Raises ResourcesError for impossible amounts."""
        total = cls()
        for item in items:
            problem = problem_of(item)
            if problem:
                raise ResourcesError(problem)
            amount = _amount(item)
            if amount:
                total += cls({_kind(item): amount})
        return total

    def to_json(self, *, allocated_to: str | None = None, refined: bool = False) -> list[Json]:
        """v1 Resource objects. `refined` tells reservations by `reservations`, else by `role` and `reservation`."""
        return [_resource(kind, amount, allocated_to, refined) for kind, amount in self]


def parse_resources(text: str) -> Resources:
    """`cpus:4;mem:4096;ports(role):[31000-32000]`, or a JSON list of Resource objects. Raises ResourcesError."""
    if text.lstrip().startswith("["):
        return _parse_json(text)
    total = Resources()
    for part in filter(None, map(str.strip, text.split(";"))):
        match = re.fullmatch(r"([^:()\s]+)\s*(?:\(([^()]+)\))?\s*:\s*(.+)", part, re.DOTALL)
        if not match:
            raise ResourcesError(
                f"resources: {part!r} is not NAME:VALUE or NAME(ROLE):VALUE; write them like {EXAMPLE}"
            )
        name, role, value = match[1], match[2] or UNRESERVED, match[3].strip()
        apart = b"" if role == UNRESERVED else _canonical({"reservations": [{"type": "STATIC", "role": role}]})
        amount = _parse_value(part, value)
        if amount:
            total += Resources({Kind(name, role, apart): amount})
    if not total:
        raise ResourcesError(f"resources: {text!r} holds none; write them like {EXAMPLE}")
    return total


def parse_attributes(text: str) -> list[Json]:
    """`rack:a1;disks:4;zones:[1-2]` -> v1 Attribute objects. Raises ResourcesError."""
    attributes: list[Json] = []
    for part in filter(None, map(str.strip, text.split(";"))):
        name, colon, value = (piece.strip() for piece in part.partition(":"))
        if not name or not colon or not value:
            raise ResourcesError(f"attributes: {part!r} is not NAME:VALUE; write them like rack:a1;disks:4")
        if value.startswith("["):
            attributes.append({"name": name, "type": "RANGES", "ranges": _ranges_json(_parse_ranges(part, value))})
        elif re.fullmatch(r"-?\d+(\.\d+)?", value):
            attributes.append({"name": name, "type": "SCALAR", "scalar": {"value": float(value)}})
        else:
            attributes.append({"name": name, "type": "TEXT", "text": {"value": value}})
    return attributes


def problem_of(item: Json) -> str | None:
    """Why this v1 Resource cannot be, in Mesos's words; None if it can."""
    problem = None
    if item["type"] == "SCALAR":
        if "scalar" not in item:
            problem = "Invalid scalar resource: no value"
        elif not math.isfinite(item["scalar"]["value"]) or item["scalar"]["value"] < 0:
            problem = "Invalid scalar resource: value <= 0"
    elif item["type"] == "RANGES":
        problem = _problem_of_ranges([(r["begin"], r["end"]) for r in item.get("ranges", {}).get("range", [])])
    elif "set" not in item:
        problem = "Invalid set resource: no items"
    return f"Resource '{show(item)}' is invalid: {problem}" if problem else None


def _problem_of_ranges(pairs: list[tuple[int, int]]) -> str | None:
    if any(begin > end for begin, end in pairs):
        return "Invalid ranges resource: begin > end"
    ordered = sorted(pairs)
    if any(following[0] <= before[1] for before, following in itertools.pairwise(ordered)):
        return "Invalid ranges resource: overlapping ranges"
    return None


def show(item: Json) -> str:
    """One v1 Resource as Mesos prints it: `cpus(allocated: web):0.5`."""
    role = item.get("allocation_info", {}).get("role")
    if item["type"] == "SCALAR":
        value = f"{item.get('scalar', {}).get('value', 0):g}"
    elif item["type"] == "RANGES":
        value = "[" + ", ".join(f"{r['begin']}-{r['end']}" for r in item.get("ranges", {}).get("range", [])) + "]"
    else:
        value = "{" + ", ".join(item.get("set", {}).get("item", [])) + "}"
    return f"{item['name']}" + (f"(allocated: {role})" if role else "") + f":{value}"


def show_ranges(ranges: Ranges) -> str:
    return "[" + ", ".join(f"{begin}-{end}" for begin, end in ranges) + "]"


def summary(resources: Resources) -> Json:
    """The short form of /state: `{"cpus": 4.0, "mem": 4096.0, "disk": …, "gpus": 0.0, "ports": "[31000-32000]"}`."""
    short: Json = {"disk": 0.0, "mem": 0.0, "gpus": 0.0, "cpus": 0.0}
    ranges: dict[str, Ranges] = {}
    for kind, amount in resources:
        if isinstance(amount, int):
            short[kind.name] = round(short.get(kind.name, 0.0) + amount / 1000, 3)
        elif isinstance(amount, tuple):
            merged = _sum(ranges.get(kind.name, ()), amount)
            assert isinstance(merged, tuple)
            ranges[kind.name] = merged
        else:
            short[kind.name] = "{" + ", ".join(sorted(amount)) + "}"
    return short | {name: show_ranges(found) for name, found in ranges.items()}


# Kinds and amounts


def _canonical(details: Json) -> bytes:
    return orjson.dumps(details, option=orjson.OPT_SORT_KEYS) if details else b""


def _kind(item: Json) -> Kind:
    reservations = item.get("reservations") or _old_reservations(item)
    details = {name: item[name] for name in _APART if item.get(name) is not None}
    if reservations:
        details["reservations"] = reservations
    role = reservations[-1].get("role", UNRESERVED) if reservations else UNRESERVED
    return Kind(item["name"], role, _canonical(details))


def _old_reservations(item: Json) -> list[Json]:
    role = item.get("role", UNRESERVED)
    if role == UNRESERVED:
        return []
    if "reservation" in item:
        return [{"type": "DYNAMIC", "role": role, **{k: item["reservation"][k] for k in sorted(item["reservation"])}}]
    return [{"type": "STATIC", "role": role}]


def _amount(item: Json) -> Amount:
    if item["type"] == "SCALAR":
        return int(item["scalar"]["value"] * 1000 + 0.5)
    if item["type"] == "RANGES":
        return _merge((r["begin"], r["end"]) for r in item.get("ranges", {}).get("range", []))
    return frozenset(item["set"].get("item", []))


def _resource(kind: Kind, amount: Amount, allocated_to: str | None, refined: bool) -> Json:
    item: Json = {"name": kind.name}
    if isinstance(amount, int):
        item |= {"type": "SCALAR", "scalar": {"value": amount / 1000}}
    elif isinstance(amount, tuple):
        item |= {"type": "RANGES", "ranges": _ranges_json(amount)}
    else:
        item |= {"type": "SET", "set": {"item": sorted(amount)}}
    details = kind.details
    reservations = details.pop("reservations", [])
    item |= details
    if not refined:
        item["role"] = kind.role
        last = reservations[-1] if reservations else {}
        if last.get("type") == "DYNAMIC":
            item["reservation"] = {name: last[name] for name in ("principal", "labels") if name in last}
    elif reservations:
        item["reservations"] = reservations
    if allocated_to:
        item["allocation_info"] = {"role": allocated_to}
    return item


def _ranges_json(ranges: Ranges) -> Json:
    return {"range": [{"begin": begin, "end": end} for begin, end in ranges]}


def _merge(pairs: Iterable[tuple[int, int]]) -> Ranges:
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(pairs):
        if merged and begin <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((begin, end))
    return tuple(merged)


def _sum(a: Amount, b: Amount) -> Amount:
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    if isinstance(a, tuple) and isinstance(b, tuple):
        return _merge([*a, *b])
    if isinstance(a, frozenset) and isinstance(b, frozenset):
        return a | b
    raise ResourcesError("resources of one name are of different types")


def _difference(a: Amount, b: Amount) -> Amount:
    if isinstance(a, int) and isinstance(b, int):
        return max(0, a - b)
    if isinstance(a, frozenset) and isinstance(b, frozenset):
        return a - b
    if not isinstance(a, tuple) or not isinstance(b, tuple):
        raise ResourcesError("resources of one name are of different types")
    left = list(a)
    for begin, end in b:
        left = [piece for low, high in left for piece in _cut(low, high, begin, end)]
    return tuple(left)


def _cut(low: int, high: int, begin: int, end: int) -> Iterator[tuple[int, int]]:
    if end < low or begin > high:
        yield low, high
        return
    if low < begin:
        yield low, begin - 1
    if high > end:
        yield end + 1, high


def _covers(a: Amount, b: Amount) -> bool:
    if isinstance(a, int) and isinstance(b, int):
        return a >= b
    if isinstance(a, frozenset) and isinstance(b, frozenset):
        return a >= b
    if isinstance(a, tuple) and isinstance(b, tuple):
        return all(any(low <= begin and end <= high for low, high in a) for begin, end in b)
    return False


def _count(amount: Ranges | frozenset[str]) -> int:
    return len(amount) if isinstance(amount, frozenset) else sum(end - begin + 1 for begin, end in amount)


def _show_kind(kind: Kind) -> str:
    return kind.name if kind.role == UNRESERVED else f"{kind.name}(reservations: [({kind.role})])"


def _show_amount(amount: Amount) -> str:
    if isinstance(amount, int):
        return f"{amount / 1000:g}"
    return show_ranges(amount) if isinstance(amount, tuple) else "{" + ", ".join(sorted(amount)) + "}"


# Strings


def _parse_json(text: str) -> Resources:
    try:
        items = orjson.loads(text)
        return Resources.from_json([parse("Resource", item) for item in items])
    except (orjson.JSONDecodeError, CallError) as error:
        raise ResourcesError(
            f"resources: the JSON list cannot be read: {error}; or write them like {EXAMPLE}"
        ) from None


def _parse_value(part: str, value: str) -> Amount:
    if value.startswith("["):
        return _parse_ranges(part, value)
    if value.startswith("{") and value.endswith("}"):
        return frozenset(filter(None, map(str.strip, value[1:-1].split(","))))
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number < 0:
        raise ResourcesError(
            f"resources: {part!r}: {value!r} is not a number, a [range] or a {{set}}; write them like {EXAMPLE}"
        )
    return round(number * 1000)


def _parse_ranges(part: str, value: str) -> Ranges:
    pairs = re.findall(r"(\d+)\s*-\s*(\d+)", value)
    if not re.fullmatch(r"\[\s*(\d+\s*-\s*\d+\s*(,\s*\d+\s*-\s*\d+\s*)*)?\]", value):
        raise ResourcesError(f"{part!r}: {value!r} is not a list of ranges; write it like [31000-32000]")
    numbers = [(int(begin), int(end)) for begin, end in pairs]
    problem = _problem_of_ranges(numbers)
    if problem:
        raise ResourcesError(f"{part!r}: {problem}; write it like [31000-32000]")
    return _merge(numbers)
