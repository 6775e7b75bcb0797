"""A real ZooKeeper ensemble of three, with the default timeouts (a tick of 2 s), whose members may be killed, paused and started again.

Tests that use it belong to the xdist group "zookeeper", so that there is one ensemble and not one for each worker.
"""

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.processes import free_port
from tests.support.waiting import eventually

START_TIMEOUT = 180.0
_CLASSES = "/etc/zookeeper/conf:/usr/share/java/zookeeper.jar:/usr/share/java/netty-codec.jar:/usr/share/java/netty-resolver.jar"
_JAVA = ["-Xmx96m", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
_ZOOKEEPER = ["admin.enableServer=false", "forceSync=no", "4lw.commands.whitelist=srvr", "jmx.log4j.disable=true"]


@dataclass
class Member:
    """One server. `launch` does not wait for it."""

    number: int
    directory: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    more_options: tuple[str, ...] = ()  # -D…, without zookeeper.

    def launch(self) -> None:
        options = [*_JAVA, *(f"-Dzookeeper.{option}" for option in (*_ZOOKEEPER, *self.more_options))]
        main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
        with (self.directory / "log").open("ab") as output:
            self.process = subprocess.Popen(
                ["java", *options, "-cp", _CLASSES, main, str(self.directory / "zoo.cfg")],
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def kill(self) -> None:
        """As a crash: SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    @property
    def mode(self) -> str | None:
        """`leader` or `follower`; None while it serves nobody."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 10) as connection:
            connection.sendall(b"srvr")
            answer = b"".join(iter(lambda: connection.recv(4096), b"")).decode()
            for line in answer.splitlines():
                if line.startswith("Mode: "):
                    return line.removeprefix("Mode: ")
        return None


@dataclass
class Ensemble:
    members: list[Member] = field(default_factory=list)

    @property
    def hosts(self) -> str:
        return ",".join(f"127.0.0.1:{member.port}" for member in self.members)

    def address(self, path: str | None = None) -> str:
        """`zk://…` with a path of its own."""
        return f"zk://{self.hosts}{path or f'/test-{uuid.uuid4().hex[:8]}'}"

    @property
    def leader(self) -> Member:
        """Waits for the end of an election."""
        return eventually(
            lambda: next((member for member in self.members if member.mode == "leader"), None),
            START_TIMEOUT,
            what="one of ZooKeeper's servers leads",
        )

    def whole(self) -> "Ensemble":
        """Starts those that do not run, wakes those that a test left paused, and waits until all serve."""
        for member in self.members:
            if member.process is None or member.process.poll() is not None:
                member.launch()
            else:
                member.resume()
        for member in self.members:
            eventually(
                lambda member=member: member.mode is not None,
                START_TIMEOUT,
                0.1,
                what=f"ZooKeeper serves; see {member.directory}/log",
            )
        return self


@contextlib.contextmanager
def running_ensemble(directory: Path, size: int = 3) -> Iterator[Ensemble]:
    ensemble = Ensemble()
    ports = [(free_port(), free_port(), free_port()) for _ in range(size)]
    servers = [f"server.{n}=127.0.0.1:{peer}:{vote}" for n, (_, peer, vote) in enumerate(ports, 1)]
    for number, (port, _, _) in enumerate(ports, 1):
        own = directory / f"zookeeper-{number}"
        own.mkdir(parents=True)
        (own / "myid").write_text(str(number))
        settings = ["tickTime=2000", "initLimit=10", "syncLimit=5", "maxClientCnxns=0", f"dataDir={own}"]
        address = [f"clientPort={port}", "clientPortAddress=127.0.0.1"]
        (own / "zoo.cfg").write_text("\n".join([*settings, *address, *servers, ""]))
        ensemble.members.append(Member(number, own, port))
    try:
        yield ensemble.whole()
    finally:
        for member in ensemble.members:
            member.kill()


@contextlib.contextmanager
def running_secure_zookeeper(directory: Path, certificate: Path, ca: Path) -> Iterator[Member]:
    """One server that speaks TLS alone, shows `certificate` (PEM, with its key) and asks clients for one that `ca` has signed."""
    directory.mkdir(parents=True)
    port = free_port()
    settings = [
        "tickTime=2000",
        f"dataDir={directory}",
        f"secureClientPort={port}",
        "secureClientPortAddress=127.0.0.1",
    ]
    (directory / "zoo.cfg").write_text("\n".join([*settings, ""]))
    options = (
        "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory",
        f"ssl.keyStore.location={certificate}",
        f"ssl.trustStore.location={ca}",
    )
    member = Member(1, directory, port, more_options=options)
    member.launch()
    try:
        context = ssl.create_default_context(cafile=str(ca))
        context.load_cert_chain(certificate)
        eventually(lambda: _greets(port, context), START_TIMEOUT, 0.1, what=f"ZooKeeper serves; see {directory}/log")
        yield member
    finally:
        member.kill()


def _greets(port: int, context: ssl.SSLContext) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 10) as connection:
        context.wrap_socket(connection, server_hostname="127.0.0.1").close()
        return True
    return False


@pytest.fixture(scope="session")
def shared_ensemble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ensemble]:
    with running_ensemble(tmp_path_factory.mktemp("zookeeper")) as ensemble:
        yield ensemble


@pytest.fixture
def ensemble(shared_ensemble: Ensemble) -> Ensemble:
    """Three members that run and serve."""
    return shared_ensemble.whole()
