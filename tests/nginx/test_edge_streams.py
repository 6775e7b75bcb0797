"""TCP and UDP services; with each proxy."""

import asyncio
import contextlib
import socket

import requests

from nginx.model import Instance
from tests.support.backends import backends, free_udp_port
from tests.support.processes import free_port
from tests.support.rig import ALL, Rig, instance, with_targets
from tests.support.waiting import eventually_async


@with_targets(ALL)
async def test_tcp_goes_through_and_follows_its_endpoints(edge: Rig) -> None:
    port = free_port()
    edge.policy = type(edge.policy)(stream_ports=(port, port))
    labels = {"DROMOS_EDGE_PROTOCOL": "tcp", "DROMOS_EDGE_PORT": str(port)}

    async def asked() -> str:
        return (await asyncio.to_thread(requests.get, f"http://127.0.0.1:{port}/", timeout=30)).text

    async with backends("one", "two") as (one, two):
        await edge.show(instance(one, "db", plain="yes", **labels))
        await eventually_async(asked)
        assert await asked() == "one"
        await edge.show(instance(two, "db", plain="yes", **labels))

        async def follows() -> bool:
            return await asked() == "two"

        await eventually_async(follows)


@with_targets(ALL)
async def test_udp_goes_through(edge: Rig) -> None:
    port = free_udp_port()
    edge.policy = type(edge.policy)(stream_ports=(port, port))
    with socket.socket(type=socket.SOCK_DGRAM) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        server.bind(("127.0.0.1", 0))
        client.settimeout(0.3)
        meta = {"dromos-app": "/dns", "DROMOS_EDGE_PROTOCOL": "udp", "DROMOS_EDGE_PORT": str(port)}
        await edge.show(Instance("dns", "dns", "127.0.0.1", server.getsockname()[1], meta=meta))
        server.settimeout(5)

        def exchange() -> bool:
            client.sendto(b"ping", ("127.0.0.1", port))
            data, sender = server.recvfrom(100)
            server.sendto(data + b"!", sender)
            with contextlib.suppress(TimeoutError):
                return client.recv(100) == b"ping!"
            return False

        await eventually_async(lambda: asyncio.to_thread(exchange))
