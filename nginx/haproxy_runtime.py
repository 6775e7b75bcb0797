"""HAProxy's runtime socket: commands in, words out.

After a reload the old process may still take a connection of the socket that both have. So whoever answers says first which configuration
it runs, and what an old process was told is told again to the new one.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nginx.errors import ControlError
from nginx.layout import Layout

TIMEOUT = 10.0
LOOK_AGAIN = 0.02  # seconds until the socket is tried again where an old process answered
MAX_LINE = 15_000  # HAProxy reads a line of commands into one buffer of 16 KiB
MAINTENANCE = 1  # bit of srv_admin_state: by command

# What HAProxy says of a command that went well; others say nothing.
_FINE = ("", "New server registered.", "Server deleted.")


@dataclass(frozen=True, slots=True)
class Server:
    """A server as it runs. `leaving`: it is in maintenance, and goes once its last session ends."""

    name: str
    weight: int
    leaving: bool


class Runtime:
    """A connection a batch of commands. `expected` is the number of the configuration that is to answer them, None for any."""

    def __init__(self, layout: Layout) -> None:
        self._path = layout.haproxy_socket
        self.expected: int | None = None

    async def generation(self) -> int:
        """The number of the configuration that whoever answers runs. Raises ControlError."""
        return _generation(await self._say("show info"))

    async def servers(self) -> dict[str, dict[str, Server]]:
        """Backend -> name -> server; backends without a server too."""
        listed = (await self.ask("show backend")).splitlines()
        found: dict[str, dict[str, Server]] = {line.strip(): {} for line in listed if line and line[0] != "#"}
        for line in (await self.ask("show servers state")).splitlines():
            words = line.split()
            if len(words) > 18 and words[0].isdigit():
                server = Server(words[3], int(words[7]), bool(int(words[6]) & MAINTENANCE))
                found.setdefault(words[1], {})[words[3]] = server
        return found

    async def run(self, commands: Sequence[str]) -> list[str]:
        """Runs them in order. What HAProxy complained of."""
        complaints: list[str] = []
        for batch in _batches(commands):
            said = await self.ask(batch)
            complaints += [line.strip() for line in said.splitlines() if line.strip() not in _FINE]
        return complaints

    async def ask(self, command: str) -> str:
        """What the expected process answers. Raises ControlError, also when another one answers for TIMEOUT."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            info, _, answer = (await self._say(f"show info;{command}")).partition("\n\n")
            found = _generation(info)
            if self.expected in (None, found):
                return answer
            if time.monotonic() > deadline:
                raise ControlError(f"haproxy runs configuration {found}, not {self.expected}")
            await asyncio.sleep(LOOK_AGAIN)

    async def _say(self, command: str) -> str:
        try:
            async with asyncio.timeout(TIMEOUT):
                reader, writer = await asyncio.open_unix_connection(str(self._path))
                try:
                    writer.write(command.encode() + b"\n")
                    return (await reader.read()).decode(errors="replace")
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            raise ControlError(f"haproxy does not answer on {self._path}: {error or 'timeout'}") from None


def _generation(info: str) -> int:
    for line in info.splitlines():
        if line.startswith("description: dromos-"):
            return int(line.rpartition("-")[2])
    raise ControlError("haproxy does not say which configuration it runs")


def _batches(commands: Iterable[str]) -> Iterable[str]:
    batch: list[str] = []
    length = 0
    for command in commands:
        if batch and length + len(command) + 1 > MAX_LINE:
            yield ";".join(batch)
            batch, length = [], 0
        batch.append(command)
        length += len(command) + 1
    if batch:
        yield ";".join(batch)
