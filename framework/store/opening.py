"""The store that the settings name."""

from pathlib import Path
from typing import Literal, Protocol

from framework.store.base import Store
from framework.store.memory import MemoryStore
from framework.store.sqlite import SqliteStore
from framework.store.zookeeper import ZooKeeperStore
from framework.store.zookeeper_client import ZooKeeperAddress, ZooKeeperTls, make_client


class StoreSettings(Protocol):
    @property
    def state_dir(self) -> Path: ...

    @property
    def store(self) -> Literal["sqlite", "memory"]: ...

    @property
    def zookeeper(self) -> ZooKeeperAddress | None: ...

    @property
    def zookeeper_tls(self) -> ZooKeeperTls | None: ...

    @property
    def zk_session_timeout(self) -> float: ...

    @property
    def zk_timeout(self) -> float: ...


def open_store(settings: StoreSettings) -> Store:
    """Not opened. Raises OperatorError where the settings cannot be used."""
    directory = settings.state_dir.expanduser()
    zookeeper = settings.zookeeper
    if zookeeper is not None:
        client = make_client(zookeeper, session_timeout=settings.zk_session_timeout, tls=settings.zookeeper_tls)
        return ZooKeeperStore(client, zookeeper.path, backups=directory, patience=settings.zk_timeout)
    if settings.store == "memory":
        return MemoryStore()
    return SqliteStore(directory / "state.db")
