"""Host names -> IP addresses, remembered for a while: Consul and a proxy's balancer want addresses."""

import asyncio
import ipaddress
import socket
from collections.abc import Collection

from daemonkit.logs import get_logger

log = get_logger(__name__)

_KEEP_SECONDS = 60.0


class Addresses:
    def __init__(self) -> None:
        self._known: dict[str, tuple[str, float]] = {}  # host -> (address, until when)

    async def find(self, hosts: Collection[str], *, fresh: bool = False) -> dict[str, str]:
        """IPv4 where there is a choice. A name that does not resolve now keeps its last address; one that never did is left out."""
        now = asyncio.get_running_loop().time()
        stale = [host for host in hosts if host and (fresh or host not in self._known or self._known[host][1] <= now)]
        for host, address in zip(stale, await asyncio.gather(*(_resolve(host) for host in stale)), strict=True):
            if address:
                self._known[host] = (address, now + _KEEP_SECONDS)
        self._known = {host: known for host, known in self._known.items() if host in hosts}
        return {host: address for host, (address, _) in self._known.items()}


async def _resolve(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        log.warning("a host name does not resolve", host=host, error=str(error))
        return ""
    return str(min(found, key=lambda item: item[0] != socket.AF_INET)[4][0])
