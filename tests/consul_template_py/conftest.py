"""Servers beside Consul that templates read from."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import free_port, running
from tests.support.vault import vault as vault
from tests.support.waiting import eventually


@pytest.fixture(scope="session")
def zookeeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`host:port` of a real ZooKeeper, empty at the start of the run."""
    folder, port = tmp_path_factory.mktemp("zookeeper"), free_port()
    with running(zookeeper_command(folder, port), log=folder / "zookeeper.log"):
        eventually(lambda: socket.create_connection(("127.0.0.1", port), 1).close() is None, 30)
        yield f"127.0.0.1:{port}"


def zookeeper_command(folder: Path, port: int) -> list[str]:
    options = ["-Xmx64m", "-Dzookeeper.admin.enableServer=false", "-Dzookeeper.forceSync=no"]
    main = "org.apache.zookeeper.server.ZooKeeperServerMain"
    return ["java", *options, "-cp", "/etc/zookeeper/conf:/usr/share/java/zookeeper.jar", main, str(port), str(folder)]
