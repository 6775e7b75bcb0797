"""Reading sandboxes over HTTP, in Mesos' own shapes: /files/browse, /files/read, /files/download, /files/debug.

A path is that of a file of this machine, as `directory` in an agent's state gives it. Only what is in a sandbox can be read, and what is
meant is the file itself: tasks own their sandboxes, and a link in one must not open the rest of the machine.
"""

import asyncio
import contextlib
import grp
import os
import pwd
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from embedded.mesos.errors import CallError
from embedded.mesos.http import json_response

Json = dict[str, Any]

MOST_READ_BYTES = 16 * 4096  # in one answer, as Mesos
_PIECE = 256 * 1024


@dataclass(frozen=True)
class Jail:
    """The directories that may be read from; asked for anew each time, as agents come and go."""

    roots: Callable[[], list[Path]]

    def browse(self, path: str) -> list[Json]:
        """The entries of a directory, by name. Raises CallError."""
        with self._opened(path, os.O_DIRECTORY) as (fd, _):
            found = []
            for name in sorted(os.listdir(fd)):  # noqa: PTH208  a Path cannot hold a descriptor
                with contextlib.suppress(FileNotFoundError):
                    found.append(_entry(f"{path.rstrip('/')}/{name}", os.stat(name, dir_fd=fd, follow_symlinks=False)))
            return found

    def read(self, path: str, offset: int, length: int | None) -> tuple[bytes, int]:
        """(the bytes from `offset` on, the size of the file). At most MOST_READ_BYTES. Raises CallError."""
        with self.opened(path) as (fd, size):
            wanted = MOST_READ_BYTES if length is None else min(length, MOST_READ_BYTES)
            return (os.pread(fd, wanted, offset) if offset < size else b""), size

    @contextlib.contextmanager
    def opened(self, path: str) -> Iterator[tuple[int, int]]:
        """(descriptor, size) of a regular file. Raises CallError."""
        with self._opened(path, 0) as (fd, status):
            if stat.S_ISDIR(status.st_mode):
                raise CallError("Cannot read a directory.\n", 400)
            if not stat.S_ISREG(status.st_mode):
                raise CallError("Not a regular file.\n", 400)
            yield fd, status.st_size

    @contextlib.contextmanager
    def _opened(self, path: str, flags: int) -> Iterator[tuple[int, os.stat_result]]:
        if "\0" in path or not path.startswith("/"):
            raise CallError("Not Found.\n", 404)
        real = os.path.realpath(path)
        try:
            # Without blocking: a task may have put a pipe there.
            fd = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | flags)
        except OSError:
            raise CallError("Not Found.\n", 404) from None
        try:
            # What was opened counts, not what the path said a moment ago.
            opened = Path(f"/proc/self/fd/{fd}").readlink()
            if not any(opened.is_relative_to(os.path.realpath(root)) for root in self.roots()):
                raise CallError("Not Found.\n", 404)
            yield fd, os.fstat(fd)
        finally:
            os.close(fd)


def text_of(data: bytes, *, at_end: bool) -> str:
    """Bytes of a file as text. A character that was cut at the end is left for the next read."""
    if not at_end:
        for back in range(1, min(4, len(data)) + 1):
            byte = data[-back]
            if byte >= 0xC0:  # the first byte of a character: how long is it to be?
                needed = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
                if needed > back:
                    data = data[:-back]
                break
            if byte < 0x80:
                break
    return data.decode(errors="replace")


def files_routes(jail: Jail) -> list[Route]:
    async def browse(request: Request) -> Response:
        return json_response(request, await asyncio.to_thread(jail.browse, _path(request)))

    async def read(request: Request) -> Response:
        path = _path(request)
        offset, length = _number(request, "offset", -1), _number(request, "length", -1)
        if offset < -1:
            raise CallError(f"Negative offset provided: {offset}.\n")
        if length < -1:
            raise CallError(f"Negative length provided: {length}.\n")
        if offset == -1:  # how far it goes
            _, size = await asyncio.to_thread(jail.read, path, 0, 0)
            return json_response(request, {"offset": size, "data": ""})
        data, size = await asyncio.to_thread(jail.read, path, offset, None if length == -1 else length)
        return json_response(request, {"offset": offset, "data": text_of(data, at_end=offset + len(data) >= size)})

    async def download(request: Request) -> Response:
        path = _path(request)
        stack = contextlib.ExitStack()
        fd, size = stack.enter_context(jail.opened(path))
        name = path.rstrip("/").rpartition("/")[2]
        headers = {
            "Content-Length": str(size),
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
            "X-Content-Type-Options": "nosniff",
        }
        return StreamingResponse(_pieces(fd, size, stack), media_type="application/octet-stream", headers=headers)

    async def debug(request: Request) -> Response:
        return json_response(request, {str(root): str(root) for root in jail.roots()})

    handlers = {"browse": browse, "read": read, "download": download, "debug": debug}
    return [
        Route(f"/files/{name}{suffix}", answering_errors(handler), methods=["GET"])
        for name, handler in handlers.items()
        for suffix in ("", ".json")
    ]


Handler = Callable[[Request], Any]


def answering_errors(handler: Handler) -> Handler:
    """A CallError becomes its status and its line of text."""

    async def handle(request: Request) -> Response:
        try:
            response: Response = await handler(request)
        except CallError as error:
            return PlainTextResponse(str(error), status_code=error.status)
        return response

    return handle


async def _pieces(fd: int, size: int, stack: contextlib.ExitStack) -> AsyncIterator[bytes]:
    """A file that shrinks meanwhile is filled up, so that the length that was told is true."""
    with stack:
        offset = 0
        while offset < size:
            piece = await asyncio.to_thread(os.pread, fd, min(_PIECE, size - offset), offset)
            yield piece or b"\0" * min(_PIECE, size - offset)
            offset += len(piece) or min(_PIECE, size - offset)


def _path(request: Request) -> str:
    path = request.query_params.get("path")
    if not path:
        raise CallError("Expecting 'path=value' in query.\n")
    return path


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        return int(text)
    except ValueError:
        raise CallError(f"Failed to parse {name}: Failed to convert '{text}' to number.\n") from None


def _entry(path: str, status: os.stat_result) -> Json:
    return {
        "path": path,
        "nlink": status.st_nlink,
        "size": status.st_size,
        "mtime": status.st_mtime,
        "mode": stat.filemode(status.st_mode),
        "uid": _name(pwd.getpwuid, status.st_uid),
        "gid": _name(grp.getgrgid, status.st_gid),
    }


def _name(look_up: Callable[[int], Any], number: int) -> str:
    try:
        return str(look_up(number)[0])
    except KeyError:
        return str(number)
