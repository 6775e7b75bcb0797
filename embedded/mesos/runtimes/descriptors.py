"""Reading and writing pipes and terminals in an event loop: only when someone asks, so that the slower side sets the pace."""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Collection

PIECE = 64 * 1024


class Readers:
    """Descriptors that are read in turn, each under a name, until all have come to their end. They belong to this object."""

    def __init__(self, names: dict[int, str]) -> None:
        self._names = names
        self._turn = deque(names)
        for fd in names:
            os.set_blocking(fd, False)

    async def read(self) -> tuple[str, bytes] | None:
        """(name, data), or None at the end of all. May be cancelled without losing anything."""
        while self._turn:
            for _ in range(len(self._turn)):
                fd = self._turn[0]
                self._turn.rotate(-1)
                try:
                    data = os.read(fd, PIECE)
                except BlockingIOError:
                    continue
                except OSError:  # a terminal that nobody has open any more
                    data = b""
                if data:
                    return self._names[fd], data
                self._turn.remove(fd)
                os.close(fd)
            if self._turn:
                await _ready(self._turn, adding="add_reader", removing="remove_reader")
        return None

    def close(self) -> None:
        while self._turn:
            os.close(self._turn.pop())


class Writer:
    """A descriptor to write to, which belongs to this object."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        os.set_blocking(fd, False)

    async def write(self, data: bytes) -> None:
        """What nobody reads any more is dropped."""
        left = memoryview(data)
        while left and self._fd >= 0:
            try:
                left = left[os.write(self._fd, left) :]
            except BlockingIOError:
                await _ready((self._fd,), adding="add_writer", removing="remove_writer")
            except OSError:
                return

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


async def _ready(fds: Collection[int], *, adding: str, removing: str) -> None:
    """Returns when one of them is ready. They are watched no longer than this takes."""
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()
    add: Callable[..., None] = getattr(loop, adding)
    remove: Callable[[int], bool] = getattr(loop, removing)

    def wake() -> None:
        if not waiter.done():
            waiter.set_result(None)

    watched = list(fds)
    for fd in watched:
        add(fd, wake)
    try:
        await waiter
    finally:
        for fd in watched:
            remove(fd)
