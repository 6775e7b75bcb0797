"""A registrator on each host, by its Mesos agent: what the agent runs, and no more; the same with the embedded and the real Mesos."""

import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from daemonkit.http import serving
from registrator.errors import SourceError
from registrator.model import Phase
from registrator.sources.mesos_agent import MesosAgentSource
from registrator.sources.mesos_state import MesosState, state_of_agent
from tests.support.mesos import Mesos
from tests.support.mesos_apps import HTTP, launch_app
from tests.support.processes import free_ports
from tests.support.scheduler import scheduling
from tests.support.waiting import eventually_async


def agents_of(mesos: Mesos) -> list[str]:
    """The URL of each agent, from its pid: `slave(1)@127.0.0.1:5051`."""
    pids = (agent["pid"].partition("@") for agent in mesos.get("/slaves")["slaves"])
    return [f"http://{endpoint}/{name}" for name, _, endpoint in sorted(pids)]


@pytest.mark.parametrize("kind", ["embedded", "real"])
async def test_each_host_s_registrator_registers_what_its_agent_runs(
    kind: str, request: pytest.FixtureRequest, registrator: Any
) -> None:
    resources = "cpus:4;mem:4096;disk:4096;ports:[{}-{}]".format(*free_ports(20))
    mesos: Mesos = request.getfixturevalue(f"{kind}_mesos")(agents=2, resources=resources)
    consul = request.getfixturevalue(f"{kind}_consul")
    agents = agents_of(mesos)
    for number, agent in enumerate(agents):
        # One Consul stands for the two hosts' own; so each has an owner of its own, as two at one Consul agent must.
        registrator(sources=["mesos"], mesos_agent=agent, owner=f"host-{number}", consul=consul.url, poll=0.2)

    def registered() -> dict[str, str]:
        found = consul.http.get("agent/services").json().values()
        return {service["Meta"]["dromos-task"]: service["Meta"]["dromos-owner"] for service in found}

    async with scheduling(mesos.url) as scheduler:
        tasks = [await launch_app(scheduler, f"/app-{number}", HTTP) for number in range(2)]
        await eventually_async(lambda: registered().keys() == set(tasks), 30)
        of_agent = {task["id"]: task["slave_id"] for task in mesos.get("/tasks")["tasks"]}
        owners = {of_agent[task]: owner for task, owner in registered().items()}
        assert registered() == {task: owners[of_agent[task]] for task in tasks}  # an agent's tasks have one owner
        assert len(set(owners.values())) == len(owners)
        await scheduler.kill(tasks[0])
        await scheduler.update(tasks[0], "TASK_KILLED")
        await eventually_async(lambda: registered().keys() == set(tasks[1:]), 30)


STATE = {
    "id": "S0",
    "hostname": "host-a",
    "pid": "slave(1)@10.0.0.7:5051",
    "frameworks": [
        {
            "id": "F",
            "executors": [
                {
                    "id": "web.1",
                    "tasks": [
                        {
                            "id": "web.1",
                            "slave_id": "S0",
                            "framework_id": "F",
                            "state": "TASK_RUNNING",
                            "resources": {"ports": "[31005-31005]"},
                            "discovery": {"name": "/web", "ports": {"ports": [{"number": 31005, "name": "http"}]}},
                            "labels": [{"key": "a", "value": "b"}],
                            "statuses": [{"state": "TASK_RUNNING", "healthy": True}],
                        }
                    ],
                    "completed_tasks": [],
                }
            ],
            "completed_executors": [
                {
                    "id": "web.0",
                    "completed_tasks": [
                        {"id": "web.0", "slave_id": "S0", "framework_id": "F", "state": "TASK_FAILED", "resources": {}}
                    ],
                }
            ],
        }
    ],
    "completed_frameworks": [],
}


def test_an_agent_s_state_says_what_runs_and_what_has_ended() -> None:
    look = MesosState(state_of_agent(STATE), most_ended=10, of_agent=True).look()
    (instance,) = look.instances.values()
    assert (instance.app, instance.phase, instance.host_address) == ("/web", Phase.RUNNING, "10.0.0.7")
    assert [(port.name, port.host_port) for port in instance.ports] == [("http", 31005)]
    assert look.ended == {"web.0"} and look.complete


def test_an_agent_without_tasks_is_a_host_without_tasks() -> None:
    look = MesosState(state_of_agent({**STATE, "frameworks": []}), most_ended=10, of_agent=True).look()
    assert look.complete and not look.instances


@contextlib.asynccontextmanager
async def answering(answer: Response) -> AsyncIterator[MesosAgentSource]:
    async def state(_request: Request) -> Response:
        return answer

    sock = socket.create_server(("127.0.0.1", 0))
    async with serving(Starlette(routes=[Route("/state", state)]), sock, grace=0.1):
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        source = MesosAgentSource(url, timeout=60, poll=1, most_ended=10, max_bytes=5000)
        try:
            yield source
        finally:
            await source.close()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Response("recovering", status_code=503), "answers 503"),
        (Response("<html>"), "is not JSON"),
        (JSONResponse([]), "not a JSON object"),
        (JSONResponse({"frameworks": []}), "is not one"),
        (JSONResponse({**STATE, "frameworks": [{"executors": [{"tasks": [{}]}]}]}), "is not one"),
        (JSONResponse({"x": "x" * 6000}), "longer than 5000 bytes"),
    ],
)
async def test_an_answer_that_is_no_state_is_a_failure_and_not_an_empty_host(answer: Response, said: str) -> None:
    async with answering(answer) as source:
        with pytest.raises(SourceError, match=said):
            await source.look(fresh=False)


async def test_an_agent_that_is_away_is_a_failure() -> None:
    source = MesosAgentSource("http://127.0.0.1:1", timeout=60, poll=1, most_ended=10, max_bytes=5000)
    with pytest.raises(SourceError, match="no Mesos agent answers"):
        await source.look(fresh=True)
    await source.close()
