"""The agents of this machine as a part of the embedded Mesos: started after the master, stopped before it."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.routing import BaseRoute

from embedded.mesos.agent_http import agent_routes, jail_of
from embedded.mesos.agents import make_agent, split_ports
from embedded.mesos.app import Routes
from embedded.mesos.files import files_routes
from embedded.mesos.master import Master
from embedded.mesos.settings import MesosSettings

Json = dict[str, Any]


@contextlib.asynccontextmanager
async def local_agents(
    settings: MesosSettings, master: Master, infos: list[Json], state_dir: Path
) -> AsyncIterator[Routes]:
    """Starts the master with agents that run processes and containers. These outlive the agents, and are found again.

    All agents are this one machine, so each gets a part of its ports.
    """
    shares = split_ports(infos[0]["resources"], len(infos)) if infos else []
    agents = [
        make_agent(
            f"slave({number})", {**info, "resources": share}, settings.host, state_dir / f"agent-{number}", settings
        )
        for number, (info, share) in enumerate(zip(infos, shares, strict=True), 1)
    ]
    master.start()
    async with contextlib.AsyncExitStack() as stack:
        for agent in agents:
            await agent.start(master.agents)
            stack.push_async_callback(agent.stop)
        routes: dict[str, list[BaseRoute]] = {agent.name: list(agent_routes(agent)) for agent in agents}
        yield Routes(routes, list(files_routes(jail_of(agents))))
