"""HAProxy knows no UDP; the Nginx beside it is adopted, follows, and disturbs nothing."""

import asyncio
import socket
from pathlib import Path

from consul_template_py.apply import Applied, apply
from nginx import haproxy_process, process
from nginx.layout import Layout
from nginx.model import Instance
from tests.support.backends import backends, free_udp_port
from tests.support.rig import instance, rig
from tests.support.waiting import eventually_async


class Echo:
    """A UDP server that puts its name before what it got."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def start(self) -> int:
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        return int(self.transport.get_extra_info("sockname")[1])

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        pass

    def datagram_received(self, data: bytes, sender: tuple[str, int]) -> None:
        self.transport.sendto(self.name.encode() + b" " + data, sender)

    def connection_lost(self, exc: Exception | None) -> None:
        pass


def ask(port: int) -> str:
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(0.5)
        client.sendto(b"?", ("127.0.0.1", port))
        return client.recv(100).decode()


async def test_udp_routes_come_change_and_go_without_a_reload_of_haproxy(tmp_path: Path) -> None:
    port = free_udp_port()
    meta = {"dromos-app": "/dns", "DROMOS_EDGE_PROTOCOL": "udp", "DROMOS_EDGE_PORT": str(port)}
    one, two = Echo("one"), Echo("two")
    shown = [Instance("dns", "dns", "127.0.0.1", await echo.start(), meta=meta) for echo in (one, two)]
    beside = Layout(process.beside(tmp_path / "edge"))
    async with rig(tmp_path / "edge", "haproxy") as edge, backends("web") as (web,):
        edge.policy = type(edge.policy)(stream_ports=(port, port))
        await edge.show(instance(web))
        assert process.running(beside) is None
        config = edge.layout.haproxy_config.read_bytes()
        for found, name in zip(shown, ("one", "two"), strict=True):
            await edge.show(instance(web), found)
            await eventually_async(lambda name=name: asyncio.to_thread(lambda: ask(port) == f"{name} ?"))
        assert edge.layout.haproxy_config.read_bytes() == config
        # The next daemon finds both as they are to be.
        nginx, haproxy = process.running(beside), haproxy_process.settled(edge.layout)
        assert await edge.proxy.start() is True
        result = await apply(edge.proxy, edge.model, Applied())
        assert (result.outcome.value, process.running(beside)) == ("unchanged", nginx)
        assert set(edge.proxy.pids()) >= {nginx.pid, haproxy.pid}
        await edge.show(instance(web))
        assert "listen 127.0.0.1:" not in beside.config.read_text()
        assert set(await edge.answers(3)) == {"web"}
        await edge.show(instance(web), shown[0])
    assert process.running(beside) is None
    for echo in (one, two):
        echo.transport.close()
