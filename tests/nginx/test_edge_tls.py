"""HTTPS: certificates by name, taken while the proxy runs; clients that must show one."""

import asyncio
import contextlib
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from nginx import certificates
from tests.support.backends import backends
from tests.support.certificates import make_certificate
from tests.support.rig import Rig, instance, rig
from tests.support.waiting import eventually_async

ALL = ["nginx-lua", "nginx", "haproxy"]


def name_shown(port: int, host: str) -> str:
    """The common name of the certificate that a client of `host` is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), 30) as raw,
        context.wrap_socket(raw, server_hostname=host) as tls,
    ):
        der = tls.getpeercert(binary_form=True)
    assert der
    done = subprocess.run(
        ["openssl", "x509", "-noout", "-subject", "-inform", "DER"], input=der, capture_output=True, check=True
    )
    return done.stdout.decode().rpartition("CN = ")[2].strip()


def status_of(port: int, host: str, certificate: Path | None = None, *, names_host: bool = True) -> tuple[int, str]:
    """(status, all of the head) of a GET over TLS. `names_host`: in the handshake too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if certificate:
        context.load_cert_chain(certificate)
    with (
        socket.create_connection(("127.0.0.1", port), 30) as raw,
        context.wrap_socket(raw, server_hostname=host if names_host else None) as tls,
    ):
        tls.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        found = b""
        with contextlib.suppress(OSError):
            while data := tls.recv(65536):
                found += data
    head = found.decode("latin-1")
    return int(head.split()[1]), head


@pytest.fixture
async def edge(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    directory = tmp_path / "edge"
    make_certificate(directory / "certificates" / "web.test.pem", "web.test")
    make_certificate(directory / "certificates" / "_wildcard.wild.test.pem", "*.wild.test")
    make_certificate(directory / "authorities" / "staff.pem", "staff")
    async with rig(directory, request.param, tls=True) as found:
        yield found


def with_targets(targets: list[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("edge", targets, indirect=True)


@with_targets(ALL)
async def test_each_name_is_shown_its_own_certificate(edge: Rig) -> None:
    async with backends("web") as (web,):
        await edge.show(instance(web), instance(web, "wild", HAPROXY_0_VHOST="*.wild.test"), instance(web, "other"))

        def shown(host: str) -> str:
            return name_shown(edge.tls_port, host)

        assert await asyncio.to_thread(shown, "web.test") == "web.test"
        assert await asyncio.to_thread(shown, "a.wild.test") == "*.wild.test"
        assert await asyncio.to_thread(shown, "other.test") == "dromos-edge"


@with_targets(["nginx-lua"])
async def test_a_new_certificate_needs_no_reload(edge: Rig) -> None:
    async with backends("web") as (web,):
        await edge.show(instance(web, "fresh"))
        reloads = edge.reloads
        make_certificate(edge.layout.certificates / "fresh.test.pem", "fresh.test")
        assert await edge.proxy.take(certificates.read(edge.layout.certificates)) is False
        await eventually_async(
            lambda: asyncio.to_thread(lambda: name_shown(edge.tls_port, "fresh.test") == "fresh.test")
        )
        (edge.layout.certificates / "fresh.test.pem").unlink()
        await edge.proxy.take(certificates.read(edge.layout.certificates))
        await eventually_async(
            lambda: asyncio.to_thread(lambda: name_shown(edge.tls_port, "fresh.test") == "dromos-edge")
        )
        assert edge.reloads == reloads


@with_targets(ALL)
async def test_backends_learn_of_https_and_browsers_are_told_to_stay_with_it(edge: Rig) -> None:
    async with backends("web") as (web,):
        await edge.show(instance(web, HAPROXY_0_USE_HSTS="true", HAPROXY_0_REDIRECT_TO_HTTPS="true"))
        status, head = await asyncio.to_thread(status_of, edge.tls_port, "web.test")
        assert status == 200
        assert "max-age=31536000" in head
        assert web.requests[-1][2]["x-forwarded-proto"] == "https"
        redirect = await edge.ask()
        assert redirect.headers["Location"] == f"https://web.test:{edge.tls_port}/"


@with_targets(ALL)
async def test_a_client_without_a_certificate_of_the_authority_stays_outside(edge: Rig, tmp_path: Path) -> None:
    make_certificate(tmp_path / "bob.pem", "bob", ca=edge.layout.authorities / "staff.pem")
    make_certificate(tmp_path / "stranger.pem", "stranger")
    async with backends("web") as (web,):
        await edge.show(instance(web, DROMOS_EDGE_CLIENT_CA="staff.pem"))
        assert (await asyncio.to_thread(status_of, edge.tls_port, "web.test", tmp_path / "bob.pem"))[0] == 200
        assert (await asyncio.to_thread(status_of, edge.tls_port, "web.test"))[0] in (400, 403)
        assert (await edge.ask()).status_code == 403
        with contextlib.suppress(ssl.SSLError, IndexError, ConnectionError):
            status, _ = await asyncio.to_thread(status_of, edge.tls_port, "web.test", tmp_path / "stranger.pem")
            assert status in (400, 403)
        assert len(web.requests) == 1


@with_targets(["nginx-lua", "nginx"])
async def test_a_certificate_for_one_host_opens_no_other(edge: Rig, tmp_path: Path) -> None:
    make_certificate(edge.layout.authorities / "guests.pem", "guests")
    make_certificate(tmp_path / "guest.pem", "guest", ca=edge.layout.authorities / "guests.pem")
    edge.policy = replace(edge.policy, authorities=frozenset({"staff.pem", "guests.pem"}))
    async with backends("inside", "lobby") as (inside, lobby):
        labels = {"DROMOS_EDGE_CLIENT_CA": "guests.pem", "DROMOS_EDGE_PATH": "/"}
        await edge.show(
            instance(inside, DROMOS_EDGE_CLIENT_CA="staff.pem"), instance(lobby, "any", plain="yes", **labels)
        )

        def status(host: str, **how: bool) -> int:
            with contextlib.suppress(ssl.SSLError, IndexError, ConnectionError):
                return status_of(edge.tls_port, host, tmp_path / "guest.pem", **how)[0]
            return 0

        assert await asyncio.to_thread(status, "lobby.test") == 200
        assert await asyncio.to_thread(status, "web.test") != 200
        assert await asyncio.to_thread(status, "web.test", names_host=False) == 421
        assert inside.requests == []


def test_a_certificate_without_its_key_is_left_out_and_named(tmp_path: Path) -> None:
    make_certificate(tmp_path / "good.test.pem", "good.test")
    make_certificate(tmp_path / "other.pem", "other")
    (tmp_path / "broken.test.pem").write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    (tmp_path / "ev;il.pem").write_text((tmp_path / "good.test.pem").read_text())
    bundle = certificates.read(tmp_path)
    assert set(bundle.pems) == {"good.test", "other"}
    assert set(bundle.problems) == {"broken.test.pem", "ev;il.pem"}
    assert "PRIVATE" not in repr(bundle)
