"""Where ZooKeeper is, and a client of it that does not give up.

zk://[user:password@]host1:2181,host2:2181,host3:2181/marathon
"""

import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path

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


@dataclass(frozen=True, slots=True)
class ZooKeeperTls:
    """`ca`: whose certificates are trusted besides the system's (PEM). `certificate` and `key` (PEM, both may be in one file) are shown
    to servers that ask for them. `verify_hostname`: a server's certificate has to be for the name or address that it is reached by."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    verify_hostname: bool = True

    def check(self) -> None:
        """Raises OperatorError where a file cannot be used: the client would try again for ever."""
        try:
            context = ssl.create_default_context(cafile=str(self.ca) if self.ca else None)
            if self.certificate:
                context.load_cert_chain(self.certificate, self.key)
        except OSError as error:
            raise OperatorError(
                f"TLS to ZooKeeper: {error.strerror or error}; look at --zk-ca, --zk-certificate, --zk-key"
            ) from None


def parse_address(text: str) -> ZooKeeperAddress:
    """Raises OperatorError."""
    match = _ADDRESS.fullmatch(text)
    if not match or match["path"] == "/":
        shown = re.sub(r"//[^@/]*@", "//…@", text)
        raise OperatorError(f"setting zk: {shown!r} names no ensemble and path; give zk://host:2181,host:2181/marathon")
    return ZooKeeperAddress(match["hosts"], match["path"], match["auth"])


def make_client(address: ZooKeeperAddress, *, session_timeout: float, tls: ZooKeeperTls | None = None) -> KazooClient:
    """Not started. It connects again for ever, and begins a new session where the old one has expired. Raises OperatorError."""
    secure = {}
    if tls is not None:
        tls.check()
        key = tls.key or tls.certificate
        secure = {
            "use_ssl": True,
            "ca": tls.ca and str(tls.ca),
            "certfile": tls.certificate and str(tls.certificate),
            "keyfile": key and str(key),
            "check_hostname": tls.verify_hostname,
        }
    user, _, password = (address.auth or "").partition(":")
    return KazooClient(
        hosts=address.hosts,
        timeout=session_timeout,
        auth_data=[("digest", address.auth)] if address.auth else None,
        default_acl=[make_digest_acl(user, password, all=True)] if address.auth else None,
        connection_retry={"max_tries": -1, "delay": 0.05, "backoff": 2, "max_delay": 1.0},
        **secure,
    )
