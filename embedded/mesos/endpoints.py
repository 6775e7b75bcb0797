"""The master's older HTTP endpoints, each also below /master: /state and its kin to read, a few to act."""

import os
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from embedded.mesos import render
from embedded.mesos.errors import CallError
from embedded.mesos.http import json_response
from embedded.mesos.master import Master
from embedded.mesos.messages import parse, read_json
from embedded.mesos.metrics import prometheus_registry, snapshot
from embedded.mesos.records import Task

Json = dict[str, Any]

DEFAULT_TASKS = 100
LARGEST_FORM = 64 * 1024


class Endpoints:
    def __init__(self, master: Master) -> None:
        self.master = master
        self.prometheus = prometheus_registry(master.cluster)

    def routes(self) -> list[BaseRoute]:
        anything = ["GET", "POST"]
        return [
            Route("/state", self.state, methods=anything),
            Route("/state-summary", self.state_summary, methods=anything),
            Route("/slaves", self.slaves, methods=anything),
            Route("/frameworks", self.frameworks, methods=anything),
            Route("/tasks", self.tasks, methods=anything),
            Route("/roles", self.roles, methods=anything),
            Route("/flags", self.flags, methods=anything),
            Route("/version", self.version, methods=anything),
            Route("/health", self.health, methods=anything),
            Route("/redirect", self.redirect, methods=anything),
            Route("/metrics/snapshot", self.metrics_snapshot, methods=anything),
            Route("/metrics", self.metrics),
            Route("/system/stats.json", self.system_stats),
            Route("/quota", self.quota),
            Route("/weights", self.weights),
            Route("/teardown", self.teardown, methods=["POST"]),
            Route("/maintenance/schedule", self.maintenance_schedule, methods=anything),
            Route("/maintenance/status", self.maintenance_status),
            Route("/machine/down", self.machine_down, methods=["POST"]),
            Route("/machine/up", self.machine_up, methods=["POST"]),
        ]

    async def state(self, request: Request) -> Response:
        cluster = self.master.cluster
        info = render.master_info(cluster)
        content = {
            **render.version(),
            "start_time": cluster.start_time,
            "elected_time": cluster.start_time,
            "id": cluster.master_id,
            "pid": cluster.pid,
            "hostname": cluster.host,
            "capabilities": [capability["type"] for capability in info["capabilities"]],
            "activated_slaves": float(sum(not agent.deactivated for agent in cluster.agents.values())),
            "deactivated_slaves": float(sum(agent.deactivated for agent in cluster.agents.values())),
            "unreachable_slaves": float(len(cluster.unreachable_agents)),
            "leader": cluster.pid,
            "leader_info": {name: info[name] for name in ("id", "pid", "port", "hostname")},
            "flags": render.flags(cluster),
            "slaves": [render.short_agent(agent) for agent in cluster.agents.values()],
            "recovered_slaves": self._recovered_slaves(),
            "frameworks": [render.short_framework(each) for each in cluster.frameworks.values()],
            "completed_frameworks": [render.short_framework(each) for each in cluster.completed_frameworks.values()],
            "orphan_tasks": [],
            "unregistered_frameworks": [],
        }
        return json_response(request, content)

    async def state_summary(self, request: Request) -> Response:
        return json_response(request, render.state_summary(self.master.cluster))

    async def slaves(self, request: Request) -> Response:
        wanted = request.query_params.get("slave_id")
        shown = [
            render.full_agent(agent)
            for agent in self.master.cluster.agents.values()
            if wanted in (None, agent.agent_id)
        ]
        return json_response(request, {"slaves": shown, "recovered_slaves": self._recovered_slaves()})

    async def frameworks(self, request: Request) -> Response:
        wanted = request.query_params.get("framework_id")
        cluster = self.master.cluster
        content = {
            "frameworks": [
                render.short_framework(each)
                for each in cluster.frameworks.values()
                if wanted in (None, each.framework_id)
            ],
            "completed_frameworks": [
                render.short_framework(each)
                for each in cluster.completed_frameworks.values()
                if wanted in (None, each.framework_id)
            ],
            "unregistered_frameworks": [],
        }
        return json_response(request, content)

    async def tasks(self, request: Request) -> Response:
        """`limit` (100), `offset`, `order` (`asc`, else the newest first), `framework_id`, `task_id`."""
        query = request.query_params
        limit, offset = _number(query.get("limit"), DEFAULT_TASKS), _number(query.get("offset"), 0)
        found = [
            task
            for framework in render.all_frameworks(self.master.cluster)
            if query.get("framework_id") in (None, framework.framework_id)
            for task in [*framework.tasks.values(), *framework.unreachable_tasks.values(), *framework.completed_tasks]
            if query.get("task_id") in (None, task.task_id)
        ]
        found.sort(key=_began, reverse=query.get("order") != "asc")
        return json_response(request, {"tasks": [render.short_task(task) for task in found[offset : offset + limit]]})

    async def roles(self, request: Request) -> Response:
        return json_response(request, {"roles": render.short_roles(self.master.cluster)})

    async def flags(self, request: Request) -> Response:
        return json_response(request, {"flags": render.flags(self.master.cluster)})

    async def version(self, request: Request) -> Response:
        return json_response(request, render.version())

    async def health(self, _request: Request) -> Response:
        return Response(b"")

    async def redirect(self, _request: Request) -> Response:
        """To the leading master, which this one always is; the scheme is the client's."""
        return Response(
            b"", status_code=307, headers={"Location": f"//{self.master.cluster.host}:{self.master.cluster.port}"}
        )

    async def metrics_snapshot(self, request: Request) -> Response:
        return json_response(request, dict(sorted(snapshot(self.master.cluster).items())))

    async def metrics(self, _request: Request) -> Response:
        return Response(generate_latest(self.prometheus), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def system_stats(self, request: Request) -> Response:
        page = os.sysconf("SC_PAGE_SIZE")
        one, five, fifteen = os.getloadavg()
        content = {
            "avg_load_1min": one,
            "avg_load_5min": five,
            "avg_load_15min": fifteen,
            "cpus_total": os.cpu_count(),
            "mem_free_bytes": page * os.sysconf("SC_AVPHYS_PAGES"),
            "mem_total_bytes": page * os.sysconf("SC_PHYS_PAGES"),
        }
        return json_response(request, content)

    async def quota(self, request: Request) -> Response:
        return json_response(request, {})

    async def weights(self, request: Request) -> Response:
        return json_response(request, [])

    async def teardown(self, request: Request) -> Response:
        """`frameworkId=…` in the body, as a form."""
        form = dict(parse_qsl((await _body(request, LARGEST_FORM)).decode(errors="replace")))
        framework_id = form.get("frameworkId")
        if not framework_id:
            return _bad("Missing 'frameworkId' query parameter in the request body")
        framework = self.master.cluster.frameworks.get(framework_id)
        if framework is None:
            return _bad("No framework found with specified ID")
        self.master.frameworks.remove(framework)
        self.master.cluster.registry.flush()
        return Response(b"")

    async def maintenance_schedule(self, request: Request) -> Response:
        """The schedule; POST replaces it."""
        maintenance = self.master.maintenance
        if request.method == "GET":
            return json_response(request, maintenance.schedule())
        return await self._act(request, "MaintenanceSchedule", maintenance.update_schedule)

    async def maintenance_status(self, request: Request) -> Response:
        return json_response(request, self.master.maintenance.status())

    async def machine_down(self, request: Request) -> Response:
        """A JSON list of machines."""
        return await self._act(request, "Machines", lambda m: self.master.maintenance.machines_down(m["machines"]))

    async def machine_up(self, request: Request) -> Response:
        return await self._act(request, "Machines", lambda m: self.master.maintenance.machines_up(m["machines"]))

    async def _act(self, request: Request, message: str, act: Callable[[Json], None]) -> Response:
        """Reads a message, or for Machines a list of them, and acts on it."""
        try:
            document = read_json(await _body(request, self.master.settings.max_body_bytes))
            act(parse(message, {"machines": document} if isinstance(document, list) else document))
        except CallError as error:
            return Response(str(error), status_code=error.status, media_type="text/plain")
        self.master.cluster.registry.flush()
        return Response(b"")

    def _recovered_slaves(self) -> list[Json]:
        return [{"id": agent_id} for agent_id in self.master.cluster.recovered_agents]


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isdigit() else default


def _began(task: Task) -> float:
    return float(task.statuses[0]["timestamp"]) if task.statuses else time.time()


def _bad(text: str) -> Response:
    return Response(text, status_code=400, media_type="text/plain")


async def _body(request: Request, max_bytes: int) -> bytes:
    """Raises CallError if it is larger."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise CallError("The body is too large", 413)
    return body
