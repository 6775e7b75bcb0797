"""What a dead agent left in the catalog. Its services are in no rotation any more, but they would stay there for days.

Taking them out is harmless: an agent that comes back after all writes its services into the catalog again.
"""

import asyncio

from daemonkit.lifecycle import sleep_or_stop
from daemonkit.logs import get_logger
from registrator.consul import Consul
from registrator.errors import ConsulError
from registrator.metrics import Metrics
from registrator.naming import OWNER

log = get_logger(__name__)

_LOOKS_IN_TIME = 4


class Cleanup:
    """Removes our services from nodes whose agent has been dead for `after` seconds."""

    def __init__(self, consul: Consul, owner: str, *, after: float, metrics: Metrics) -> None:
        self._consul = consul
        self._owner = owner
        self._after = after
        self._metrics = metrics
        self._dead_since: dict[str, float] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`. While Consul is away there is nothing to do: what is dead will be dead later too."""
        while not stop.is_set():
            try:
                await self.look()
            except ConsulError as error:
                log.debug("the catalog cannot be cleaned up now", error=str(error))
            except Exception as error:
                log.exception("the clean-up of the catalog failed", error=repr(error))
            await sleep_or_stop(self._after / _LOOKS_IN_TIME, stop)

    async def look(self) -> None:
        """One look at the catalog. Raises ConsulError."""
        now = asyncio.get_running_loop().time()
        dead = await self._consul.dead_nodes()
        self._dead_since = {node: self._dead_since.get(node, now) for node in dead}
        for node, since in self._dead_since.items():
            if now - since < self._after:
                continue
            for service_id, meta in (await self._consul.services_of_node(node)).items():
                if meta.get(OWNER) == self._owner:
                    await self._consul.remove_from_catalog(node, service_id)
                    self._metrics.writes.labels(kind="cleanup").inc()
                    log.info("removed what a dead agent left", node=node, id=service_id)
