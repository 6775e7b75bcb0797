"""Waiting for a condition with a deadline: what tests do instead of sleeping."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(check: Callable[[], T], timeout: float = 30.0, interval: float = 0.05, what: str = "") -> T:
    """Calls `check` until it returns something true, and returns that. An exception counts as "not yet"."""
    deadline = time.monotonic() + timeout
    while True:
        last: object
        try:
            result = check()
            if result:
                return result
            last = result
        except Exception as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what or inspect.getsource(check).strip()}; last: {last!r}")
        time.sleep(interval)


async def eventually_async(
    check: Callable[[], T | Awaitable[T]], timeout: float = 30.0, interval: float = 0.05, what: str = ""
) -> T:
    """As `eventually`, for coroutine functions too, without blocking the loop."""
    deadline = time.monotonic() + timeout
    while True:
        last: object
        try:
            result = check()
            if inspect.isawaitable(result):
                result = await result
            if result:
                return result  # type: ignore[return-value]
            last = result
        except Exception as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what or 'condition'}; last: {last!r}")
        await asyncio.sleep(interval)
