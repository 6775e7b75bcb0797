"""Host names among the addresses in Consul -> IP addresses. A proxy that balances cannot wait for a name server."""

import asyncio
import socket
import time
from collections.abc import Mapping, Sequence

from nginx import names
from nginx.errors import RefusedError
from nginx.model import Instance

REFRESH_SECONDS = 30.0


class Addresses:
    """Remembers what it looked up for REFRESH_SECONDS, and the last answer while name servers are away."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, float]] = {}
        self._hosts: dict[str, tuple[Sequence[Instance], frozenset[str]]] = {}

    async def of(self, services: Mapping[str, Sequence[Instance]]) -> Mapping[str, str]:
        """Host name -> IP address, for those of the instances' addresses that are host names and have one."""
        hosts = self._hosts_of(services)
        now = time.monotonic()
        due = [host for host in hosts if host not in self._known or now - self._known[host][1] > REFRESH_SECONDS]
        for host, found in zip(due, await asyncio.gather(*map(_resolve, due)), strict=True):
            before = self._known.get(host, ("", 0.0))[0]
            self._known[host] = (found or before, now)
        self._known = {host: entry for host, entry in self._known.items() if host in hosts}
        return {host: address for host, (address, _) in self._known.items() if address}

    def _hosts_of(self, services: Mapping[str, Sequence[Instance]]) -> set[str]:
        """Looks at the addresses of those services alone that are not the ones of the last call."""
        last, self._hosts = self._hosts, {}
        hosts: set[str] = set()
        for name, instances in services.items():
            known = last.get(name)
            if known is None or known[0] is not instances:
                known = (instances, frozenset(one.address for one in instances if not _is_address(one.address)))
            self._hosts[name] = known
            if known[1]:
                hosts |= known[1]
        return hosts


def _is_address(value: str) -> bool:
    try:
        names.address(value)
    except RefusedError:
        return False
    return True


async def _resolve(host: str) -> str:
    """The first address of a host name, IPv4 before IPv6; "" if it has none."""
    try:
        names.host(host)
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (RefusedError, OSError, UnicodeError):
        return ""
    return str(sorted(found, key=lambda one: one[0])[0][4][0])
