"""Files as a source: looked at every `interval` seconds; a change of time, size or inode is a reason to read."""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any

from consul_template_py.errors import SourceRefusedError, SourceUnavailableError
from consul_template_py.query import Query
from consul_template_py.query.files import FileQuery
from consul_template_py.sources.base import Answer

_Stamp = tuple[int, int, int]


class FileSource:
    """`max_bytes` bounds one file. `folder`, where given, is the only place below which files are read, links resolved."""

    def __init__(self, *, interval: float = 1.0, max_bytes: int = 16 * 1024 * 1024, folder: Path | None = None) -> None:
        self._interval = interval
        self._max_bytes = max_bytes
        self._folder = folder.resolve() if folder else None

    async def poll(self, query: Query[Any], cursor: object | None, last: Any = None) -> Answer[Any]:
        assert isinstance(query, FileQuery)
        while True:
            stamp = _stamp(query.path)
            if cursor is None or stamp != cursor:
                return Answer(await self.read(query), stamp)
            await asyncio.sleep(self._interval)

    async def read(self, query: Query[Any]) -> str | None:
        assert isinstance(query, FileQuery)
        if self._folder is not None and not query.path.resolve().is_relative_to(self._folder):
            raise SourceRefusedError(f"{query.path} is outside of {self._folder}, the folder that templates may read")
        try:
            body = await asyncio.to_thread(_read, query.path, self._max_bytes)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SourceUnavailableError(f"{query.path}: {error.strerror}") from None
        return query.decode(body)

    async def close(self) -> None:
        pass


def _stamp(path: Path) -> _Stamp:
    with contextlib.suppress(OSError):
        found = os.stat(path)  # noqa: PTH116  one call, no Path in between
        return found.st_mtime_ns, found.st_size, found.st_ino
    return 0, 0, 0


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        body = file.read(limit + 1)
    if len(body) > limit:
        raise SourceUnavailableError(f"{path} is larger than {limit} bytes")
    return body
