"""Who leads among the masters: a fixed address, or the znode that Mesos keeps in ZooKeeper."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.handlers.threading import KazooTimeoutError

from daemonkit.logs import get_logger
from framework.mesos.errors import MasterAddressError

log = get_logger(__name__)

Found = Callable[[str | None], None]
_ZK = re.compile(r"zk://(?:(?P<auth>[^@/]+)@)?(?P<hosts>[^/]+)(?P<path>/.*)?")
_ADDRESS = re.compile(r"(?:https?://)?(?P<host>\[[0-9a-fA-F:]+\]|[^\s:/]+)(?::(?P<port>\d+))?/?")
_DEFAULT_PORT = 5050


@dataclass(frozen=True, slots=True)
class ZooKeeperAddress:
    hosts: str
    path: str
    auth: str | None = None  # user:password


def parse_master(text: str) -> str | ZooKeeperAddress:
    """`host:port`, `host`, `http[s]://host:port` -> "host:port"; `zk://[user:pass@]h1:2181,h2:2181/mesos` -> ZooKeeperAddress."""
    match = _ZK.fullmatch(text)
    if match:
        path = (match["path"] or "").rstrip("/")
        if not path:
            raise MasterAddressError(f"setting master: {text} names no path; give zk://host:2181/mesos")
        return ZooKeeperAddress(match["hosts"], path, match["auth"])
    match = _ADDRESS.fullmatch(text)
    if not match:
        raise MasterAddressError(f"setting master: {text!r} is neither host:port nor zk://host:port/path")
    return f"{match['host']}:{match['port'] or _DEFAULT_PORT}"


class ZooKeeperDetector:
    """Calls `found` with the leading master's host:port whenever it changes, None while there is none; in kazoo's threads.

    The leader is the child with the lowest sequence number among those named `json.info_…`.
    """

    def __init__(self, address: ZooKeeperAddress, found: Found, *, timeout: float = 10.0) -> None:
        auth = [("digest", address.auth)] if address.auth else None
        self._address, self._found = address, found
        self._client = KazooClient(address.hosts, timeout=timeout, auth_data=auth, connection_retry={"max_tries": -1})
        self._leader: str | None = None

    def start(self) -> None:
        self._client.start_async()
        self._client.add_listener(lambda state: None)
        self._client.handler.spawn(self._watch)

    def stop(self) -> None:
        self._client.stop()
        self._client.close()

    def _watch(self) -> None:
        try:
            self._client.ensure_path(self._address.path)
            self._client.ChildrenWatch(self._address.path, self._children)
        except (KazooException, KazooTimeoutError, OSError) as error:
            log.warning("ZooKeeper cannot be watched", hosts=self._address.hosts, error=str(error))

    def _children(self, names: list[str]) -> None:
        masters = sorted((name for name in names if name.startswith("json.info_")), key=lambda n: n.rpartition("_")[2])
        if not masters:
            self._tell(None)
            return
        try:
            data, _ = self._client.get(f"{self._address.path}/{masters[0]}")
            self._tell(_address(orjson.loads(data)))
        except (KazooException, ValueError, KeyError, TypeError) as error:
            log.warning("the leading master's entry cannot be read", entry=masters[0], error=str(error))
            self._tell(None)

    def _tell(self, leader: str | None) -> None:
        if leader != self._leader:
            self._leader = leader
            self._found(leader)


def _address(info: dict[str, Any]) -> str:
    address = info["address"]
    return f"{address.get('ip') or address['hostname']}:{address['port']}"
