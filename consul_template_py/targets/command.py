"""Files and a command: the target that a template without a proxy of its own has.

All files of a target change together and its command runs once for all of them. Each step is optional: without `check` nothing is asked
before the swap, without `reload` nothing runs after it, and without `verify` a reload that ended well is believed.
"""

import asyncio
import hashlib
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from consul_template_py import commands
from consul_template_py.commands import Command
from consul_template_py.errors import CheckError, NoRollBackError, ReloadError, VerifyError
from consul_template_py.files import FileOnDisk, WantedFile, digest

Files = tuple[WantedFile, ...]


@dataclass(frozen=True)
class Commands:
    """In `check`, `{staged}` is the staged file (several: all of them, in the order of the templates), quoted for the shell.
    Commands also get the staged, or live, paths as DROMOS_FILES, separated by colons. Without `roll_back` a file stays although its
    reload failed, and the reload is tried again: what consul-template's users expect of a plain command."""

    check: Command | None = None
    reload: Command | None = None
    verify: Command | None = None
    roll_back: bool = False


class CommandTarget:
    """`destinations` are all files that this target will ever be asked to write, in order."""

    def __init__(self, name: str, destinations: Sequence[Path], todo: Commands) -> None:
        self.name = name
        self._files = {path: FileOnDisk(path) for path in destinations}
        self._commands = todo
        self._staged: Files = ()
        self._swapped: list[FileOnDisk] = []

    def fingerprint(self, wanted: Files) -> str:
        by_path = {file.path: file.digest for file in wanted}
        return _fingerprint([by_path.get(path, digest(None)) for path in self._files])

    async def written(self) -> str | None:
        return _fingerprint([file.digest() for file in self._files.values()])

    async def stage(self, wanted: Files) -> None:
        self._staged = tuple(
            file for file in wanted if file.content is not None and self._files[file.path].digest() != file.digest
        )
        await asyncio.to_thread(self._stage)

    def _stage(self) -> None:
        for wanted in self._staged:
            self._files[wanted.path].stage(wanted)

    async def check(self) -> None:
        if self._commands.check is None:
            return
        staged = [str(self._files[wanted.path].staged) for wanted in self._staged]
        command = self._commands.check.with_words(staged=shlex.join(staged))
        finished = await commands.run(command, extra={"DROMOS_FILES": os.pathsep.join(staged)})
        if not finished.ok:
            raise CheckError(f"the check refused it: {finished.why(command)}")

    async def swap(self) -> None:
        await asyncio.to_thread(self._swap)

    def _swap(self) -> None:
        self._swapped = []
        keep = self._commands.roll_back or len(self._staged) > 1
        try:
            for wanted in self._staged:
                file = self._files[wanted.path]
                file.swap(wanted, keep=keep)
                self._swapped.append(file)
        except OSError:
            for file in reversed(self._swapped):
                file.roll_back()
            raise

    async def reload(self) -> None:
        if self._commands.reload is None:
            return
        live = os.pathsep.join(str(path) for path in self._files)
        finished = await commands.run(self._commands.reload, extra={"DROMOS_FILES": live})
        if not finished.ok:
            raise ReloadError(finished.why(self._commands.reload))

    async def verify(self) -> None:
        if self._commands.verify is None:
            return
        finished = await commands.run(self._commands.verify)
        if not finished.ok:
            raise VerifyError(f"not verified: {finished.why(self._commands.verify)}")

    async def roll_back(self) -> None:
        if not self._commands.roll_back:
            raise NoRollBackError

        def put_back() -> None:
            for file in reversed(self._swapped):
                file.roll_back()

        await asyncio.to_thread(put_back)
        await self.reload()

    async def discard(self) -> None:
        for file in self._files.values():
            file.discard()


def _fingerprint(digests: list[str]) -> str:
    return hashlib.blake2b("\n".join(digests).encode(), digest_size=16).hexdigest() if len(digests) != 1 else digests[0]
