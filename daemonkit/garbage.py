"""Keeps the garbage collector's pauses short in a daemon with much state in memory.

A full collection looks at every object, so that a daemon with a million of them stands still for half a second, again and again. Here
whatever has survived a full collection is set aside (gc.freeze): the next one looks only at what is newer. Objects that are set aside
are still freed when their last reference goes; only cycles among them stay. `sweep` looks for those, when the daemon has the time.
"""

import gc
import time
from collections.abc import Callable

from daemonkit.logs import get_logger

log = get_logger(__name__)

# Small steps: a full collection comes after some 20,000 new objects, and takes about 10 ms.
THRESHOLDS = (1000, 10, 2)
SWEEP_SECONDS = 3600.0
_GROWTH = 2.0  # of what is set aside, before a look at all of it is worth its time


class Garbage:
    """`idle()`: whether a pause of up to a second or so hurts nobody now."""

    def __init__(self, idle: Callable[[], bool]) -> None:
        self._idle = idle
        self._thresholds = gc.get_threshold()
        self._after_sweep = 0

    def start(self) -> None:
        self.set_aside()
        gc.set_threshold(*THRESHOLDS)
        gc.callbacks.append(self._collected)

    def stop(self) -> None:
        gc.callbacks.remove(self._collected)
        gc.set_threshold(*self._thresholds)
        gc.unfreeze()

    def set_aside(self) -> None:
        """Everything that there is now; after much has been loaded."""
        gc.collect()
        gc.freeze()
        self._after_sweep = gc.get_freeze_count()

    def sweep(self) -> bool:
        """Looks at everything if that is worth it and the daemon idles. To be called every SWEEP_SECONDS; whether it did."""
        if gc.get_freeze_count() < _GROWTH * max(1, self._after_sweep) or not self._idle():
            return False
        started = time.perf_counter()
        before = gc.get_freeze_count()
        gc.unfreeze()
        self.set_aside()
        seconds = round(time.perf_counter() - started, 3)
        log.info("garbage collected", objects_before=before, objects=self._after_sweep, seconds=seconds)
        return True

    @staticmethod
    def _collected(phase: str, info: dict[str, int]) -> None:
        if phase == "stop" and info["generation"] == 2:
            gc.freeze()
