"""Two edges, one address: the configuration of keepalived, in which the edge that is well holds it. Pure."""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from nginx import names
from nginx.errors import EdgeError, RefusedError

HEALTH_SCRIPT = Path(__file__).parent / "templates" / "edge_health.sh"
_INTERFACE = re.compile(r"[A-Za-z0-9_.@-]{1,15}")

_environment = Environment(
    loader=PackageLoader("nginx"),
    undefined=StrictUndefined,
    trim_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701  no HTML; every value was checked
)


@dataclass(frozen=True)
class Pair:
    """One edge of a pair. `addresses` are the shared ones with their prefix length; `interval` between advertisements in seconds.

    With `peers`, advertisements go to them directly (`source` is this edge's own address) instead of by multicast.
    """

    interface: str
    addresses: Sequence[str]
    priority: int = 100
    router: int = 51
    interval: float = 1.0
    source: str = ""
    peers: Sequence[str] = ()
    status_host: str = "127.0.0.1"
    status_port: int = 8001
    name: str = "dromos-edge"


def render(pair: Pair) -> str:
    """Raises EdgeError for a value that cannot stand in the file."""
    try:
        if not _INTERFACE.fullmatch(pair.interface):
            raise RefusedError(f"{pair.interface!a} is no network interface")
        addresses = [str(ipaddress.ip_interface(address)) for address in pair.addresses]
        if not addresses:
            raise RefusedError("give at least one shared address")
        if pair.peers and not pair.source:
            raise RefusedError("with peers, give this edge's own address too")
        return _environment.get_template("keepalived.conf.j2").render(
            name=names.token(pair.name),
            script=HEALTH_SCRIPT,
            status_host=names.address(pair.status_host),
            status_port=names.port(pair.status_port),
            interface=pair.interface,
            router=names.integer(pair.router, 1, 255),
            priority=names.integer(pair.priority, 1, 254),
            interval=f"{min(max(pair.interval, 0.1), 60):g}",
            source=names.address(pair.source) if pair.source else "",
            peers=[names.address(peer) for peer in pair.peers],
            addresses=addresses,
        )
    except (RefusedError, ValueError) as error:
        raise EdgeError(f"keepalived: {error}") from None
