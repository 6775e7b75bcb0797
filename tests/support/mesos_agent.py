"""An agent of the embedded Mesos for tests, below a master that lives in memory."""

import asyncio
import base64
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from embedded.mesos.agent import Agent
from embedded.mesos.agent_settings import AgentSettings
from embedded.mesos.agents import make_agent
from embedded.mesos.resources import parse_resources
from embedded.mesos.seam import Agent as AnAgent
from tests.support.waiting import eventually_async

Json = dict[str, Any]
TERMINAL = ("TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_LOST", "TASK_DROPPED", "TASK_ERROR")


@dataclass
class MemoryMaster:
    """The master's side of the seam. It keeps the updates that arrive and acknowledges them unless told not to."""

    acknowledges: bool = True
    agents: dict[str, AnAgent] = field(default_factory=dict)
    registered: list[tuple[str, list[Json]]] = field(default_factory=list)
    updates: list[Json] = field(default_factory=list)
    exited: list[tuple[str, str, int]] = field(default_factory=list)
    _numbers: Any = field(default_factory=itertools.count)

    def register(self, agent: AnAgent, tasks: list[Json]) -> str:
        agent_id = agent.info["id"]["value"] or f"test-{time.monotonic_ns()}-S{next(self._numbers)}"
        self.agents[agent_id] = agent
        self.registered.append((agent_id, tasks))
        return str(agent_id)

    def status_update(self, agent_id: str, framework_id: str, status: Json) -> None:
        json.dumps(status)  # what cannot be sent is a fault of the agent's
        self.updates.append(status)
        if self.acknowledges:
            asyncio.get_running_loop().call_soon(self.acknowledge, status, framework_id)

    def acknowledge(self, status: Json, framework_id: str = "fw") -> None:
        agent = self.agents[status["agent_id"]["value"]]
        agent.acknowledge(framework_id, status["task_id"]["value"], status["uuid"])

    def executor_message(self, agent_id: str, framework_id: str, executor_id: str, data: str) -> None:
        raise AssertionError("no executor of ours sends messages")

    def executor_exited(self, agent_id: str, framework_id: str, executor_id: str, status: int) -> None:
        self.exited.append((framework_id, executor_id, status))

    # Looks

    def of(self, task_id: str) -> list[Json]:
        """The updates of a task, each once."""
        seen: dict[str, Json] = {u["uuid"]: u for u in self.updates if u["task_id"]["value"] == task_id}
        return list(seen.values())

    def states(self, task_id: str) -> list[str]:
        return [update["state"] for update in self.of(task_id)]

    async def until(self, task_id: str, state: str, timeout: float = 60.0) -> Json:
        """The task's first update with that state; fails at once where the task ends in another."""

        def found() -> Json | None:
            updates = self.of(task_id)
            if updates and updates[-1]["state"] in TERMINAL and state not in self.states(task_id):
                return updates[-1]
            return next((update for update in updates if update["state"] == state), None)

        update = await eventually_async(found, timeout, 0.01, f"{task_id} is {state}")
        assert update["state"] == state, f"{task_id} is not {state} but {update}"
        return update

    async def until_ended(self, task_id: str, timeout: float = 60.0) -> Json:
        def ended() -> Json | None:
            return next((update for update in self.of(task_id) if update["state"] in TERMINAL), None)

        return await eventually_async(ended, timeout, 0.01, f"{task_id} has ended")


def framework(*capabilities: str, **fields: Any) -> Json:
    return {
        "id": {"value": "fw"},
        "name": "test",
        "user": "",
        "capabilities": [{"type": c} for c in capabilities],
        **fields,
    }


def task(
    task_id: str,
    command: str | list[str] | Json | None = None,
    *,
    cpus: float = 0.1,
    mem: float = 64,
    env: dict[str, str] | None = None,
    uris: Any = (),
    **fields: Any,
) -> Json:
    """A TaskInfo. A text is a shell command, a list an argv, a dict the whole CommandInfo."""
    info: Json = {
        "name": task_id,
        "task_id": {"value": task_id},
        "agent_id": {"value": "any"},
        "resources": [
            {"name": "cpus", "type": "SCALAR", "scalar": {"value": cpus}},
            {"name": "mem", "type": "SCALAR", "scalar": {"value": mem}},
        ],
        **fields,
    }
    run: Json = {"uris": list(uris)} if uris else {}
    if env:
        run["environment"] = {"variables": [{"name": n, "type": "VALUE", "value": v} for n, v in env.items()]}
    if isinstance(command, str):
        run |= {"shell": True, "value": command}
    elif isinstance(command, list):
        run |= {"shell": False, "value": command[0], "arguments": command}
    elif command:
        run |= command
    if run:
        info["command"] = run
    return info


def grace(seconds: float) -> Json:
    """A KillPolicy."""
    return {"grace_period": {"nanoseconds": int(seconds * 1e9)}}


@dataclass
class World:
    """A master and one agent. `restart` is what a restart of the process would do; tasks run on."""

    work_dir: Path
    settings: Json
    master: MemoryMaster = field(default_factory=MemoryMaster)
    agent: Agent = field(init=False)

    async def start(self) -> None:
        info = {
            "hostname": "127.0.0.1",
            "port": 5050,
            "resources": parse_resources("cpus:4;mem:4096;disk:4096;ports:[31000-31099]").to_json(),
            "attributes": [],
        }
        settings = AgentSettings(**self.settings)
        self.agent = make_agent("slave(1)", info, "127.0.0.1", self.work_dir / "agent-1", settings)
        await self.agent.start(self.master)

    async def restart(self, meanwhile: Callable[[], Awaitable[None]] | None = None) -> None:
        await self.agent.stop()
        if meanwhile:
            await meanwhile()
        await self.start()

    async def destroy(self) -> None:
        await self.agent.destroy()

    def launch(self, *tasks: Json, framework_info: Json | None = None) -> None:
        self.agent.launch(framework_info or framework(), self._here(tasks), False, None)

    def launch_group(self, *tasks: Json, executor_id: str = "pod", framework_info: Json | None = None) -> None:
        self.agent.launch(
            framework_info or framework(),
            self._here(tasks),
            True,
            {"type": "DEFAULT", "executor_id": {"value": executor_id}},
        )

    def _here(self, tasks: tuple[Json, ...]) -> list[Json]:
        return [{**info, "agent_id": {"value": self.agent.id}} for info in tasks]

    def sandbox(self, task_id: str) -> Path:
        """Of the task, running or ended."""
        runs = [
            self.agent.runs.get(("fw", task_id)),
            *(c.run for c in self.agent.completed if c.run.task_id == task_id),
        ]
        return next(run.launch.sandbox for run in runs if run)

    def output(self, task_id: str, stream: str = "stdout") -> str:
        return (self.sandbox(task_id) / stream).read_text()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[World]]]:
    """A factory of worlds: `await world(log_bytes=4096)`. What runs in them ends with the test."""
    numbers = itertools.count()
    async with contextlib.AsyncExitStack() as stack:

        async def make(**settings: Any) -> World:
            made = World(tmp_path / f"work-{next(numbers)}", settings)
            await made.start()
            stack.push_async_callback(made.destroy)
            return made

        yield make


def decoded(data: str) -> Any:
    return json.loads(base64.b64decode(data))


def container(image: str, network: str = "BRIDGE", *, volumes: Any = (), **docker: Any) -> Json:
    """A ContainerInfo of type DOCKER. `ports` are (host, container) pairs, `parameters` a dict or pairs."""
    ports = docker.pop("ports", ())
    parameters = docker.pop("parameters", {})
    pairs = parameters.items() if isinstance(parameters, dict) else parameters
    return {
        "type": "DOCKER",
        "volumes": list(volumes),
        "docker": {
            "image": image,
            "network": network,
            "port_mappings": [
                {"host_port": host, "container_port": inside, "protocol": "tcp"} for host, inside in ports
            ],
            "parameters": [{"key": key, "value": value} for key, value in pairs],
            **docker,
        },
    }
