"""/api/v1/scheduler: a framework's calls, and the stream of events that SUBSCRIBE opens.

An ASGI application of its own rather than a route: most requests that a master gets are calls, and this is the shortest way.
"""

import base64
import binascii
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from daemonkit.logs import get_logger
from embedded.mesos import calls
from embedded.mesos.accept import DEFAULT_REFUSE_SECONDS, accept
from embedded.mesos.errors import CallError
from embedded.mesos.http import check_accept, read_body, respond_text, send_stream
from embedded.mesos.master import Master
from embedded.mesos.messages import decode
from embedded.mesos.records import Framework

Json = dict[str, Any]
log = get_logger(__name__)

# Calls that need no content of their own.
_BARE = ("TEARDOWN", "REVIVE", "SUPPRESS")
UUID_BYTES = 16


class SchedulerApi:
    def __init__(self, master: Master) -> None:
        self.master = master

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        try:
            if self.master.cluster.recovering:
                raise CallError("Master has not finished recovery", 503)
            body = await read_body(scope, receive, headers, self.master.settings.max_body_bytes)
            call = decode(body, "Call")
            _check(call)
            if call["type"] == "SUBSCRIBE":
                await self._subscribe(call, headers, receive, send)
                return
            status = self._call(call, headers)
            self.master.cluster.registry.flush()
        except CallError as error:
            await respond_text(send, error.status, str(error))
            return
        await respond_text(send, status, "")

    async def _subscribe(self, call: Json, headers: Headers, receive: Receive, send: Send) -> None:
        if "mesos-stream-id" in headers:
            raise CallError("Subscribe calls should not include the 'Mesos-Stream-Id' header")
        check_accept(headers)
        subscribe = call["subscribe"]
        framework_id, stream = self.master.frameworks.subscribe(
            subscribe["framework_info"], subscribe.get("suppressed_roles", [])
        )
        self.master.cluster.registry.flush()
        try:
            await send_stream(stream, receive, send, {"Mesos-Stream-Id": stream.id})
        finally:
            self.master.frameworks.disconnected(framework_id, stream)

    def _call(self, call: Json, headers: Headers) -> int:
        framework = self.master.frameworks.get(call["framework_id"]["value"])
        if framework.stream is None:
            raise CallError("Framework is not subscribed", 403)
        stream_id = headers.get("mesos-stream-id")
        if stream_id is None:
            raise CallError("All non-subscribe calls should include the 'Mesos-Stream-Id' header")
        if stream_id != framework.stream.id:
            raise CallError(
                f"The stream ID '{stream_id}' included in this request didn't match the stream ID currently"
                f" associated with framework ID {framework.framework_id}"
            )
        self.master.cluster.counters[f"calls/{call['type'].lower()}"] += 1
        return self._carry_out(framework, call)

    def _carry_out(self, framework: Framework, call: Json) -> int:
        cluster = self.master.cluster
        content: Json = call.get(call["type"].lower(), {})
        match call["type"]:
            case "ACCEPT":
                accept(cluster, framework, content)
            case "DECLINE":
                refuse = content.get("filters", {}).get("refuse_seconds", DEFAULT_REFUSE_SECONDS)
                calls.decline(cluster, framework, [id["value"] for id in content.get("offer_ids", [])], refuse)
            case "REVIVE":
                calls.revive(cluster, framework, _roles(content))
            case "SUPPRESS":
                calls.suppress(cluster, framework, _roles(content))
            case "KILL":
                calls.kill(cluster, framework, content)
            case "ACKNOWLEDGE":
                emptied = calls.acknowledge(cluster, framework, content)
                if emptied:
                    self.master.agents.finish_drain(emptied)
            case "RECONCILE":
                tasks = content.get("tasks", [])
                asked = [(task["task_id"]["value"], task.get("agent_id", {}).get("value")) for task in tasks]
                calls.reconcile(cluster, framework, asked)
            case "MESSAGE":
                calls.message(cluster, framework, content)
            case "SHUTDOWN":
                calls.shut_down_executor(cluster, framework, content)
            case "TEARDOWN":
                self.master.frameworks.remove(framework)
            case "RECONCILE_OPERATIONS":
                calls.reconcile_operations(framework, content)
            case "ACCEPT_INVERSE_OFFERS" | "DECLINE_INVERSE_OFFERS":
                ids = [id["value"] for id in content.get("inverse_offer_ids", [])]
                self.master.maintenance.answer(framework, ids, call["type"].partition("_")[0])
            case "UPDATE_FRAMEWORK":
                self.master.frameworks.update(framework, content["framework_info"], content.get("suppressed_roles", []))
                return 200
            case "ACKNOWLEDGE_OPERATION_STATUS":
                framework.operations.pop(content["operation_id"]["value"], None)
            case "REQUEST":
                pass  # advice that Mesos's own allocator does not take either
        return 202


def _check(call: Json) -> None:
    """What a call must hold besides what its types say."""
    kind = call.get("type")
    if kind is None:
        raise CallError("Failed to validate scheduler::Call: Expecting 'type' to be present")
    name = kind.lower()
    if kind == "SUBSCRIBE":
        if name not in call:
            raise CallError("Failed to validate scheduler::Call: Expecting 'subscribe' to be present")
        inner = call["subscribe"]["framework_info"].get("id", {}).get("value")
        if call.get("framework_id", {}).get("value") != inner:
            raise CallError(
                "Failed to validate scheduler::Call: 'framework_id' differs from 'subscribe.framework_info.id'"
            )
        return
    if "framework_id" not in call:
        raise CallError("Failed to validate scheduler::Call: Expecting 'framework_id' to be present")
    if kind not in _BARE and name not in call:
        raise CallError(f"Failed to validate scheduler::Call: Expecting '{name}' to be present")
    if kind == "UPDATE_FRAMEWORK" and call[name]["framework_info"].get("id") != call["framework_id"]:
        raise CallError(
            "Failed to validate scheduler::Call: 'framework_id' differs from 'update_framework.framework_info.id'"
        )
    if kind == "ACKNOWLEDGE" and not _is_uuid(call[name]["uuid"]):
        raise CallError("Failed to validate scheduler::Call: Not a valid UUID")


def _is_uuid(text: str) -> bool:
    try:
        return len(base64.b64decode(text)) == UUID_BYTES
    except binascii.Error:
        return False


def _roles(content: Json) -> list[str]:
    roles: list[str] = content.get("roles", [])
    return roles or ([content["role"]] if "role" in content else [])
