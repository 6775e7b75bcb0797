"""A configuration that the proxy's own check lets through but that does not run is taken back, and traffic hardly notices."""

import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from consul_template_py.apply import apply
from consul_template_py.targets.base import Outcome
from nginx.routes import build
from nginx.targets import haproxy as haproxy_target
from nginx.targets import nginx as nginx_target
from tests.support.backends import backends
from tests.support.load import load
from tests.support.processes import free_port
from tests.support.rig import Rig, instance, rig


@pytest.fixture(params=["nginx-lua", "nginx", "haproxy"])
async def edge(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path / "edge", request.param) as found:
        yield found


@contextlib.contextmanager
def little_patience() -> Iterator[None]:
    """For what does not come: a proxy that takes a configuration may need longer."""
    with pytest.MonkeyPatch.context() as patch:
        for target in (nginx_target, haproxy_target):
            patch.setattr(target, "VERIFY_SECONDS", 4.0)
        yield


async def test_a_port_that_another_program_has_is_found_out_and_the_routes_from_before_come_back(edge: Rig) -> None:
    async with backends("web") as (web,):
        await edge.show(instance(web))
        port = free_port()
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", port))
            taken.listen()
            edge.policy = type(edge.policy)(stream_ports=(port, port))
            labels = {"DROMOS_EDGE_PROTOCOL": "tcp", "DROMOS_EDGE_PORT": str(port)}
            shown = [instance(web), instance(web, "db", plain="yes", **labels)]
            model = build({one.service: [one] for one in shown}, edge.policy)
            async with load(
                f"http://127.0.0.1:{edge.port}/", connections=2, rate=50, headers={"Host": "web.test"}
            ) as result:
                with little_patience():
                    found = await apply(edge.proxy, model, edge.applied)
            assert found.outcome is Outcome.rolled_back, found
            assert found.error
            assert result.statuses[200] == result.requests - result.failed
            assert set(await edge.answers(3)) == {"web"}
        # The port has become free: the same routes are taken now.
        await edge.show(*shown)
        assert len(edge.model.streams) == 1
        assert set(await edge.answers(3)) == {"web"}
