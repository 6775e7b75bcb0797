"""Host names among the addresses in Consul -> IP addresses. A proxy that balances cannot wait for a name server."""

import asyncio
import functools
import socket
import time
from collections.abc import Iterable, Mapping

from nginx import names
from nginx.errors import RefusedError

REFRESH_SECONDS = 30.0


class Addresses:
    """Remembers what it looked up for REFRESH_SECONDS, and the last answer while name servers are away."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, float]] = {}

    async def of(self, addresses: Iterable[str]) -> Mapping[str, str]:
        """Host name -> IP address, for those of `addresses` that are host names and have one."""
        hosts = {address for address in addresses if not _is_address(address)}
        now = time.monotonic()
        due = [host for host in hosts if host not in self._known or now - self._known[host][1] > REFRESH_SECONDS]
        for host, found in zip(due, await asyncio.gather(*map(_resolve, due)), strict=True):
            before = self._known.get(host, ("", 0.0))[0]
            self._known[host] = (found or before, now)
        self._known = {host: entry for host, entry in self._known.items() if host in hosts}
        return {host: address for host, (address, _) in self._known.items() if address}


@functools.lru_cache(maxsize=65536)
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
