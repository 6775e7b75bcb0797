"""Runs a program on behalf of a template or a target: with a time-out, an environment of its choosing, and its last words kept."""

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

MOST_OUTPUT = 4096


@dataclass(frozen=True)
class ChildEnvironment:
    """Which variables a child sees. `pristine`: none of this process's own. `allow` and `deny` are patterns of names; deny wins.
    `custom` are added in any case."""

    pristine: bool = False
    custom: tuple[tuple[str, str], ...] = ()
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    def build(self, own: Mapping[str, str]) -> dict[str, str]:
        kept = {} if self.pristine else dict(own)
        if self.allow:
            kept = {name: value for name, value in kept.items() if _matches(name, self.allow)}
        kept = {name: value for name, value in kept.items() if not _matches(name, self.deny)}
        return kept | dict(self.custom)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@dataclass(frozen=True)
class Command:
    """A string goes to `/bin/sh -c`, a list of words is run as it is. Seconds; `splay` waits up to that long first, at random."""

    words: tuple[str, ...]
    timeout: float = 30.0
    splay: float = 0.0
    environment: ChildEnvironment = ChildEnvironment()

    @staticmethod
    def parse(command: str | list[str] | tuple[str, ...], **more: object) -> "Command":
        words = ("/bin/sh", "-c", command) if isinstance(command, str) else tuple(command)
        return Command(words, **more)  # type: ignore[arg-type]

    @property
    def shown(self) -> str:
        return self.words[2] if self.words[:2] == ("/bin/sh", "-c") else " ".join(self.words)

    def with_words(self, **replacements: str) -> "Command":
        """`{name}` in its words replaced."""
        words = self.words
        for name, value in replacements.items():
            words = tuple(word.replace("{" + name + "}", value) for word in words)
        return replace(self, words=words)


@dataclass(frozen=True, slots=True)
class Finished:
    """`code` None: it was killed at its time-out, or never began. `output`: the end of stdout and stderr together."""

    code: int | None
    output: str

    @property
    def ok(self) -> bool:
        return self.code == 0

    def why(self, command: Command) -> str:
        last = " | ".join(line.strip() for line in self.output.strip().splitlines()[-3:])
        if self.code is None:
            return f"`{command.shown}`: {last}"
        return f"`{command.shown}` ended with {self.code}{': ' + last if last else ''}"


async def run(command: Command, *, extra: Mapping[str, str] | None = None) -> Finished:
    """Never raises for what the program does. Its process group ends with it."""
    if command.splay > 0:
        await asyncio.sleep(random.uniform(0, command.splay))
    environment = command.environment.build(os.environ) | dict(extra or {})
    try:
        process = await asyncio.create_subprocess_exec(
            *command.words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        return Finished(None, f"cannot be started: {error.strerror or error}")
    assert process.stdout is not None
    tail = bytearray()
    reading = asyncio.create_task(_keep_end(process.stdout, tail))
    try:
        async with asyncio.timeout(command.timeout):
            code: int | None = await process.wait()
            # A daemon that the command has left behind may hold the pipe: what has been said so far is enough.
            # Not wait_for: cancelled in the moment that the pipe is closed, it would go on as if it had not been.
            await asyncio.wait({reading}, timeout=0.2)
    except TimeoutError:
        code = None
        tail += f"\nno end within {command.timeout:g} s, killed".encode()
        _kill_group(process.pid)
        await process.wait()
    except asyncio.CancelledError:
        _kill_group(process.pid)
        raise
    finally:
        reading.cancel()
    return Finished(code, tail.decode("utf-8", "replace"))


async def _keep_end(stream: asyncio.StreamReader, tail: bytearray) -> None:
    while data := await stream.read(65536):
        tail += data
        del tail[:-MOST_OUTPUT]


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
