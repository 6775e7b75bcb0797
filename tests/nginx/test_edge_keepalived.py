"""Two edges share an address: when the one that holds it dies, the other answers. In network namespaces of the test's own."""

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from daemonkit.files import write_atomically
from nginx import keepalived, nginx_conf, process, table
from nginx.errors import EdgeError
from nginx.layout import Layout, Listen, Tuning
from nginx.model import Instance
from nginx.nginx_conf import Surroundings
from nginx.routes import Policy, build
from tests.support.processes import running
from tests.support.waiting import eventually

SHARED = "10.77.0.100"
CLIENT = "10.77.0.1"


def run(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0 or not check, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


@dataclass
class Space:
    """A network namespace with one interface, `eth0`."""

    name: str
    address: str

    def run(self, *command: str, check: bool = True) -> str:
        return run("ip", "netns", "exec", self.name, *command, check=check)

    def holds_shared(self) -> bool:
        return f"inet {SHARED}/" in self.run("ip", "-4", "addr", "show", "eth0")


@pytest.fixture
def spaces() -> Iterator[tuple[Space, Space, Space]]:
    """A client's namespace with a bridge, and those of two edges on it."""
    mark = uuid.uuid4().hex[:6]
    client, one, two = (
        Space(f"dr{mark}{name}", address) for name, address in (("c", CLIENT), ("a", "10.77.0.2"), ("b", "10.77.0.3"))
    )
    try:
        for space in (client, one, two):
            run("ip", "netns", "add", space.name)
            space.run("ip", "link", "set", "lo", "up")
        client.run("ip", "link", "add", "br0", "type", "bridge")
        client.run("ip", "addr", "add", f"{CLIENT}/24", "dev", "br0")
        client.run("ip", "link", "set", "br0", "up")
        for number, space in enumerate((one, two)):
            client.run("ip", "link", "add", f"p{number}", "type", "veth", "peer", "name", "eth0", "netns", space.name)
            client.run("ip", "link", "set", f"p{number}", "master", "br0", "up")
            space.run("ip", "addr", "add", f"{space.address}/24", "dev", "eth0")
            space.run("ip", "link", "set", "eth0", "up")
        yield client, one, two
    finally:
        for space in (client, one, two):
            run("ip", "netns", "del", space.name, check=False)


def start_edge(space: Space, directory: Path) -> Layout:
    """Nginx as the edge writes it, in the namespace, with one route to a server in the client's."""
    directory.mkdir()
    layout = Layout(directory, process.worker_user(directory))
    process.prepare(layout)
    model = build({"web": [Instance("web", "web", CLIENT, 9000, meta={"HAPROXY_0_VHOST": SHARED})]}, Policy())
    listen = Listen("0.0.0.0:8000", "127.0.0.1:8001")
    around = Surroundings(layout, listen, Tuning(workers="1", connections=512, table_memory=2, metrics_memory=2))
    write_atomically(layout.config, nginx_conf.render(model, around))
    write_atomically(layout.endpoints, orjson.dumps({"counter": 1, "services": table.table_of(model)}))
    program = process.find_program()
    space.run(program, "-p", f"{layout.root}/", "-c", str(layout.config), "-e", str(layout.error_log))
    return layout


@contextlib.contextmanager
def keepalived_in(space: Space, peer: Space, directory: Path, priority: int) -> Iterator[None]:
    pair = keepalived.Pair(
        "eth0", [f"{SHARED}/24"], priority=priority, interval=0.2, source=space.address, peers=[peer.address]
    )
    config = directory / "keepalived.conf"
    config.write_text(keepalived.render(pair))
    pids = ("-p", str(directory / "keepalived.pid"), "-r", str(directory / "vrrp.pid"))
    command = ["ip", "netns", "exec", space.name, "keepalived", "-n", "-l", "-P", "-f", str(config), *pids]
    with running(command, log=directory / "keepalived.log"):
        yield


def test_the_other_edge_answers_when_the_active_one_dies(spaces: tuple[Space, Space, Space], tmp_path: Path) -> None:
    client, one, two = spaces
    serve = f"from http.server import *; HTTPServer(('{CLIENT}', 9000), SimpleHTTPRequestHandler).serve_forever()"
    ask = (
        f"import socket; s = socket.create_connection(('{SHARED}', 8000), 1); s.settimeout(1); "
        f"s.sendall(b'GET / HTTP/1.0\\r\\nHost: {SHARED}\\r\\n\\r\\n'); print(s.recv(12)[9:].decode())"
    )
    backend = ["ip", "netns", "exec", client.name, sys.executable, "-c", serve]

    def answered() -> bool:
        return client.run(sys.executable, "-IS", "-c", ask, check=False).strip() == "200"

    layouts: dict[str, Layout] = {}
    try:
        for space in (one, two):
            layouts[space.name] = start_edge(space, tmp_path / space.name)
        with (
            running(backend, log=tmp_path / "backend.log"),
            keepalived_in(one, two, tmp_path / one.name, 150),
            keepalived_in(two, one, tmp_path / two.name, 100),
        ):
            eventually(lambda: one.holds_shared() != two.holds_shared(), 60.0, 0.2)
            eventually(answered, 60.0, 0.2)
            active, other = (one, two) if one.holds_shared() else (two, one)
            for pid in process.ours(layouts[active.name]):
                with contextlib.suppress(ProcessLookupError):  # a worker that heard of its master's end
                    os.kill(pid, signal.SIGKILL)
            eventually(lambda: other.holds_shared() and not active.holds_shared(), 60.0, 0.1)
            eventually(answered, 60.0, 0.1)
    finally:
        for layout in layouts.values():
            process.stop(layout.root, grace=0.2)


@pytest.mark.parametrize(
    "bad",
    [
        {"interface": "eth0; }"},
        {"addresses": []},
        {"addresses": ["10.0.0.1/99"]},
        {"peers": ["10.0.0.2"]},
        {"priority": 300},
        {"status_host": "host\n}"},
    ],
)
def test_values_that_keepalived_would_choke_on_are_refused(bad: dict[str, object]) -> None:
    good: dict[str, object] = {"interface": "eth0", "addresses": ["10.0.0.10/24"]}
    assert "10.0.0.10/24" in keepalived.render(keepalived.Pair(**good))  # type: ignore[arg-type]
    with pytest.raises(EdgeError):
        keepalived.render(keepalived.Pair(**{**good, **bad}))  # type: ignore[arg-type]
