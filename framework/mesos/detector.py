"""Who leads among the masters: a fixed address, or the znode that Mesos keeps in ZooKeeper."""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError

from daemonkit.logs import get_logger
from framework.mesos.errors import MasterAddressError

log = get_logger(__name__)

Found = Callable[[str | None], None]
_ZK = re.compile(r"zk://(?:(?P<auth>[^@/]+)@)?(?P<hosts>[^/]+)(?P<path>/.*)?")
_ADDRESS = re.compile(r"(?:https?://)?(?P<host>\[[0-9a-fA-F:]+\]|[^\s:/]+)(?::(?P<port>\d+))?/?")
_DEFAULT_PORT = 5050
WAIT = 0.2  # seconds between two tries


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
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="mesos-detector", daemon=True)

    def start(self) -> None:
        self._connected = self._client.start_async()
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._client.stop()
        self._thread.join()
        self._client.close()

    def _watch(self) -> None:
        """Until the watch is there; from then on kazoo keeps it, over new sessions too."""
        while not self._stopped.is_set():
            # Before the first connection kazoo refuses every call, instead of keeping it for later.
            if not self._connected.wait(WAIT):
                continue
            try:
                self._client.ensure_path(self._address.path)
                self._client.ChildrenWatch(self._address.path, self._children)
                return
            except (KazooException, KazooTimeoutError, OSError) as error:
                if not self._stopped.wait(WAIT):
                    log.warning("ZooKeeper cannot be watched yet", hosts=self._address.hosts, error=str(error))

    def _children(self, names: list[str]) -> None:
        masters = sorted((name for name in names if name.startswith("json.info_")), key=lambda n: n.rpartition("_")[2])
        self._tell(self._read(masters[0]) if masters else None)

    def _read(self, entry: str) -> str | None:
        """The address in an entry. It is read until it can be: the same list of entries is told only once."""
        while not self._stopped.is_set():
            try:
                return _address(orjson.loads(self._client.get(f"{self._address.path}/{entry}")[0]))
            except NoNodeError:
                return None  # it has just gone; the next list follows
            except (KazooException, KazooTimeoutError) as error:
                log.warning("the leading master's entry cannot be read yet", entry=entry, error=str(error))
                self._stopped.wait(WAIT)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                log.warning("the leading master's entry says no address", entry=entry, error=str(error))
                return None
        return None

    def _tell(self, leader: str | None) -> None:
        if leader != self._leader:
            self._leader = leader
            try:
                self._found(leader)
            except Exception:  # kazoo would end the watch for it
                log.exception("the listener for masters failed")


def _address(info: dict[str, Any]) -> str:
    address = info["address"]
    return f"{address.get('ip') or address['hostname']}:{address['port']}"
