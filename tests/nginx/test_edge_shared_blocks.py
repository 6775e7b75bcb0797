"""Hosts that share a block of nginx.conf: each is answered by its own service all the same."""

import asyncio
import ssl
from pathlib import Path

from tests.support.backends import backends
from tests.support.nginx_config import parse
from tests.support.rig import instance, rig

ALIKE = {
    "web": "web.test",
    "any": "*.wild.test",
    "deep": "deep.wild.test",
    "deeper": "*.deep.wild.test",
    "word": "default",
    "other-word": "hostnames",
}


async def answer_without_a_host(port: int, server_name: str) -> bytes:
    """The body of an answer to a request that names no host, over a connection whose handshake does."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=server_name)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer.rpartition(b"\r\n\r\n")[2]


async def test_each_host_of_a_shared_block_is_answered_by_its_own_service(tmp_path: Path) -> None:
    async with rig(tmp_path / "edge", tls=True) as edge, backends(*ALIKE, "apart") as servers:
        shown = [
            instance(server, server.name, plain="yes", DROMOS_EDGE_HOSTS=ALIKE.get(server.name, "apart.test"))
            for server in servers
        ]
        shown[-1] = instance(servers[-1], "apart", DROMOS_EDGE_BODY_SIZE="1k")
        await edge.show(*shown)
        (http,) = parse(edge.layout.config.read_text()).all("http")
        names = [server.all("server_name")[0].words[1:] for server in http.all("server") if server.all("server_name")]
        shared = next(found for found in names if "web.test" in found)
        assert set(shared) >= set(ALIKE.values())
        assert "apart.test" not in shared

        for name, host in ALIKE.items():
            asked = host.replace("*", "some.name" if name == "any" else "some")
            assert (await edge.ask(host=asked)).text == name
            assert (await edge.ask(host=f"{asked.upper()}:{edge.port}")).text == name
        assert (await edge.ask(host="apart.test")).text == "apart"
        assert (await edge.ask(host="wild.test")).status_code == 404
        # The name in a handshake is no host, and nobody is taken for the first of its block.
        assert b"no route for this host" in await answer_without_a_host(edge.tls_port, "deep.wild.test")

        # One that leaves, and one whose labels differ from now on, change nothing for the others.
        await edge.show(shown[0], instance(servers[1], "any", plain="yes", DROMOS_EDGE_HOSTS="*.wild.test"), shown[3])
        assert (await edge.ask(host="web.test")).text == "web"
        assert (await edge.ask(host="deep.wild.test")).text == "any"
        assert (await edge.ask(host="a.deep.wild.test")).text == "deeper"
