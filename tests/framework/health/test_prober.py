"""Probes against real sockets: what each kind of answer says of an instance."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from framework.engine.events import Event, Probed, ReadinessProbed
from framework.health.prober import MAX_BODY, HealthProber, probe_address
from framework.model.app import App
from framework.model.container import Container
from framework.model.health import CommandLine, HealthCheck, ReadinessCheck
from framework.model.instance import Agent, Instance, IpAddress, Task
from framework.model.network import Network, PortDefinition, PortMapping
from framework.model.pod import Pod
from tests.support.certificates import make_certificate
from tests.support.waiting import eventually_async

PATIENCE = 60.0
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def server(handler: Handler, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port of a server whose connections `handler` has; they are closed when it returns."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await handler(reader, writer)
        writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


def answering(status: int, body: bytes = b"", asked: list[str] | None = None, headers: str = "") -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if asked is not None:
            asked.append(request.decode())
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body)
        await writer.drain()

    return handle


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


def app_with(check: HealthCheck | None = None, readiness: ReadinessCheck | None = None, **more: Any) -> App:
    return App(
        "/a",
        cmd="x",
        port_definitions=(PortDefinition(name="http-api"),),
        health_checks=(check,) if check else (),
        readiness_checks=(readiness,) if readiness else (),
        **more,
    )


def instance_on(*ports: int, instance_id: str = "a.instance-1", **task: Any) -> Instance:
    tasks = (Task(f"{instance_id}._app.1", host_ports=ports, **task),)
    return Instance(instance_id, "/a", "v", "v", "*", Agent("agent", "127.0.0.1"), tasks)


class Probes:
    """A prober, and what it has told."""

    def __init__(self, **options: Any) -> None:
        self.told: list[Event] = []
        self.prober = HealthProber(self.told.append, first_delay=lambda interval: 0.0, **options)

    async def first(self, check: HealthCheck, *ports: int, **app: Any) -> tuple[bool | None, str]:
        self.prober.start(instance_on(*ports), app_with(check, **app), False)
        await eventually_async(lambda: self.told, timeout=PATIENCE)
        probed = self.told[0]
        assert isinstance(probed, Probed) and (probed.instance_id, probed.check_index) == ("a.instance-1", 0)
        return probed.alive, probed.cause


@pytest.fixture
async def probes() -> AsyncIterator[Probes]:
    made = Probes()
    yield made
    await made.prober.close()
    assert made.prober.instances == 0


@pytest.mark.parametrize(
    ("status", "alive", "cause"),
    [
        (200, True, ""),
        (204, True, ""),
        (302, True, ""),
        (399, True, ""),
        (400, False, "HTTP 400"),
        (503, False, "HTTP 503"),
        (101, False, "HTTP 101"),
    ],
)
async def test_200_to_399_is_healthy(probes: Probes, status: int, alive: bool, cause: str):
    async with server(answering(status, headers="Location: http://127.0.0.1:1/\r\n")) as port:
        assert await probes.first(HealthCheck(), port) == (alive, cause), "a redirection is not followed"


async def test_an_ignored_1xx_says_nothing_either_way(probes: Probes):
    async with server(answering(101)) as port:
        assert await probes.first(HealthCheck(ignore_http1xx=True), port) == (None, "")


async def test_the_path_and_the_port_of_the_check_are_asked_for(probes: Probes):
    asked: list[str] = []
    async with server(answering(200, asked=asked)) as port:
        check = HealthCheck(path="/health?deep=1", port_index=1)
        app = app_with(check)
        app = replace(app, port_definitions=(PortDefinition(), PortDefinition()))
        probes.prober.start(instance_on(1, port), app, False)
        await eventually_async(lambda: probes.told, timeout=PATIENCE)
        assert asked[0].startswith("GET /health?deep=1 HTTP/1.1\r\n") and "User-Agent: Dromos health check" in asked[0]


async def test_a_certificate_is_not_verified(probes: Probes, tmp_path: Path):
    certificate = make_certificate(tmp_path / "elsewhere.pem", "elsewhere.example")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    async with server(answering(200), context) as port:
        assert await probes.first(HealthCheck(protocol="HTTPS"), port) == (True, "")


async def test_tcp_is_healthy_when_it_connects_and_not_when_nobody_listens(probes: Probes):
    async with server(silent) as port:
        assert await probes.first(HealthCheck(protocol="TCP"), port) == (True, "")
    probes.told.clear()
    with socket.socket() as nobodys:
        nobodys.bind(("127.0.0.1", 0))  # and does not listen; nor can anybody else
        alive, cause = await probes.first(HealthCheck(protocol="TCP"), nobodys.getsockname()[1])
    assert alive is False and "Connect call failed" in cause


@pytest.mark.parametrize("protocol", ["HTTP", "HTTPS"])
async def test_silence_is_a_failure_when_the_time_is_over(probes: Probes, protocol: Any):
    async with server(silent) as port:
        check = HealthCheck(protocol=protocol, timeout_seconds=1)
        assert await probes.first(check, port) == (False, "no answer within 1 s")


@pytest.mark.parametrize("text", [b"", b"\x00\xff garbage\r\n\r\n", b"HTTP/1.1 999999 X\r\n\r\n", b"SSH-2.0-x\r\n"])
async def test_what_is_no_http_is_a_failure_with_a_cause(probes: Probes, text: bytes):
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(text)
        await writer.drain()

    async with server(handle) as port:
        alive, cause = await probes.first(HealthCheck(timeout_seconds=60), port)
        assert alive is False and cause


@pytest.mark.parametrize("path", ["/\udcff", "/ \r\nX: y", "/" + "x" * 70000])
async def test_a_path_that_cannot_be_asked_for_ends_no_loop(probes: Probes, path: str):
    async with server(answering(200)) as port:
        check = HealthCheck(path=path, interval_seconds=0, timeout_seconds=60)
        probes.prober.start(instance_on(port), app_with(check), False)
        await eventually_async(lambda: len(probes.told) >= 2, timeout=PATIENCE, what="it is probed again and again")


async def test_an_instance_without_the_port_is_not_healthy(probes: Probes):
    assert await probes.first(HealthCheck(port_index=3), 80) == (False, "the instance has no port to probe")


async def test_what_mesos_checks_and_what_pods_have_is_not_probed(probes: Probes):
    for protocol in ("COMMAND", "MESOS_HTTP", "MESOS_TCP"):
        check = HealthCheck(protocol=protocol, command=CommandLine("true"))  # type: ignore[arg-type]
        probes.prober.start(instance_on(1, instance_id=protocol), app_with(check), True)
    probes.prober.start(instance_on(1, instance_id="pod"), Pod("/p"), True)
    assert probes.prober.instances == 3
    await asyncio.sleep(0)
    assert probes.told == []


async def test_it_is_probed_again_after_each_interval_until_it_is_stopped(probes: Probes):
    async with server(answering(200)) as port:
        probes.prober.start(instance_on(port), app_with(HealthCheck(interval_seconds=0)), False)
        await eventually_async(lambda: len(probes.told) >= 3, timeout=PATIENCE)
        probes.prober.stop("a.instance-1")
        count = len(probes.told)
        await asyncio.sleep(0.1)
        assert len(probes.told) == count and probes.prober.instances == 0
        probes.prober.stop("a.instance-1")  # once more is no error


async def test_no_more_probes_than_allowed_are_under_way():
    open_now, most = 0, 0
    three = asyncio.Barrier(3)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await three.wait()
        open_now -= 1
        await answering(200)(reader, writer)

    probes = Probes(concurrency=3)
    async with server(handle) as port:
        for number in range(12):
            probes.prober.start(instance_on(port, instance_id=f"i{number}"), app_with(HealthCheck()), False)
        await eventually_async(lambda: len(probes.told) == 12, timeout=PATIENCE)
        assert most == 3
        await probes.prober.close()


async def test_readiness_is_asked_for_until_it_is_given_and_its_answer_kept(probes: Probes):
    answers = [
        answering(503, b"not yet"),
        answering(200, b"x" * (MAX_BODY + 10), headers="Content-Type: text/plain\r\n"),
    ]

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answers.pop(0)(reader, writer)

    check = ReadinessCheck(interval_seconds=0, timeout_seconds=60, preserve_last_response=True)
    async with server(handle) as port:
        probes.prober.start(instance_on(port), app_with(readiness=check), True)
        await eventually_async(lambda: len(probes.told) == 2, timeout=PATIENCE)
    first, last = probes.told
    assert isinstance(first, ReadinessProbed)
    assert (first.ready, first.status, first.body) == (False, 503, "not yet")
    assert isinstance(last, ReadinessProbed) and last.ready and last.status == 200 and last.content_type == "text/plain"
    assert last.body is not None and 0 < len(last.body) <= MAX_BODY, "bounded"
    assert answers == [], "and no more once it is ready"


async def test_readiness_of_a_port_that_is_not_there_or_answers_nothing_is_not_given(probes: Probes):
    probes.prober.start(instance_on(1), app_with(readiness=ReadinessCheck(port_name="other")), True)
    probes.prober.start(instance_on(1, instance_id="b"), app_with(readiness=ReadinessCheck()), True)
    await eventually_async(lambda: len(probes.told) == 2, timeout=PATIENCE)
    assert all(isinstance(told, ReadinessProbed) and not told.ready for told in probes.told)


CONTAINER_NETWORK = (Network("container", name="overlay"),)
MAPPINGS = (PortMapping(container_port=80, host_port=0), PortMapping(container_port=443), PortMapping(container_port=0))
BEHIND = App("/a", networks=CONTAINER_NETWORK, container=Container(port_mappings=MAPPINGS))
IP = (IpAddress("10.0.0.7"),)


@pytest.mark.parametrize(
    ("app", "port", "index", "ports", "addresses", "where"),
    [
        (app_with(), None, 0, (31000,), (), ("127.0.0.1", 31000)),
        (app_with(), None, None, (31000,), (), ("127.0.0.1", 31000)),
        (app_with(), None, 1, (31000,), (), None),
        (app_with(), 9, None, (31000,), (), ("127.0.0.1", 9)),
        (BEHIND, None, 0, (31000,), IP, ("127.0.0.1", 31000)),
        (BEHIND, None, 1, (31000,), IP, ("10.0.0.7", 443)),
        (BEHIND, None, 1, (31000,), (), None),
        (BEHIND, None, 2, (31000,), IP, ("10.0.0.7", 31001)),
        (BEHIND, None, 3, (31000,), IP, None),
        (BEHIND, 8080, None, (31000,), IP, ("10.0.0.7", 8080)),
    ],
)
def test_where_a_probe_goes(app: App, port: Any, index: Any, ports: Any, addresses: Any, where: Any):
    assert probe_address(instance_on(*ports, ip_addresses=addresses), app, port, index) == where
