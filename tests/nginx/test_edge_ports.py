"""A port that cannot be had costs the route that asks for it, and no other."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from nginx.ports import Ports, complaint, held_by
from tests.support.backends import backends, free_udp_port
from tests.support.consul import ConsulServer
from tests.support.edge import EdgeDaemon, becomes, register, running_edge
from tests.support.processes import free_port
from tests.support.waiting import eventually_async


@contextlib.contextmanager
def holding(protocol: str, port: int = 0) -> Iterator[int]:
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    with socket.socket(type=kind) as holder:
        holder.bind(("127.0.0.1", port))
        if protocol == "tcp":
            holder.listen()
        yield holder.getsockname()[1]


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
async def test_a_port_is_taken_while_another_program_holds_it(protocol: str) -> None:
    ports = Ports("127.0.0.1", list)
    with holding(protocol) as port:
        assert await ports.look([(protocol, port)]) is True
        assert ports.taken == {(protocol, port): "is held by another program"}
        assert ports.is_due
        assert await ports.look([]) is False
    assert await ports.look([]) is True
    assert (dict(ports.taken), ports.is_due) == ({}, False)


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
async def test_what_the_proxy_holds_is_its_own(protocol: str) -> None:
    with holding(protocol) as port:
        assert (protocol, port) in held_by([os.getpid()])
        assert await Ports("127.0.0.1", lambda: [os.getpid()]).look([(protocol, port)]) is False


async def test_a_port_is_tried_once_until_it_is_doubted() -> None:
    ports = Ports("127.0.0.1", list)
    port = free_port()
    assert await ports.look([("tcp", port)]) is False
    with holding("tcp", port):
        assert await ports.look([("tcp", port)]) is False
        ports.doubt()
        assert await ports.look([("tcp", port)]) is True


def test_an_address_that_is_not_this_machines_cannot_be_had() -> None:
    found = complaint("192.0.2.1", "tcp", free_port())
    assert found is not None
    assert "assign requested address" in str(found)


@pytest.fixture(params=["nginx-lua", "haproxy"])
def edge(request: pytest.FixtureRequest, tmp_path: Path, real_consul: ConsulServer) -> Iterator[EdgeDaemon]:
    flags = ("--target", request.param, "--stream-ports", "1024-65535", "--reload-interval", "0.2")
    with running_edge(tmp_path / "edge", real_consul.url, *flags) as found:
        yield found


async def test_a_route_waits_for_its_port_and_the_others_do_not(edge: EdgeDaemon, real_consul: ConsulServer) -> None:
    port, udp_port = free_port(), free_udp_port()
    async with backends("web", "db") as (web, db):
        with holding("tcp", port), holding("udp", udp_port):
            tcp = {"DROMOS_EDGE_PROTOCOL": "tcp", "DROMOS_EDGE_PORT": str(port)}
            register(real_consul, db, "db", **tcp)
            register(real_consul, db, "dns", DROMOS_EDGE_PROTOCOL="udp", DROMOS_EDGE_PORT=str(udp_port))
            register(real_consul, web, "web", HAPROXY_0_VHOST="web.test")
            await becomes(edge, {"web"}, host="web.test")
            await eventually_async(lambda: len(edge.report()["refused"]) == 2)
            refused = {one["service"]: (one["what"], one["why"]) for one in edge.report()["refused"]}
            assert refused["db"] == (
                "PORT",
                f"tcp port {port} is held by another program; the route comes when that has changed",
            )
            assert "another program" in refused["dns"][1] or "does not know udp" in refused["dns"][1]
            assert edge.health()[0] == 200
            assert "refused" in edge.log

        async def reached() -> bool:
            return (await asyncio.to_thread(requests.get, f"http://127.0.0.1:{port}/", timeout=30)).text == "db"

        await eventually_async(reached, 60.0)
        await eventually_async(lambda: "db" not in {one["service"] for one in edge.report()["refused"]})
