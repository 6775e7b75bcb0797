"""An agent in a process of its own, so that it can be killed: launches tasks, prints what it tells the master, one JSON object a line.
SIGUSR1 kills its tasks.

    python -m tests.support.mesos_agent_program WORK_DIR '{"settings": {}, "tasks": [], "acknowledges": true}'
"""

import asyncio
import json
import signal
import sys
from pathlib import Path

from tests.support.mesos_agent import Json, MemoryMaster, World


class PrintingMaster(MemoryMaster):
    def register(self, agent, tasks):  # type: ignore[no-untyped-def]
        agent_id = super().register(agent, tasks)
        adopted = {task["task_id"]["value"]: task["state"] for task in tasks}
        print(json.dumps({"registered": agent_id, "tasks": adopted}), flush=True)
        return agent_id

    def status_update(self, agent_id: str, framework_id: str, status: Json) -> None:
        super().status_update(agent_id, framework_id, status)
        print(json.dumps(status), flush=True)


async def main(work_dir: Path, orders: Json) -> None:
    master = PrintingMaster(acknowledges=orders.get("acknowledges", True))
    world = World(work_dir, orders.get("settings", {}), master)
    await world.start()
    world.launch(*orders.get("tasks", []))

    def kill_all() -> None:
        for framework_id, task_id in list(world.agent.runs):
            world.agent.kill(framework_id, task_id, None)

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, kill_all)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), json.loads(sys.argv[2])))
