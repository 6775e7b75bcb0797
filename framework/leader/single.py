"""Leadership of a single node: it leads from its start, and after it has given leadership up it leads again.

The seam that an election fills as well: `start` returns when the first decision is made, `run` carries later ones out.
"""

from framework.engine.loop import Engine


class SingleNode:
    """`address`: host:port of this node's API. `new_framework_id`: forget the known one, once."""

    def __init__(self, engine: Engine, address: str, *, new_framework_id: bool = False) -> None:
        self._engine, self._address, self._new_framework_id = engine, address, new_framework_id

    async def start(self) -> None:
        """Raises StoreError."""
        await self._engine.lead(self._address, new_framework_id=self._new_framework_id)

    async def run(self) -> None:
        while True:
            await self._engine.resigned.wait()
            self._engine.resigned.clear()
            # As with several nodes, everything in memory is given up and read again; here by the same node.
            self._engine.follow(None)
            await self._engine.lead(self._address)
