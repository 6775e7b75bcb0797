"""Helpers on lists, maps, services and key pairs. Pure; the value comes first, so that each is a Jinja2 filter too."""

from collections.abc import Iterable, Mapping
from typing import Any

from consul_template_py.errors import TemplateError
from consul_template_py.query import KeyPair, ServiceInstance


def by_key(pairs: Iterable[KeyPair]) -> dict[str, dict[str, KeyPair]]:
    """`a/b/c` is grouped below `a` as `b/c`; keys without a folder are left out."""
    grouped: dict[str, dict[str, KeyPair]] = {}
    for pair in pairs:
        top, slash, rest = pair.key.partition("/")
        if slash:
            grouped.setdefault(top, {})[rest] = pair
    return dict(sorted(grouped.items()))


def by_tag(services: Iterable[Any]) -> dict[str, list[Any]]:
    """Of `services()` or `service()`: each under every tag that it has."""
    grouped: dict[str, list[Any]] = {}
    for service in services:
        for tag in service.tags:
            grouped.setdefault(tag, []).append(service)
    return dict(sorted(grouped.items()))


def by_port(services: Iterable[ServiceInstance]) -> dict[int, list[ServiceInstance]]:
    grouped: dict[int, list[ServiceInstance]] = {}
    for service in services:
        grouped.setdefault(service.port, []).append(service)
    return dict(sorted(grouped.items()))


def by_meta(services: Iterable[ServiceInstance], keys: str) -> dict[str, list[ServiceInstance]]:
    """`keys` is a list such as `"version,zone|int"`: a group's name is the values joined by `_`; `|int` pads numbers to sort them."""
    wanted = [key.strip() for key in keys.split(",") if key.strip()]
    if not wanted:
        raise TemplateError("by_meta needs at least one key of the services' meta")
    grouped: dict[str, list[ServiceInstance]] = {}
    for service in services:
        grouped.setdefault("_".join(_meta(service, key) for key in wanted), []).append(service)
    return dict(sorted(grouped.items()))


def _meta(service: ServiceInstance, key: str) -> str:
    name, _, kind = key.partition("|")
    value = service.meta.get(name, "")
    if kind == "int":
        try:
            return f"{int(value):05d}"
        except ValueError:
            raise TemplateError(f"by_meta: {name} of {service.id} is {value!r}, not a number") from None
    return value


def contains(items: Any, item: Any) -> bool:
    return item in items


def contains_all(items: Any, wanted: Iterable[Any]) -> bool:
    return all(item in items for item in wanted)


def contains_any(items: Any, wanted: Iterable[Any]) -> bool:
    return any(item in items for item in wanted)


def contains_none(items: Any, wanted: Iterable[Any]) -> bool:
    return not contains_any(items, wanted)


def contains_not_all(items: Any, wanted: Iterable[Any]) -> bool:
    return not contains_all(items, wanted)


def in_(item: Any, items: Any) -> bool:
    return item in items


def explode(pairs: Iterable[KeyPair]) -> dict[str, Any]:
    """`a/b` = 1 becomes {"a": {"b": "1"}}. A folder wins over a value of the same name."""
    return explode_map({pair.key: pair.value for pair in pairs})


def explode_map(values: Mapping[str, Any]) -> dict[str, Any]:
    deep: dict[str, Any] = {}
    for path, value in sorted(values.items()):
        *folders, name = path.split("/")
        at = deep
        for folder in folders:
            below = at.get(folder)
            if not isinstance(below, dict):
                below = at[folder] = {}
            at = below
        if not isinstance(at.get(name), dict):
            at[name] = value
    return deep


def merge_map(winner: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Deep. Where both have a value, the first map's stays."""
    return _merged(winner, base, override=False)


def merge_map_with_override(winner: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Deep. Where both have a value, the second map's wins."""
    return _merged(winner, base, override=True)


def _merged(first: Mapping[str, Any], second: Mapping[str, Any], *, override: bool) -> dict[str, Any]:
    merged = dict(first)
    for key, value in second.items():
        mine = merged.get(key)
        if isinstance(mine, Mapping) and isinstance(value, Mapping):
            merged[key] = _merged(mine, value, override=override)
        elif key not in merged or override:
            merged[key] = value
    return merged


def join(items: Iterable[Any], separator: str = "") -> str:
    return separator.join(str(item) for item in items)


def loop(first: int, last: int | None = None) -> range:
    """`loop(3)` is 0 1 2, `loop(5, 8)` is 5 6 7. At most 100,000 numbers."""
    numbers = range(int(first)) if last is None else range(int(first), int(last))
    if len(numbers) > 100_000:
        raise TemplateError(f"loop: {len(numbers)} numbers are more than 100000")
    return numbers


def split(text: str, separator: str) -> list[str]:
    text = text.strip()
    return text.split(separator) if separator and text else list(text)


def split_to_map(text: str, pairs: str, between: str) -> dict[str, str]:
    """`split_to_map("a:1,b:2", ",", ":")`; what has no `between` is left out."""
    parts = (part.partition(between) for part in text.split(pairs))
    return {name.strip(): value.strip() for name, found, value in parts if found}
