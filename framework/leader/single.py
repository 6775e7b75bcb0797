"""Leadership of a single node: it leads from its start, and after it has given leadership up it leads again.

The seam that an election fills as well: `start` returns when the first decision is made, `run` carries later ones out.
"""

from daemonkit.errors import OperatorError
from daemonkit.lifecycle import sleep_or_stop
from framework.engine.loop import Engine

LOOK_AGAIN = 5.0  # seconds between two looks whether another process has taken the state over


class SingleNode:
    """`address`: host:port of this node's API. `new_framework_id`: forget the known one, once."""

    def __init__(self, engine: Engine, address: str, *, new_framework_id: bool = False) -> None:
        self._engine, self._address, self._new_framework_id = engine, address, new_framework_id

    async def start(self) -> None:
        """Raises StoreError."""
        await self._engine.lead(self._address, new_framework_id=self._new_framework_id)

    async def run(self) -> None:
        """Raises OperatorError where another process has taken the state over."""
        while True:
            if not await sleep_or_stop(LOOK_AGAIN, self._engine.resigned):
                await self._engine.check_right()
                continue
            self._engine.resigned.clear()
            if self._engine.fenced is not None:
                # To take it back would be a quarrel without end.
                raise OperatorError(
                    f"{self._engine.fenced}; one process at a time runs on a state file:"
                    " stop one of them, or run several nodes on ZooKeeper with --zk"
                )
            # As with several nodes, everything in memory is given up and read again; here by the same node.
            self._engine.follow(None)
            await self._engine.lead(self._address)

    async def stop(self) -> None:
        """There is nobody to make way for."""
