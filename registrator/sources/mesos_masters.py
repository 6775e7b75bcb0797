"""Where the Mesos masters are: base URLs as given, or the leader as ZooKeeper names it."""

import asyncio
import ipaddress
import re
from collections.abc import Sequence
from typing import Any

import orjson
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.handlers.threading import KazooTimeoutError

from registrator.errors import SourceError

_ZK = re.compile(r"zk://(?:(?P<auth>[^@/\s]+)@)?(?P<hosts>[^/\s@]+)(?P<path>/[^\s]*)")
_LEADER = "json.info_"


def is_zk(text: str) -> bool:
    """`zk://[user:password@]host:port,…/path`"""
    return bool(_ZK.fullmatch(text))


class Masters:
    """`given` are URLs and `zk://…`. A leader that ZooKeeper named is remembered until `forget`."""

    def __init__(self, given: Sequence[str], *, timeout: float) -> None:
        self._urls = [url.rstrip("/") for url in given if not is_zk(url)]
        self._ensembles = [url for url in given if is_zk(url)]
        self._timeout = timeout
        self._led: list[str] = []

    async def urls(self) -> list[str]:
        """The best first. Raises SourceError where ZooKeeper is away or knows no leader, and nothing else is given."""
        if self._ensembles and not self._led:
            problem: SourceError | None = None
            for ensemble in self._ensembles:
                try:
                    self._led = [await asyncio.to_thread(_leader, ensemble, self._timeout)]
                    break
                except SourceError as error:
                    problem = error
            if problem and not self._led and not self._urls:
                raise problem
        return [*self._led, *self._urls]

    def prefer(self, url: str) -> None:
        """It has answered: it is tried first next time."""
        self._urls.sort(key=lambda other: other != url)

    def forget(self) -> None:
        """None has answered: ZooKeeper is asked again."""
        self._led = []


def _leader(ensemble: str, timeout: float) -> str:
    """The base URL of the leading master: the child with the lowest sequence number among those named `json.info_…`."""
    match = _ZK.fullmatch(ensemble)
    assert match
    auth = [("digest", match["auth"])] if match["auth"] else None
    client: Any = KazooClient(hosts=match["hosts"], timeout=timeout, auth_data=auth, read_only=True)
    try:
        client.start(timeout=timeout)
        path = match["path"].rstrip("/") or "/"
        names = [name for name in client.get_children(path) if name.startswith(_LEADER)]
        if not names:
            raise SourceError(f"no Mesos master leads at zk://{match['hosts']}{match['path']}")
        first = min(names, key=lambda name: name.rpartition("_")[2])
        data, _ = client.get(f"{path.rstrip('/')}/{first}")
        address = orjson.loads(data)["address"]
        host = str(address.get("ip") or address["hostname"])
        return f"http://{_bracketed(host)}:{int(address['port'])}"
    except (KazooException, KazooTimeoutError, OSError) as error:
        raise SourceError(f"ZooKeeper at {match['hosts']} does not answer: {error or type(error).__name__}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(f"zk://{match['hosts']}{match['path']} holds no Mesos master: {error!r}") from None
    finally:
        client.stop()
        client.close()


def _bracketed(host: str) -> str:
    try:
        return f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    except ValueError:
        return host
