"""Log rotation: a log that has grown too large is renamed, the oldest goes, and the proxy is told to write to a new one."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path


class Rotation:
    """`most_bytes` a file, `keep` old files each. Called now and then; cheap while nothing is due."""

    def __init__(
        self, files: Sequence[Path], most_bytes: int, keep: int, reopen: Callable[[], Awaitable[None]]
    ) -> None:
        self._files = files
        self._most_bytes = most_bytes
        self._keep = keep
        self._reopen = reopen

    async def __call__(self) -> None:
        due = [file for file in self._files if _size(file) > self._most_bytes]
        for file in due:
            rotate(file, self._keep)
        if due:
            await self._reopen()


def rotate(file: Path, keep: int) -> None:
    """`access.log` becomes `access.log.1`, `.1` becomes `.2` …; what would be past `keep` goes."""
    for number in range(keep, 0, -1):
        source = file if number == 1 else file.with_name(f"{file.name}.{number - 1}")
        if source.exists():
            source.replace(file.with_name(f"{file.name}.{number}"))
    if keep == 0:
        file.unlink(missing_ok=True)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
