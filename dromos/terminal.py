"""The terminal that a command is given on: handed over as it is while a session lasts, and put back after it."""

import contextlib
import os
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    rows: int
    columns: int

    @property
    def json(self) -> dict[str, int]:
        """v1 WindowSize"""
        return {"rows": self.rows, "columns": self.columns}


def size_of(fd: int) -> Size:
    """24 lines of 80 where it cannot be told."""
    with contextlib.suppress(OSError):
        columns, rows = os.get_terminal_size(fd)
        return Size(rows, columns)
    return Size(24, 80)


@contextlib.contextmanager
def raw(fd: int) -> Iterator[None]:
    """Every key goes to the reader at once, and none means anything here, ^C included. In the main thread only."""
    before, handler = termios.tcgetattr(fd), signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        tty.setraw(fd, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
        signal.signal(signal.SIGTERM, handler)


@contextlib.contextmanager
def watching_size(fd: int, changed: Callable[[Size], None]) -> Iterator[None]:
    """Calls `changed` whenever the window has. In the main thread only."""
    before = signal.signal(signal.SIGWINCH, lambda *_: changed(size_of(fd)))
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
