"""TCP and UDP ports that routes ask for and that cannot be had: another program holds them, or this one may not open them.

A proxy refuses a whole configuration for one such port. So each is tried before it gets into one, and the route that asks for it is
refused alone.
"""

import asyncio
import errno
import re
import socket
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from nginx.routes import Claim

LISTENING = "0A"  # as /proc/net/tcp has it


class Ports:
    """Of `host`, an IP address. `ours` gives the pids of the proxy's processes, which may hold what they ask for.

    `taken`: ("tcp" or "udp", port) -> why it cannot be had.
    """

    def __init__(self, host: str, ours: Callable[[], Collection[int]]) -> None:
        self._host = host
        self._ours = ours
        self._settled: set[Claim] = set()
        self._doubted = False
        self.taken: Mapping[Claim, str] = {}

    @property
    def is_due(self) -> bool:
        """Whether time may have changed something."""
        return self._doubted or bool(self.taken)

    def doubt(self) -> None:
        """The proxy did not take a configuration: perhaps someone was quicker."""
        self._settled.clear()
        self._doubted = True

    async def look(self, wanted: Collection[Claim]) -> bool:
        """Tries those of `wanted` that were not tried before, and those that are taken. Whether `taken` is another one now."""
        self._doubted = False
        due = (set(wanted) | self.taken.keys()) - self._settled
        if not due:
            return False
        before = self.taken
        self.taken = await asyncio.to_thread(self._try, sorted(due))
        self._settled = set(wanted) - self.taken.keys()
        return self.taken != before

    def _try(self, claims: Collection[Claim]) -> dict[Claim, str]:
        found = {}
        held: set[Claim] | None = None
        for claim in claims:
            problem = complaint(self._host, *claim)
            if problem is not None and problem.errno == errno.EADDRINUSE:
                held = held_by(self._ours()) if held is None else held
                if claim not in held:
                    found[claim] = "is held by another program"
            elif problem is not None:
                found[claim] = f"cannot be opened: {problem.strerror}"
        return found


def complaint(host: str, protocol: str, port: str | int) -> OSError | None:
    """What the kernel says to one who asks for that port, None where it may have it. Nobody can connect meanwhile."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM) as asking:
        if protocol == "tcp":  # as proxies do; with UDP it would let two have the same port
            asking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            asking.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            asking.bind((host, int(port)))
        except OSError as error:
            return error
    return None


def held_by(pids: Collection[int]) -> set[Claim]:
    """The ports that these processes listen on."""
    inodes = {inode for pid in pids for inode in _sockets_of(pid)}
    found: set[Claim] = set()
    for protocol in ("tcp", "udp"):
        for version in ("", "6"):
            try:
                lines = Path(f"/proc/net/{protocol}{version}").read_text().splitlines()[1:]
            except OSError:
                continue
            for words in map(str.split, lines):
                if words[9] in inodes and (protocol == "udp" or words[3] == LISTENING):
                    found.add((protocol, int(words[1].rpartition(":")[2], 16)))
    return found


def _sockets_of(pid: int) -> list[str]:
    found = []
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            match = re.fullmatch(r"socket:\[(\d+)\]", str(entry.readlink()))
            if match:
                found.append(match[1])
    except OSError:
        pass  # it, or its descriptor, is gone
    return found
