"""What a Consul agent that died left in the catalog is removed, if it is ours."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real_consul.install import real_consul_program
from tests.support.consul import OwnConsul, real_consul_command
from tests.support.marathon import Marathon
from tests.support.processes import free_port
from tests.support.waiting import eventually


@pytest.fixture
def second_agent(own_real_consul: OwnConsul, tmp_path: Path) -> Iterator[OwnConsul]:
    """An agent without a vote that has joined `own_real_consul`."""
    port = free_port()
    given = real_consul_command(real_consul_program(), tmp_path, port)
    serf = next(flag for flag in own_real_consul.command if flag.startswith("-serf-lan-port=")).partition("=")[2]
    command = [flag for flag in given if flag != "-dev" and not flag.startswith("-node=")]
    command += [
        "-node=mortal",
        f"-data-dir={tmp_path / 'mortal'}",
        f"-retry-join=127.0.0.1:{serf}",
        "-retry-interval=1s",
    ]
    agent = OwnConsul("127.0.0.1", port, "real", command=tuple(command), log=tmp_path / "mortal.log")
    with agent:
        yield agent


def test_our_services_of_a_dead_agent_leave_the_catalog_and_others_stay(
    own_real_consul: OwnConsul, second_agent: OwnConsul, registrator
) -> None:
    second_agent.register("left", "left-1", port=80, Meta={"dromos-owner": "dromos", "dromos-task": "left"})
    second_agent.register("foreign", "foreign-1", port=80, Meta={"dromos-owner": "somebody"})

    def of_node() -> set[str]:
        found = own_real_consul.http.get("catalog/node/mortal").json()
        return set(found["Services"]) if found else set()

    eventually(lambda: of_node() == {"left-1", "foreign-1"}, 60)
    with Marathon().serving() as marathon:
        daemon = registrator(
            sources=["framework"], marathon=[marathon.url], consul=own_real_consul.url, cleanup_after="500ms"
        )
        second_agent.kill()
        eventually(lambda: of_node() == {"foreign-1"}, 120)
        eventually(lambda: daemon.metric("dromos_registrator_writes_total", kind="cleanup") == 1)
