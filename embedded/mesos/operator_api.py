"""/api/v1: the operator's calls, and the stream of what happens in the cluster."""

import logging
from collections.abc import Callable
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from embedded.mesos import render
from embedded.mesos.errors import CallError
from embedded.mesos.http import check_accept, json_response, read_body, respond_text, send_stream
from embedded.mesos.master import Master
from embedded.mesos.messages import decode
from embedded.mesos.metrics import snapshot
from embedded.mesos.stream import Stream

Json = dict[str, Any]

# Calls that need no content of their own.
_BARE = frozenset(
    {"GET_HEALTH", "GET_FLAGS", "GET_VERSION", "GET_LOGGING_LEVEL", "GET_STATE", "GET_AGENTS", "GET_FRAMEWORKS"}
    | {"GET_EXECUTORS", "GET_OPERATIONS", "GET_TASKS", "GET_ROLES", "GET_WEIGHTS", "GET_MASTER", "SUBSCRIBE"}
    | {"GET_MAINTENANCE_STATUS", "GET_MAINTENANCE_SCHEDULE", "GET_QUOTA"}
)


class OperatorApi:
    def __init__(self, master: Master) -> None:
        self.master = master
        cluster = master.cluster
        self._reads: dict[str, Callable[[], Json]] = {
            "GET_HEALTH": lambda: {"healthy": True},
            "GET_FLAGS": lambda: {"flags": [{"name": k, "value": v} for k, v in render.flags(cluster).items()]},
            "GET_VERSION": lambda: {"version_info": render.version()},
            "GET_METRICS": lambda: {"metrics": [{"name": k, "value": v} for k, v in sorted(snapshot(cluster).items())]},
            "GET_LOGGING_LEVEL": lambda: {"level": 1 if logging.getLogger().level <= logging.DEBUG else 0},
            "GET_STATE": lambda: render.state(cluster),
            "GET_AGENTS": lambda: render.agents(cluster),
            "GET_FRAMEWORKS": lambda: render.frameworks(cluster),
            "GET_EXECUTORS": lambda: render.executors(cluster),
            "GET_OPERATIONS": dict,
            "GET_TASKS": lambda: render.tasks(cluster),
            "GET_ROLES": lambda: {"roles": render.roles(cluster)},
            "GET_WEIGHTS": dict,
            "GET_QUOTA": lambda: {"status": {}},
            "GET_MASTER": self._master_info,
            "GET_MAINTENANCE_STATUS": lambda: {"status": master.maintenance.status()},
            "GET_MAINTENANCE_SCHEDULE": lambda: {"schedule": master.maintenance.schedule()},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        try:
            body = await read_body(scope, receive, headers, self.master.settings.max_body_bytes)
            call = decode(body, "MasterCall")
            _check(call)
            check_accept(headers)
            if call["type"] == "SUBSCRIBE":
                await send_stream(self._subscribe(), receive, send, {})
                return
            answer = self._answer(call)
        except CallError as error:
            await respond_text(send, error.status, str(error))
            return
        self.master.cluster.registry.flush()
        if answer is None:
            await respond_text(send, 200, "")
        else:
            await json_response(Request(scope), answer)(scope, receive, send)

    def _answer(self, call: Json) -> Json | None:
        """The content of a read; None for an action that was carried out. Raises CallError."""
        kind = call["type"]
        if kind in self._reads:
            return {"type": kind, kind.lower(): self._reads[kind]()}
        content, master = call[kind.lower()], self.master
        match kind:
            case "TEARDOWN":
                framework_id = content["framework_id"]["value"]
                if framework_id not in master.cluster.frameworks:
                    raise CallError("No framework found with specified ID")
                master.frameworks.remove(master.cluster.frameworks[framework_id])
            case "MARK_AGENT_GONE":
                master.agents.mark_gone(content["agent_id"]["value"])
            case "DRAIN_AGENT":
                period = content.get("max_grace_period")
                master.agents.drain(content["agent_id"]["value"], period, content["mark_gone"])
            case "DEACTIVATE_AGENT":
                master.agents.deactivate(content["agent_id"]["value"])
            case "REACTIVATE_AGENT":
                master.agents.reactivate(content["agent_id"]["value"])
            case "UPDATE_MAINTENANCE_SCHEDULE":
                master.maintenance.update_schedule(content["schedule"])
            case "START_MAINTENANCE":
                master.maintenance.machines_down(content.get("machines", []))
            case "STOP_MAINTENANCE":
                master.maintenance.machines_up(content.get("machines", []))
            case "SET_LOGGING_LEVEL":
                logging.getLogger().setLevel(logging.DEBUG if content["level"] else logging.INFO)
            case _:
                raise CallError(f"{kind} is not supported", 501)
        return None

    def _subscribe(self) -> Stream:
        cluster, settings = self.master.cluster, self.master.settings
        stream = Stream(max_bytes=settings.stream_buffer_bytes, heartbeat=settings.heartbeat_interval)
        subscribed = {"get_state": render.state(cluster), "heartbeat_interval_seconds": settings.heartbeat_interval}
        stream.send({"type": "SUBSCRIBED", "subscribed": subscribed})
        stream.start_heartbeats()
        cluster.operator_streams[stream.id] = stream
        while len(cluster.operator_streams) > settings.max_operator_streams:
            _, oldest = cluster.operator_streams.popitem(last=False)
            oldest.close()
        return stream

    def _master_info(self) -> Json:
        cluster = self.master.cluster
        times = {"start_time": cluster.start_time, "elected_time": cluster.start_time}
        return {"master_info": render.master_info(cluster), **times}


def _check(call: Json) -> None:
    kind = call.get("type")
    if kind is None:
        raise CallError("Failed to validate master::Call: Expecting 'type' to be present")
    if kind not in _BARE and kind.lower() not in call:
        raise CallError(f"Failed to validate master::Call: Expecting '{kind.lower()}' to be present")
