"""One port for the master and its agents, as in libprocess: `/…` and `/master/…` are the master's, `/slave(1)/…` an agent's."""

from dataclasses import dataclass, field

from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from embedded.mesos.http import respond_text
from embedded.mesos.operator_api import OperatorApi
from embedded.mesos.scheduler_api import SchedulerApi

SCHEDULER_PATH = "/api/v1/scheduler"
OPERATOR_PATH = "/api/v1"


@dataclass(frozen=True)
class Routes:
    """What agents serve: each below its name, and what is at the root of the port."""

    agents: dict[str, list[BaseRoute]]
    root: list[BaseRoute] = field(default_factory=list)


class MesosApp:
    def __init__(
        self,
        scheduler: SchedulerApi,
        operator: OperatorApi,
        endpoints: list[BaseRoute],
        agents: Routes,
    ) -> None:
        self._scheduler = scheduler
        self._operator = operator
        self._master = Router([*endpoints, *agents.root], redirect_slashes=False, default=_not_found)
        self._agents = {
            name: Router(agent_routes, redirect_slashes=False, default=_not_found)
            for name, agent_routes in agents.agents.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        first, _, rest = path[1:].partition("/")
        app: ASGIApp = self._master
        if first == "master":
            path = f"/{rest}"
        elif first in self._agents:
            path, app = f"/{rest}", self._agents[first]
        path = path.rstrip("/") or "/"
        if path == SCHEDULER_PATH and app is self._master:
            await self._scheduler(scope, receive, send)
        elif path == OPERATOR_PATH and app is self._master:
            await self._operator(scope, receive, send)
        else:
            await app({**scope, "path": path, "root_path": ""}, receive, send)


async def _not_found(_scope: Scope, _receive: Receive, send: Send) -> None:
    await respond_text(send, 404, "404 Not Found.")
