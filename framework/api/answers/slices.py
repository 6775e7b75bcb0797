"""Long answers in slices of time: spelling thousands of apps must not hold up everything else in the daemon."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
_SLICE = 0.005  # seconds


async def sliced_list(items: Iterable[T], spell: Callable[[T], bytes]) -> AsyncIterator[bytes]:
    """The pieces of a JSON list."""
    pieces = []
    first, started = True, time.perf_counter()
    yield b"["
    for item in items:
        pieces.append(spell(item) if first else b"," + spell(item))
        first = False
        if time.perf_counter() - started > _SLICE:
            yield b"".join(pieces)
            pieces = []
            await asyncio.sleep(0)
            started = time.perf_counter()
    yield b"".join(pieces) + b"]"


async def named_list(name: str, items: Iterable[T], spell: Callable[[T], bytes]) -> AsyncIterator[bytes]:
    """The pieces of `{name: [item, …]}`."""
    yield b'{"' + name.encode() + b'":'
    async for piece in sliced_list(items, spell):
        yield piece
    yield b"}"


async def warmed(items: Iterable[T], spell: Callable[[T], bytes]) -> None:
    """Spells all, so that the caches have them when they are needed in one go."""
    async for _ in sliced_list(items, spell):
        pass
