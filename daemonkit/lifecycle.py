"""From start to SIGTERM: runs a daemon's coroutine, stops it cleanly, and turns an operator's mistake into one line."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import uvloop

from daemonkit.backoff import Backoff
from daemonkit.errors import OperatorError
from daemonkit.logs import get_logger

log = get_logger(__name__)


def run(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Runs `main(stop)` until it returns. SIGTERM and SIGINT set `stop`; a second one ends the process at once.

    An OperatorError is printed as one line on stderr and ends the process with its exit code.
    """
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_until_stopped(main))
    except OperatorError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


async def _until_stopped(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            # Not sys.exit: that would wait for threads, which is what the second signal is sent against.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(128 + number)
        log.info("stopping", signal=number.name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    await main(stop)


async def keep_running(
    name: str, step: Callable[[], Awaitable[None]], *, stop: asyncio.Event, backoff: Backoff | None = None
) -> None:
    """Runs `step` again and again until `stop`; an error is logged, never fatal, and the next try waits by `backoff`."""
    waits = backoff or Backoff()
    while not stop.is_set():
        try:
            await step()
            waits.reset()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            delay = waits.next()
            log.warning(
                "step failed, will try again", step=name, error=str(error) or repr(error), retry_in=round(delay, 2)
            )
            await sleep_or_stop(delay, stop)


async def sleep_or_stop(seconds: float, stop: asyncio.Event) -> bool:
    """Waits; True if `stop` was set meanwhile."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, seconds)):  # wait_for would lose a cancellation that comes with the stop
            await stop.wait()
    return stop.is_set()
