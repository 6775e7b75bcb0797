"""Unpacks archives from strangers: every file and link stays below the target, whatever the archive says.

Written out rather than left to tarfile's `data` filter, which Python 3.11 has only from its fourth patch release on.
"""

import gzip
import lzma
import os
import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import IO

from embedded.mesos.errors import MesosError

_TAR = (".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz")
_UNREADABLE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
)


class ArchiveError(MesosError):
    """An archive cannot be unpacked, or wants to write outside its place."""


def is_archive(name: str) -> bool:
    """By its name, as Mesos tells them."""
    return name.endswith((*_TAR, ".gz", ".zip"))


def unpack(archive: Path, target: Path, most_bytes: int, *, name: str | None = None) -> None:
    """Unpacks below `target`. `name` tells the kind where the file's own name does not. Raises ArchiveError, OSError."""
    name = name or archive.name
    room = _Room(most_bytes)
    try:
        if name.endswith(_TAR):
            _unpack_tar(archive, target, room)
        elif name.endswith(".zip"):
            _unpack_zip(archive, target, room)
        else:
            with gzip.GzipFile(archive) as source, _create(target, name.removesuffix(".gz")) as file:
                room.copy(source, file)
    except _UNREADABLE as error:
        raise ArchiveError(f"'{name}' cannot be unpacked: {error}") from None


class _Room:
    """What may still be written: a small archive can hold a huge file."""

    def __init__(self, most_bytes: int) -> None:
        self.left = self.most_bytes = most_bytes

    def copy(self, source: IO[bytes] | gzip.GzipFile, target: IO[bytes]) -> None:
        while piece := source.read(256 * 1024):
            self.left -= len(piece)
            if self.left < 0:
                raise ArchiveError(f"the archive holds more than {self.most_bytes} bytes")
            target.write(piece)


def _unpack_tar(archive: Path, target: Path, room: _Room) -> None:
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isdir():
                _place(target, member.name).mkdir(parents=True, exist_ok=True)
            elif member.issym():
                _link(target, member.name, member.linkname)
            elif member.islnk():
                source = _place(target, member.linkname)
                place = _place(target, member.name)
                _clear(place, target)
                os.link(source, place, follow_symlinks=False)
            elif member.isreg():
                content = tar.extractfile(member)
                assert content is not None
                with content, _create(target, member.name) as file:
                    room.copy(content, file)
                    os.fchmod(file.fileno(), 0o755 if member.mode & 0o100 else 0o644)
            else:
                raise ArchiveError(f"'{member.name}' in the archive is a device, and those are not made")


def _unpack_zip(archive: Path, target: Path, room: _Room) -> None:
    with zipfile.ZipFile(archive) as zip:
        for member in zip.infolist():
            if member.is_dir():
                _place(target, member.filename).mkdir(parents=True, exist_ok=True)
                continue
            mode = member.external_attr >> 16
            if (mode & 0o170000) == 0o120000:
                _link(target, member.filename, zip.read(member).decode(errors="surrogateescape"))
                continue
            with zip.open(member) as content, _create(target, member.filename) as file:
                room.copy(content, file)
                os.fchmod(file.fileno(), 0o755 if mode & 0o100 else 0o644)


def _place(target: Path, name: str) -> Path:
    """`name` below `target`, with its directory, if no `..` and no link on the way leads out. Raises ArchiveError."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise ArchiveError(f"'{name}' in the archive would leave the sandbox")
    place = target.joinpath(*parts)
    if parts and not _inside(place.parent, target):
        raise ArchiveError(f"'{name}' in the archive would leave the sandbox through a link")
    return place


def _link(target: Path, name: str, to: str) -> None:
    place = _place(target, name)
    if to.startswith("/") or not _inside(place.parent / to, target):
        raise ArchiveError(f"the link '{name}' in the archive points out of the sandbox, to '{to}'")
    _clear(place, target)
    place.symlink_to(to)


def _create(target: Path, name: str) -> IO[bytes]:
    place = _place(target, name)
    _clear(place, target)
    return place.open("xb")


def _clear(place: Path, target: Path) -> None:
    """Makes way for a new entry; a link that stands there is removed, not followed."""
    if place == target:
        raise ArchiveError("an entry of the archive would take the place of the sandbox itself")
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def _inside(path: Path, target: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(target))
