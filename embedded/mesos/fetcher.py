"""Brings a command's URIs into the sandbox before the task starts: copies or downloads, then unpacks or makes executable.

Archives come from strangers: nothing in one is written outside the sandbox, whatever its names and links say.
"""

import asyncio
import contextlib
import hashlib
import os
import shutil
import stat
import subprocess
import time
import urllib.parse
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import aiohttp

from embedded.mesos.archives import ArchiveError, is_archive, unpack
from embedded.mesos.errors import MesosError
from embedded.mesos.runtimes.base import User

Json = dict[str, Any]

_PIECE = 256 * 1024


class FetchError(MesosError):
    """A URI cannot be fetched; the task does not start."""


@dataclass(frozen=True)
class FetcherSettings:
    timeout: float = 300.0  # seconds without a byte
    most_bytes: int = 8 * 1024**3  # of one download, and of what one archive holds
    cache_bytes: int = 2 * 1024**3


@dataclass
class Fetcher:
    """`cache` is the directory of URIs that are fetched with `cache: true`."""

    cache: Path
    settings: FetcherSettings = field(default_factory=FetcherSettings)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def fetch(self, uris: list[Json], sandbox: Path, user: User | None = None) -> None:
        """All of them, one after the other; local files as `user`, who may not be allowed to read what the agent may.

        Raises FetchError with what and why.
        """
        for uri in uris:
            try:
                await self._fetch(uri, sandbox, user)
            except (OSError, aiohttp.ClientError, TimeoutError, ArchiveError) as error:
                why = "it took too long" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
                raise FetchError(f"Failed to fetch '{uri['value']}': {why}") from None

    async def _fetch(self, uri: Json, sandbox: Path, user: User | None) -> None:
        target = target_of(uri, sandbox)
        await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
        extract = uri.get("extract", True) and not uri.get("executable") and is_archive(target.name)
        mode = 0o755 if uri.get("executable") else 0o644
        if uri.get("cache"):
            async with self._cached(uri["value"], user) as source:
                if extract:  # the archive itself stays in the cache
                    await asyncio.to_thread(unpack, source, target.parent, self.settings.most_bytes, name=target.name)
                else:
                    await asyncio.to_thread(_copy, source, target, mode)
            return
        await self._retrieve(uri["value"], target, mode, user)
        if extract:
            await asyncio.to_thread(unpack, target, target.parent, self.settings.most_bytes)

    async def _retrieve(self, uri: str, target: Path, mode: int, user: User | None) -> None:
        local = local_path(uri)
        if local is None:
            await self._download(uri, target, mode)
        else:
            await asyncio.to_thread(_copy_as, user, local, target, mode)

    async def _download(self, uri: str, target: Path, mode: int) -> None:
        timeout = aiohttp.ClientTimeout(total=None, connect=self.settings.timeout, sock_read=self.settings.timeout)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session, session.get(uri) as response:
            if response.status >= 400:
                raise FetchError(f"Failed to fetch '{uri}': HTTP status {response.status}")
            with _new_file(target, mode) as file:
                size = 0
                async for piece in response.content.iter_chunked(_PIECE):
                    size += len(piece)
                    if size > self.settings.most_bytes:
                        raise FetchError(f"Failed to fetch '{uri}': it has more than {self.settings.most_bytes} bytes")
                    await asyncio.to_thread(file.write, piece)

    @contextlib.asynccontextmanager
    async def _cached(self, uri: str, user: User | None) -> AsyncIterator[Path]:
        """The URI's file in the cache, fetched once however many tasks ask at the same time."""
        key = hashlib.sha256(f"{user.uid if user else None} {uri}".encode()).hexdigest()
        async with self._locks.setdefault(key, asyncio.Lock()):
            entry = self.cache / key
            if not entry.exists():
                self.cache.mkdir(parents=True, exist_ok=True)
                incoming = self.cache / f".{uuid.uuid4().hex}"
                try:
                    await self._retrieve(uri, incoming, 0o644, user)
                    incoming.rename(entry)
                finally:
                    incoming.unlink(missing_ok=True)
            now = time.time_ns()  # the kernel's own stamp may be that of an entry a few milliseconds older
            os.utime(entry, ns=(now, now))
            yield entry
        await asyncio.to_thread(_make_room, self.cache, self.settings.cache_bytes, self._in_use)

    def _in_use(self, key: str) -> bool:
        return key in self._locks and self._locks[key].locked()


def local_path(uri: str) -> Path | None:
    """The file of this machine that a URI names; None for what is downloaded. Raises FetchError for other schemes."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        if not uri.startswith("/"):
            raise FetchError(f"Failed to fetch '{uri}': it is neither a URL nor an absolute path")
        return Path(uri)
    if scheme.lower() in ("http", "https"):
        return None
    if scheme.lower() == "file":
        path = urllib.parse.unquote(rest.removeprefix("localhost"))
        if path.startswith("/"):
            return Path(path)
    raise FetchError(f"Failed to fetch '{uri}': this agent fetches http, https and file URLs and absolute paths")


def target_of(uri: Json, sandbox: Path) -> Path:
    """Where in the sandbox a URI goes. Raises FetchError for a name that would lead out of it."""
    name = uri.get("output_file")
    if name is None:
        path = uri["value"] if local_path(uri["value"]) is not None else urllib.parse.urlsplit(uri["value"]).path
        name = path.rstrip("/").rpartition("/")[2]
        if not name or name in (".", ".."):
            raise FetchError(f"Failed to fetch '{uri['value']}': it has no file name; give output_file")
    if name.startswith("/") or not name or "\0" in name or ".." in name.split("/") or name.endswith("/"):
        raise FetchError(f"Failed to fetch '{uri['value']}': output_file {name!r} is not a path within the sandbox")
    target = sandbox / name
    if not Path(os.path.realpath(target.parent)).is_relative_to(os.path.realpath(sandbox)):
        raise FetchError(f"Failed to fetch '{uri['value']}': output_file {name!r} leads out of the sandbox")
    return target


def _copy_as(user: User | None, source: Path, target: Path, mode: int) -> None:
    """Reads in a process of the user's own: a thread cannot be another user."""
    if user is None:
        _copy(source, target, mode)
        return
    _check_regular(source)
    with _new_file(target, mode) as file:
        reading = ["dd", f"if={source}", "iflag=nonblock", "bs=256k", "status=none"]
        done = subprocess.run(
            reading,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            user=user.uid,
            group=user.gid,
            extra_groups=user.groups,
        )
    if done.returncode != 0:
        raise OSError(done.stderr.strip().rpartition(": ")[2] or f"'{source}' cannot be read")


def _copy(source: Path, target: Path, mode: int) -> None:
    _check_regular(source)
    with source.open("rb") as reading, _new_file(target, mode) as writing:
        shutil.copyfileobj(reading, writing, _PIECE)


def _check_regular(source: Path) -> None:
    if not stat.S_ISREG(source.stat().st_mode):
        raise OSError(f"'{source}' is not a regular file")


@contextlib.contextmanager
def _new_file(target: Path, mode: int) -> Iterator[IO[bytes]]:
    """In place of whatever stands there: an archive that was fetched before may have put a link."""
    target.unlink(missing_ok=True)
    with target.open("xb") as file:
        os.fchmod(file.fileno(), mode)
        yield file


def _make_room(cache: Path, most_bytes: int, in_use: Callable[[str], bool]) -> None:
    """Removes the entries that were not used for longest."""
    entries = sorted(
        ((path.stat(), path) for path in cache.iterdir() if not path.name.startswith(".")), key=lambda e: e[0].st_mtime
    )
    excess = sum(status.st_size for status, _ in entries) - most_bytes
    for status, path in entries:
        if excess <= 0:
            return
        if not in_use(path.name):
            path.unlink(missing_ok=True)
            excess -= status.st_size
