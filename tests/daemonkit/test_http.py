import socket

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from daemonkit.errors import OperatorError
from daemonkit.health import Health
from daemonkit.http import bind, serving, status_app
from tests.support.processes import free_port


def bound(port: int = 0) -> tuple[socket.socket, str]:
    sock = bind("127.0.0.1", port, what="the test", mend="choose another port")
    return sock, f"http://127.0.0.1:{sock.getsockname()[1]}"


async def test_health_is_503_until_every_required_part_is_well_and_says_why():
    health = Health(required=("mesos", "store"))
    sock, url = bound()
    async with serving(status_app(health), sock), aiohttp.ClientSession() as client:
        health.ok("store")
        health.ok("extra", "not required")
        async with client.get(f"{url}/health") as answer:
            assert answer.status == 503
            assert (await answer.json())["parts"]["mesos"] == {
                "healthy": False,
                "why": "has not reported yet",
                "since": 0.0,
            }
        health.ok("mesos", "subscribed")
        health.failing("extra", "does not matter")
        async with client.get(f"{url}/health") as answer:
            assert answer.status == 200
            body = await answer.json()
            assert body["healthy"] is True and body["parts"]["extra"]["healthy"] is False
        health.failing("store", "disk full")
        async with client.get(f"{url}/health") as answer:
            assert answer.status == 503 and (await answer.json())["parts"]["store"]["why"] == "disk full"


async def test_metrics_are_prometheus_text():
    registry = CollectorRegistry()
    Counter("things", "Things done", registry=registry).inc(3)
    sock, url = bound()
    async with serving(status_app(Health(), registry=registry), sock), aiohttp.ClientSession() as client:
        async with client.get(f"{url}/metrics") as answer:
            assert answer.content_type == "text/plain"
            assert "things_total 3.0" in await answer.text()


async def test_the_port_is_free_again_after_the_block():
    port = free_port()  # none that the kernel may give to a client in between
    sock, _ = bound(port)
    async with serving(status_app(Health()), sock):
        pass
    bind("127.0.0.1", port, what="the next", mend="").close()


def test_a_taken_port_is_one_line_with_the_mend():
    taken, _ = bound()
    taken.listen()
    port = taken.getsockname()[1]
    with pytest.raises(OperatorError) as caught:
        bind("127.0.0.1", port, what="the API", mend="choose another with --api-port")
    taken.close()
    expected = f"the API cannot listen on 127.0.0.1:{port}: Address already in use; choose another with --api-port"
    assert str(caught.value) == expected


def test_how_long_a_part_has_been_so_is_kept():
    health = Health()
    health.failing("mesos", "refused")
    first = health.report()["parts"]["mesos"]["since"]  # type: ignore[index]
    health.failing("mesos", "still refused")
    report = health.report()["parts"]["mesos"]  # type: ignore[index]
    assert report["since"] == first and report["why"] == "still refused"
