"""What every source is: something that can be looked at, and that hints when it is worth looking again."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from registrator.model import Look

Hint = Callable[[str], None]  # called with a reason, from the event loop


class Source(Protocol):
    """`look` tells the whole state; `watch` runs until `stop` and calls `hint` whenever a look may show something new.

    Nothing depends on hints but time: the loop looks again every resync without any.
    """

    @property
    def name(self) -> str: ...

    async def look(self, *, fresh: bool) -> Look:
        """All that runs. `fresh` asks for a new answer of the server, where the source otherwise follows a stream.

        Raises SourceError if the server does not answer, or with something else than what runs.
        """

    async def watch(self, hint: Hint, stop: asyncio.Event) -> None:
        """Never raises; reconnects by itself."""

    async def close(self) -> None: ...


class Remembered:
    """A set of keys that forgets the oldest beyond `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._keys: OrderedDict[str, None] = OrderedDict()

    def add(self, key: str) -> None:
        self._keys[key] = None
        self._keys.move_to_end(key)
        while len(self._keys) > self._most:
            self._keys.popitem(last=False)

    def discard(self, key: str) -> None:
        self._keys.pop(key, None)

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def frozen(self) -> frozenset[str]:
        return frozenset(self._keys)
