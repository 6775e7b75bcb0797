"""Where ZooKeeper is, and a client of it that does not give up.

zk://[user:password@]host1:2181,host2:2181,host3:2181/marathon
"""

import re
from dataclasses import dataclass, field

from kazoo.client import KazooClient
from kazoo.security import make_digest_acl

from daemonkit.errors import OperatorError

_ADDRESS = re.compile(r"zk://(?:(?P<auth>[^@/]+:[^@/]+)@)?(?P<hosts>[^/@\s]+)(?P<path>/\S*?)/*")


@dataclass(frozen=True, slots=True)
class ZooKeeperAddress:
    """`auth` is user:password; everything below `path` is then theirs alone."""

    hosts: str
    path: str
    auth: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"zk://{self.hosts}{self.path}"


def parse_address(text: str) -> ZooKeeperAddress:
    """Raises OperatorError."""
    match = _ADDRESS.fullmatch(text)
    if not match or match["path"] == "/":
        shown = re.sub(r"//[^@/]*@", "//…@", text)
        raise OperatorError(f"setting zk: {shown!r} names no ensemble and path; give zk://host:2181,host:2181/marathon")
    return ZooKeeperAddress(match["hosts"], match["path"], match["auth"])


def make_client(address: ZooKeeperAddress, *, session_timeout: float) -> KazooClient:
    """Not started. It connects again for ever, and begins a new session where the old one has expired."""
    user, _, password = (address.auth or "").partition(":")
    return KazooClient(
        hosts=address.hosts,
        timeout=session_timeout,
        auth_data=[("digest", address.auth)] if address.auth else None,
        default_acl=[make_digest_acl(user, password, all=True)] if address.auth else None,
        connection_retry={"max_tries": -1, "delay": 0.05, "backoff": 2, "max_delay": 1.0},
    )
