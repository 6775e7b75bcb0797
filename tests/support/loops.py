"""Servers in threads of a test's process, each in an event loop of its own."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from typing import Any


@contextlib.contextmanager
def running_in_a_thread(
    loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, None], stop: asyncio.Event, name: str
) -> Iterator[None]:
    """Runs `main` in `loop` until it ends; at the end of the block `stop` is set there, and it is waited for.

    What `main` leaves to the loop is cancelled and waited for, as in a daemon: else it would end in some later test.
    """

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(main)

    thread = threading.Thread(target=run, name=name)
    thread.start()
    try:
        yield
    finally:
        with contextlib.suppress(RuntimeError):  # the loop is closed: it has ended by itself
            loop.call_soon_threadsafe(stop.set)
        thread.join()
