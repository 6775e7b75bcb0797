"""Takes away what an embedded Mesos left that was killed: its tasks' processes, containers and cgroups."""

import asyncio
from pathlib import Path

from embedded.mesos.agent_settings import AgentSettings
from embedded.mesos.agents import agent_directories, make_agent
from embedded.mesos.settings import MesosSettings


def clean(work_dir: Path, settings: AgentSettings | None = None) -> int:
    """Ends the tasks of all agents with state below `work_dir`; how many there were. Their sandboxes stay.

    Raises OperatorError where an embedded Mesos still runs there: stop that one first.
    """
    return asyncio.run(clean_in_loop(work_dir, settings))


async def clean_in_loop(work_dir: Path, settings: AgentSettings | None = None) -> int:
    """As `clean`, for a caller with an event loop."""
    settings = settings or MesosSettings.load()
    ended = 0
    for directory in agent_directories(work_dir):
        agent = make_agent("slave(0)", {"resources": [], "hostname": "", "port": 0}, "127.0.0.1", directory, settings)
        agent.load_for_cleaning()
        ended += len(agent.runs)
        await agent.destroy()
    return ended
