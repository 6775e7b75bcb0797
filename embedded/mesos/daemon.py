"""`dromos mesos`: a Mesos master and its agents in one process, on one port."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from daemonkit import lifecycle, logs
from daemonkit.http import bind, serving
from embedded.mesos.app import MesosApp, Routes
from embedded.mesos.endpoints import Endpoints
from embedded.mesos.errors import MesosError
from embedded.mesos.master import Master
from embedded.mesos.operator_api import OperatorApi
from embedded.mesos.registry import Registry
from embedded.mesos.resources import Resources, parse_attributes, parse_resources
from embedded.mesos.scheduler_api import SchedulerApi
from embedded.mesos.settings import MesosSettings
from embedded.mesos.simulated import SimulatedAgent, SimulatedCluster, simulated_routes

Json = dict[str, Any]
log = logs.get_logger(__name__)

AgentsFactory = Callable[[MesosSettings, Master, list[Json], Path], contextlib.AbstractAsyncContextManager[Routes]]

DEFAULT_PORTS = "31000-32000"


@dataclass(frozen=True)
class EmbeddedMesos:
    """A running master with its agents."""

    master: Master
    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


@contextlib.asynccontextmanager
async def embedded_mesos(settings: MesosSettings) -> AsyncIterator[EmbeddedMesos]:
    """Runs one inside the block. Raises MesosError where settings cannot be used, OperatorError where the port is taken."""
    state_dir = _state_directory(settings)
    infos = agent_infos(settings)
    sock = bind(
        settings.host, settings.port, what="the embedded Mesos", mend="give another --port or stop what is there"
    )
    port = int(sock.getsockname()[1])
    infos = [{**info, "port": port} for info in infos]
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(contextlib.closing(sock))
        master = Master(settings, Registry(state_dir / "registry.json"), host=settings.host, port=port)
        stack.callback(master.stop)
        served = await stack.enter_async_context(_agents(settings)(settings, master, infos, state_dir))
        app = MesosApp(SchedulerApi(master), OperatorApi(master), Endpoints(master).routes(), served)
        await stack.enter_async_context(serving(app, sock, keep_alive=round(settings.idle_connection)))
        stack.callback(master.close_streams)  # open subscriptions would keep the server from stopping
        log.info("the embedded Mesos is up", url=f"http://{settings.host}:{port}", agents=settings.agents)
        yield EmbeddedMesos(master, settings.host, port)


def _agents(settings: MesosSettings) -> AgentsFactory:
    if settings.simulate:
        return _simulated
    from embedded.mesos.local_agents import local_agents  # Docker's client and more, which simulations start without

    return local_agents


def agent_infos(settings: MesosSettings) -> list[Json]:
    """The AgentInfo of each agent, without id and port. Raises MesosError for resources or attributes that are none."""
    resources = parse_resources(settings.resources) if settings.resources else machine_resources()
    numbers = [str(number) for number in range(1, settings.agents + 1)]
    parse_attributes(settings.attributes.replace("{n}", "1"))
    return [
        {
            "hostname": (settings.hostname or settings.host).replace("{n}", number),
            "resources": resources.to_json(),
            "attributes": parse_attributes(settings.attributes.replace("{n}", number)),
            "checkpoint": True,
        }
        for number in numbers
    ]


def machine_resources() -> Resources:
    """As a Mesos agent counts them: all CPUs, memory and disk less a reserve for the system itself."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    disk = shutil.disk_usage("/").total // 2**20
    usable_memory = memory - 1024 if memory > 2048 else memory // 2
    usable_disk = disk - 5 * 1024 if disk > 10 * 1024 else disk // 2
    return parse_resources(f"cpus:{os.cpu_count() or 1};mem:{usable_memory};disk:{usable_disk};ports:[{DEFAULT_PORTS}]")


def _state_directory(settings: MesosSettings) -> Path:
    path = settings.state_dir.expanduser().resolve()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MesosError(
            f"the state directory {path} cannot be made: {error.strerror}; give another --state-dir"
        ) from None
    return path


@contextlib.asynccontextmanager
async def _simulated(
    settings: MesosSettings, master: Master, infos: list[Json], _state_dir: Path
) -> AsyncIterator[Routes]:
    """Starts the master with simulated agents."""
    registry = master.cluster.registry
    remembered = registry.entries("settings").get("simulated_agents", [])
    agents = []
    for number, info in enumerate(infos, 1):
        known = {"id": {"value": remembered[number - 1]}} if number <= len(remembered) else {}
        agents.append(SimulatedAgent(number, settings, master.agents, {**info, **known}))
    cluster = SimulatedCluster(agents, master.agents, settings)
    master.start()
    registry.put("settings", "simulated_agents", [agent.register() for agent in agents])
    cluster.start()
    try:
        yield Routes({agent.name: list(simulated_routes(cluster, agent)) for agent in agents})
    finally:
        cluster.stop()


@click.command("mesos", help="A Mesos master and agents in one process, speaking the real protocols.")
@MesosSettings.options()
def command(**flags: Any) -> None:
    lifecycle.run(lambda stop: _serve(flags, stop))


async def _serve(flags: dict[str, Any], stop: asyncio.Event) -> None:
    settings = MesosSettings.load(flags)
    logs.configure(daemon="mesos", level=settings.log_level)
    async with embedded_mesos(settings):
        await stop.wait()


if __name__ == "__main__":
    command()
