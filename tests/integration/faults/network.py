"""Machines of one's own: network namespaces on a bridge in another one, where every way between two may be cut.

The processes see the same files and the same process table, and nothing of this machine's network.
"""

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

NETWORK = "10.77.0"
CLONE_NEWNET = 0x40000000


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@dataclass
class Network:
    prefix: str = field(default_factory=lambda: f"dz{os.getpid()}")
    _numbers: dict[str, int] = field(default_factory=dict)

    def create(self) -> None:
        hub = self._name("hub")
        _run("ip", "netns", "add", hub)
        _run("ip", "-n", hub, "link", "set", "lo", "up")
        _run("ip", "-n", hub, "link", "add", "br0", "type", "bridge")
        _run("ip", "-n", hub, "addr", "add", f"{NETWORK}.1/24", "dev", "br0")
        _run("ip", "-n", hub, "link", "set", "br0", "up")

    def add(self, machine: str, number: int) -> str:
        """A machine with this number; its address."""
        name, hub = self._name(machine), self._name("hub")
        self._numbers[machine] = number
        _run("ip", "netns", "add", name)
        _run("ip", "-n", name, "link", "set", "lo", "up")
        _run("ip", "-n", hub, "link", "add", f"v{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
        _run("ip", "-n", hub, "link", "set", f"v{number}", "master", "br0", "up")
        _run("ip", "-n", name, "addr", "add", f"{NETWORK}.{number}/24", "dev", "eth0")
        _run("ip", "-n", name, "link", "set", "eth0", "up")
        return self.address(machine)

    def address(self, machine: str) -> str:
        return f"{NETWORK}.{self._numbers[machine]}"

    def command(self, machine: str, *command: str) -> list[str]:
        """The command, to be run on that machine; the process keeps its number."""
        return ["nsenter", f"--net={self.path(machine)}", *command]

    def path(self, machine: str) -> Path:
        return Path("/run/netns") / self._name(machine)

    def cut(self, sender: str, receiver: str) -> None:
        """Nothing that the one sends arrives at the other any more; the other way stays as it is."""
        _run("ip", "-n", self._name(sender), "route", "add", "blackhole", f"{self.address(receiver)}/32")

    def heal(self, sender: str, receiver: str) -> None:
        _run("ip", "-n", self._name(sender), "route", "del", "blackhole", f"{self.address(receiver)}/32")

    def enter(self) -> None:
        """This thread, and those that it starts, are at the hub from now on."""
        with self.path("hub").open() as hub:
            if ctypes.CDLL(None, use_errno=True).setns(hub.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "cannot enter the network namespace; this needs root")

    def remove(self) -> None:
        for machine in [*self._numbers, "hub"]:
            with contextlib.suppress(subprocess.CalledProcessError):
                _run("ip", "netns", "del", self._name(machine))

    def _name(self, machine: str) -> str:
        return f"{self.prefix}-{machine}"


@contextlib.contextmanager
def network() -> Iterator[Network]:
    one = Network()
    one.create()
    try:
        yield one
    finally:
        one.remove()
