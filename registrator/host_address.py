"""The IP address of this host, where published ports of its containers are reached."""

import ipaddress
import socket
from urllib.parse import urlsplit

from registrator.consul import Consul
from registrator.errors import ConsulError, SourceError


class HostAddress:
    """The configured address; else that of the local Consul agent; else the one from which a distant agent is reached."""

    def __init__(self, consul: Consul, configured: str) -> None:
        self._consul = consul
        self._found = configured

    async def find(self) -> str:
        """Raises SourceError while it cannot be told."""
        if not self._found:
            host = urlsplit(self._consul.url).hostname or "localhost"
            self._found = await self._advertised() if _is_loopback(host) else _outgoing(host)
        return self._found

    async def _advertised(self) -> str:
        try:
            address = await self._consul.advertised_address()
            return str(ipaddress.ip_address(address))
        except (ConsulError, ValueError) as error:
            raise SourceError(f"the agent does not tell this host's address, give it with --ip: {error}") from None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _outgoing(host: str) -> str:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, 8500, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as sock:
            sock.connect(address)  # sends nothing: it only chooses the interface
            return str(sock.getsockname()[0])
    except OSError as error:
        raise SourceError(f"this host's address cannot be told, give it with --ip: {error}") from None
