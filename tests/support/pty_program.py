"""A program on a terminal of its own, as a person at a keyboard has it."""

import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.waiting import eventually


@dataclass
class PtyProgram:
    process: subprocess.Popen[bytes]
    terminal: int
    _settings: list[Any]
    seen: bytes = b""
    _mark: int = field(default=0)

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def expect(self, text: str, timeout: float = 60.0) -> None:
        """Waits for `text` behind what was expected last."""

        def found() -> bool:
            self._read()
            at = self.seen.find(text.encode(), self._mark)
            if at >= 0:
                self._mark = at + len(text)
            return at >= 0

        try:
            eventually(found, timeout=timeout, what=f"{text!r} on the terminal")
        except AssertionError as error:
            raise AssertionError(f"{error}; seen: {self.seen!r}") from None

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def end(self, timeout: float = 60.0) -> int:
        """Its exit code, once it has ended by itself."""
        eventually(lambda: self._read() or self.process.poll() is not None, timeout=timeout, what="its end")
        return self.process.wait()

    @property
    def settings_are_back(self) -> bool:
        return termios.tcgetattr(self.terminal) == self._settings

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            while data := os.read(self.terminal, 65536):
                self.seen += data


@contextlib.contextmanager
def on_terminal(
    command: Sequence[str], rows: int, columns: int, env: Mapping[str, str] | None = None
) -> Iterator[PtyProgram]:
    ours, theirs = pty.openpty()
    try:
        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        settings = termios.tcgetattr(ours)
        os.set_blocking(ours, False)
        process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *command],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
        try:
            yield PtyProgram(process, ours, settings)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    finally:
        os.close(ours)
        os.close(theirs)
