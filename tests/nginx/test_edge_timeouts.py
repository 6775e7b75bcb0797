"""Endpoints that keep a connection, a request or an answer waiting: for how long is for labels to say; with each proxy."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import requests

from nginx.model import Instance
from tests.support.backends import backends
from tests.support.rig import ALL, SMART, Rig, instance, with_targets
from tests.support.waiting import eventually_async

# What a proxy answers for an endpoint that it cannot reach, and for one that does not take its request or does not answer.
UNREACHED = {"nginx-lua": 504, "nginx": 504, "haproxy": 503}
SILENT = {"nginx-lua": 504, "nginx": 504, "haproxy": 504}
BODY = b"x" * (16 << 20)  # more than the kernel keeps of a connection that nobody reads from


@contextlib.contextmanager
def listener(backlog: int) -> Iterator[socket.socket]:
    with socket.socket() as found:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        found.bind(("127.0.0.1", 0))
        found.listen(backlog)
        found.setblocking(False)
        yield found


@contextlib.contextmanager
def unreachable() -> Iterator[socket.socket]:
    """Its queue is full, so the kernel answers nobody who wants to connect, until somebody accepts from it."""
    with listener(0) as found, socket.socket() as one, socket.socket() as other:
        for queued in (one, other):
            queued.setblocking(False)
            queued.connect_ex(found.getsockname())
        yield found


def at(server: socket.socket, service: str, **labels: str) -> Instance:
    port = server.getsockname()[1]
    meta = {"dromos-app": f"/{service}", "HAPROXY_0_VHOST": f"{service}.test", "DROMOS_EDGE_TRIES": "1", **labels}
    return Instance(f"{service}-{port}", service, "127.0.0.1", port, meta=meta)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, EOFError):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 Fine\r\nConnection: close\r\n\r\n")
    writer.close()


@with_targets(ALL)
async def test_a_connection_is_waited_for_as_long_as_a_label_says(edge: Rig) -> None:
    with unreachable() as server:
        await edge.show(
            at(server, "hasty", DROMOS_EDGE_CONNECT_TIMEOUT="100ms"),
            at(server, "usual"),
            at(server, "patient", DROMOS_EDGE_CONNECT_TIMEOUT="1m"),
        )
        # The kernel asks again ever more rarely: the longer the first part takes, the later it asks next.
        patient = asyncio.create_task(edge.ask(host="patient.test", timeout=90))

        async def hasty_is_first() -> bool:
            usual = asyncio.create_task(edge.ask(host="usual.test"))
            hasty = await edge.ask(host="hasty.test")
            was_first = not usual.done()
            assert {hasty.status_code, (await usual).status_code} == {UNREACHED[edge.target]}
            return was_first

        await eventually_async(hasty_is_first)
        assert not patient.done()  # though the usual time is over
        async with await asyncio.start_server(answer, sock=server.dup()):
            assert (await patient).status_code == 204


@with_targets(ALL)
async def test_a_request_that_nobody_reads_is_given_up_after_the_time_that_a_label_says(edge: Rig) -> None:
    # HAProxy has one time for both directions.
    label = "DROMOS_EDGE_READ_TIMEOUT" if edge.target == "haproxy" else "DROMOS_EDGE_SEND_TIMEOUT"
    with listener(5) as server:
        await edge.show(at(server, "deaf", **{label: "300ms"}))
        try:
            assert (await edge.ask(host="deaf.test", method="PUT", data=BODY)).status_code == SILENT[edge.target]
        except (
            requests.ConnectionError
        ):  # HAProxy waits for nobody's body, so a client that still sends may not see why
            assert edge.target == "haproxy"


@with_targets(ALL)
async def test_an_endpoint_that_is_too_slow_is_given_up(edge: Rig) -> None:
    async with backends("web") as (web,):
        web.held = asyncio.Event()
        await edge.show(instance(web, DROMOS_EDGE_READ_TIMEOUT="300ms", DROMOS_EDGE_TRIES="1"))
        assert (await edge.ask()).status_code == SILENT[edge.target]
        web.held.set()


@contextlib.asynccontextmanager
async def websocket(edge: Rig) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Tried again where the endpoint, which is a part of this process, was too slow to agree to it."""

    async def opened() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
        writer.write(
            b"GET /chat HTTP/1.1\r\nHost: web.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 101 " in head, head
        except BaseException:
            writer.close()
            raise
        return reader, writer

    reader, writer = await eventually_async(opened, what="a websocket")
    try:
        yield reader, writer
    finally:
        writer.close()


@with_targets(SMART)
async def test_a_silent_websocket_outlives_the_time_for_answers(edge: Rig) -> None:
    async with backends("web") as (web,):
        web.held = asyncio.Event()
        await edge.show(instance(web, DROMOS_EDGE_READ_TIMEOUT="300ms", DROMOS_EDGE_TRIES="1"))
        async with websocket(edge) as (reader, writer):
            for word in (b"hello", b"again"):
                writer.write(word)
                assert await reader.readexactly(5) == word
                # A request that began after its last word has waited for all of that time.
                assert (await edge.ask()).status_code == SILENT[edge.target]
        web.held.set()


@with_targets(SMART)
async def test_a_websocket_that_is_silent_for_longer_than_its_label_says_is_ended(edge: Rig) -> None:
    async with backends("web") as (web,):
        await edge.show(instance(web, DROMOS_EDGE_WEBSOCKET_TIMEOUT="300ms"))
        async with websocket(edge) as (reader, _):
            assert await asyncio.wait_for(reader.read(), 30) == b""


@with_targets(["nginx"])
async def test_plain_nginx_ends_a_websocket_after_the_time_for_answers(edge: Rig) -> None:
    async with backends("web") as (web,):
        await edge.show(instance(web, DROMOS_EDGE_READ_TIMEOUT="1s"))

        async def is_ended_after_its_last_word() -> bool:
            async with websocket(edge) as (reader, writer):
                writer.write(b"hello")  # in time, or it is ended before
                assert await reader.readexactly(5) == b"hello"
                assert await asyncio.wait_for(reader.read(), 30) == b""
                return True

        await eventually_async(is_ended_after_its_last_word, 60.0)
