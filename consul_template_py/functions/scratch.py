"""`scratch`: a pad on which a template notes values while it is evaluated. Gone afterwards."""

from collections.abc import Callable
from typing import Any


class Scratch:
    """Every use makes what is being evaluated impure, since it depends on what was noted before."""

    def __init__(self, impure: Callable[[], None]) -> None:
        self._impure = impure
        self._values: dict[str, Any] = {}

    def clear(self) -> None:
        self._values = {}

    def key(self, name: str) -> bool:
        self._impure()
        return name in self._values

    def get(self, name: str) -> Any:
        self._impure()
        return self._values.get(name, "")

    def set(self, name: str, value: Any) -> str:
        self._impure()
        self._values[name] = value
        return ""

    def set_x(self, name: str, value: Any) -> str:
        """Sets it unless it is set."""
        self._impure()
        self._values.setdefault(name, value)
        return ""

    def map_set(self, name: str, key: str, value: Any) -> str:
        self._impure()
        self._values.setdefault(name, {})[key] = value
        return ""

    def map_set_x(self, name: str, key: str, value: Any) -> str:
        self._impure()
        self._values.setdefault(name, {}).setdefault(key, value)
        return ""

    def map_values(self, name: str) -> list[Any]:
        """Sorted by their keys."""
        self._impure()
        found = self._values.get(name, {})
        return [found[key] for key in sorted(found)]
