"""`sockaddr("GetPrivateIP")`: this machine's own addresses, by the most used names of HashiCorp's go-sockaddr."""

import contextlib
import fcntl
import ipaddress
import re
import socket
import struct
from pathlib import Path

from consul_template_py.errors import TemplateError

_SIOCGIFADDR = 0x8915
_CALL = re.compile(r'\s*(?P<name>\w+)(?:\s+"(?P<interface>[^"]+)")?\s*')
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def sockaddr(call: str) -> str:
    """GetPrivateIP(s), GetPublicIP(s), GetInterfaceIP(s) "name". The plural gives all, separated by spaces; empty where there is none."""
    match = _CALL.fullmatch(call)
    name = match["name"].removesuffix("s") if match else ""
    if match is None or name not in ("GetPrivateIP", "GetPublicIP", "GetInterfaceIP"):
        raise TemplateError(f'sockaddr({call!r}): GetPrivateIP(s), GetPublicIP(s) or GetInterfaceIP(s) "name"')
    found = [address for interface, address in _addresses() if match["interface"] in (None, interface)]
    if name == "GetPrivateIP":
        found = [address for address in found if address.is_private and not address.is_loopback]
    elif name == "GetPublicIP":
        found = [address for address in found if address.is_global]
    wanted = [str(address) for address in found if not address.is_link_local]
    return " ".join(wanted) if match["name"].endswith("s") else next(iter(wanted), "")


def _addresses() -> list[tuple[str, Address]]:
    """IPv4 first, by the order of the interfaces."""
    found: list[tuple[str, Address]] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # an interface without an address
                answer = fcntl.ioctl(sock, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                found.append((name, ipaddress.IPv4Address(answer[20:24])))
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/if_inet6").read_text().splitlines():
            digits, *_, name = line.split()
            found.append((name, ipaddress.IPv6Address(bytes.fromhex(digits))))
    return found
