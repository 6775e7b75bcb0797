"""Writes a file so that nobody ever sees half of it, and keeps what was there until it is sure.

Staged: a temporary file in the same directory, written, fsynced, with its final mode and owner. Swapped in by a rename. The directory is
not fsynced: a machine that loses its power just then comes back with the file before, whole, and the next start writes the new one.
"""

import contextlib
import grp
import hashlib
import os
import pwd
import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from consul_template_py.errors import ConfigError

DEFAULT_MODE = 0o644


@dataclass(frozen=True)
class Ownership:
    """None keeps what the file has; a new file gets 0644 and the process's own user."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None

    @staticmethod
    def of(perms: str | int | None, user: str | None, group: str | None, *, where: str) -> "Ownership":
        """`perms` in octal. Raises ConfigError."""
        try:
            mode = int(perms, 8) if isinstance(perms, str) else perms
            uid = (int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid) if user else None
            gid = (int(group) if group.isdigit() else grp.getgrnam(group).gr_gid) if group else None
        except (ValueError, KeyError) as error:
            raise ConfigError(f"{where}: perms, user or group: {error}") from None
        if mode is not None and not 0 < mode <= 0o7777:
            raise ConfigError(f"{where}: perms {perms!r} are not octal permissions such as 0644")
        return Ownership(mode, uid, gid)


@dataclass(frozen=True)
class WantedFile:
    """`content` None: there is to be nothing said about it, as long as nobody has rendered it."""

    path: Path
    content: bytes | None
    digest: str
    ownership: Ownership = field(default_factory=Ownership)
    backup: bool = False
    create_folders: bool = True

    @staticmethod
    def of(
        path: Path,
        content: bytes | None,
        ownership: Ownership | None = None,
        *,
        backup: bool = False,
        create_folders: bool = True,
    ) -> "WantedFile":
        return WantedFile(path, content, digest(content), ownership or Ownership(), backup, create_folders)


def digest(content: bytes | None) -> str:
    return "-" if content is None else hashlib.blake2b(content, digest_size=16).hexdigest()


def read_if_there(path: Path) -> bytes | None:
    """Raises OSError for anything but "not there"."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


class FileOnDisk:
    """One destination. A symbolic link stays: what it points to is written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._staged: Path | None = None
        self._previous: Path | None = None  # the file before the swap, by a name of its own
        self._known: tuple[tuple[int, int, int], str] | None = None

    @property
    def staged(self) -> Path | None:
        return self._staged

    def digest(self) -> str:
        """Of what is there now; read only if its stamp is not the one of the last write."""
        stamp = self._stamp()
        if stamp is None:
            return digest(None)
        if self._known is None or self._known[0] != stamp:
            self._known = (stamp, digest(read_if_there(self.path)))
        return self._known[1]

    def stage(self, wanted: WantedFile) -> None:
        """Raises OSError, and leaves nothing then."""
        assert wanted.content is not None
        real = self._real()
        if wanted.create_folders:
            real.parent.mkdir(parents=True, exist_ok=True)
        staged = real.with_name(f".{real.name[:200]}.{secrets.token_hex(6)}.tmp")
        handle = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with open(handle, "wb") as file:  # noqa: PTH123  a descriptor
                file.write(wanted.content)
                file.flush()
                mode, uid, gid = self._ownership(wanted.ownership)
                if uid != -1 or gid != -1:
                    os.fchown(handle, uid, gid)
                os.fchmod(handle, mode)  # after chown, which clears set-user-id
                os.fsync(handle)
        except BaseException:
            staged.unlink(missing_ok=True)
            raise
        self._staged = staged

    def swap(self, wanted: WantedFile, *, keep: bool = True) -> None:
        """Raises OSError; the destination is then what it was. Without `keep` there is no way back."""
        assert self._staged is not None
        real = self._real()
        if (keep or wanted.backup) and real.exists():
            if keep:
                self._previous = real.with_name(f".{real.name[:200]}.{secrets.token_hex(6)}.old")
                _link_or_copy(real, self._previous)
            if wanted.backup:
                backup = real.with_name(real.name + ".bak")
                fresh = real.with_name(f".{real.name[:200]}.{secrets.token_hex(6)}.bak")
                _link_or_copy(real, fresh)
                fresh.replace(backup)
        self._staged.replace(real)
        self._staged = None
        stamp = self._stamp()
        self._known = (stamp, wanted.digest) if stamp else None

    def roll_back(self) -> None:
        real = self._real()
        if self._previous is not None:
            self._previous.replace(real)
            self._previous = None
        else:
            real.unlink(missing_ok=True)
        self._known = None

    def discard(self) -> None:
        for leftover in (self._staged, self._previous):
            if leftover is not None:
                leftover.unlink(missing_ok=True)
        self._staged = self._previous = None

    def _real(self) -> Path:
        return Path(os.path.realpath(self.path)) if self.path.is_symlink() else self.path

    def _stamp(self) -> tuple[int, int, int] | None:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found = self.path.stat()
            return found.st_mtime_ns, found.st_size, found.st_ino
        return None

    def _ownership(self, wanted: Ownership) -> tuple[int, int, int]:
        mode, uid, gid = wanted.mode, wanted.uid, wanted.gid
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found = self.path.stat()
            mode = found.st_mode & 0o7777 if mode is None else mode
            uid = found.st_uid if uid is None and found.st_uid != os.geteuid() else uid
            gid = found.st_gid if gid is None and found.st_gid != os.getegid() else gid
        return (DEFAULT_MODE if mode is None else mode), (-1 if uid is None else uid), (-1 if gid is None else gid)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
