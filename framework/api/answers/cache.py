"""JSON of frozen values, made once: a list of thousands of apps and tasks is then little more than a join of bytes."""

from collections.abc import Callable
from typing import Generic, TypeVar

import orjson

from framework.model.codec import to_json

V = TypeVar("V")


def dumps(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)


class JsonCache(Generic[V]):
    """JSON by id, remade when the value is another one. Bounded: when it holds `most` entries it starts afresh."""

    def __init__(self, make: Callable[[V], object] = to_json, *, most: int = 100_000) -> None:
        self._make, self._most = make, most
        self._made: dict[str, tuple[V, bytes]] = {}

    def bytes_of(self, id: str, value: V) -> bytes:
        known = self._made.get(id)
        if known is not None and known[0] is value:
            return known[1]
        if len(self._made) >= self._most:
            self._made.clear()
        made = dumps(self._make(value))
        self._made[id] = (value, made)
        return made


def joined(obj: bytes, more: bytes) -> bytes:
    """Two JSON objects as one; neither may be empty."""
    return obj[:-1] + b"," + more[1:]
