"""An agent's own HTTP routes, relative to its name: `/slave(1)/state`, …"""

import asyncio
import base64
import contextlib
import stat
from collections.abc import Callable
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from embedded.mesos import agent_render, render
from embedded.mesos.agent import Agent
from embedded.mesos.errors import CallError
from embedded.mesos.files import Jail, answering_errors, files_routes
from embedded.mesos.http import json_response
from embedded.mesos.messages import parse
from embedded.mesos.sessions import ATTACH, INVALID, RunningSession, Sessions

Json = dict[str, Any]

MOST_CALL_BYTES = 1024 * 1024


def agent_routes(agent: Agent) -> list[Route]:
    def reading(what: Callable[[Agent], object]) -> Callable[[Request], Any]:
        async def handle(request: Request) -> Response:
            return json_response(request, what(agent))

        return handle

    async def health(_request: Request) -> Response:
        return Response(b"")

    async def call(request: Request) -> Response:
        return await answer_call(agent, jail, sessions, request)

    jail, sessions = jail_of([agent]), Sessions(agent)
    read_only = {
        "/state": agent_render.state,
        "/state.json": agent_render.state,
        "/containers": agent_render.containers,
        "/monitor/statistics": Agent.usage,
        "/monitor/statistics.json": Agent.usage,
        "/metrics/snapshot": agent_render.metrics,
        "/flags": lambda agent: {"flags": agent_render.flags(agent)},
        "/version": lambda _: render.version(),
    }
    return [
        *(Route(path, reading(what), methods=["GET"]) for path, what in read_only.items()),
        Route("/health", health, methods=["GET"]),
        Route("/api/v1", answering_errors(call), methods=["POST"]),
        *files_routes(jail),
    ]


def jail_of(agents: list[Agent]) -> Jail:
    """The sandboxes of these agents; `files_routes` of it serves them where Mesos' clients look, at `/files/…` of the port."""
    return Jail(lambda: [agent.layout.slaves for agent in agents])


async def answer_call(agent: Agent, jail: Jail, sessions: Sessions, request: Request) -> Response:
    """POST /api/v1. Raises CallError."""
    if request.headers.get("content-type", "").partition(";")[0] == "application/recordio":
        if request.headers.get("message-content-type") != "application/json":
            raise CallError("Expecting 'Message-Content-Type' to be application/json", 415)
        with contextlib.suppress(ClientDisconnect):
            await sessions.attach_input(request.stream())
        return Response(b"")
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise CallError("Expecting 'Content-Type' of application/json or application/x-protobuf", 415)
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_CALL_BYTES:
            raise CallError(f"The body is larger than {MOST_CALL_BYTES} bytes", 413)
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise CallError(f"Failed to parse body into JSON: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("type"), str):
        raise CallError(f"{INVALID} Expecting 'type' to be present")
    kind: str = document["type"]
    if kind == "LIST_FILES":
        wanted = parse("ListFiles", document.get("list_files"))
        entries = await asyncio.to_thread(jail.browse, wanted["path"])
        return _answer(request, kind, {"file_infos": [_file_info(entry) for entry in entries]})
    if kind == "READ_FILE":
        wanted = parse("ReadFile", document.get("read_file"))
        data, size = await asyncio.to_thread(jail.read, wanted["path"], wanted["offset"], wanted.get("length"))
        return _answer(request, kind, {"size": size, "data": base64.b64encode(data).decode()})
    if kind == "LAUNCH_NESTED_CONTAINER_SESSION":
        return _SessionResponse(await sessions.launch(_content(document, kind)))
    if kind == ATTACH:
        raise CallError("Expecting 'Content-Type' of application/recordio", 415)
    if kind == "WAIT_NESTED_CONTAINER":
        return _answer(request, kind, await sessions.wait(_content(document, kind)))
    answers: dict[str, Callable[[], Json]] = {
        "GET_HEALTH": lambda: {"healthy": True},
        "GET_FLAGS": lambda: {"flags": [{"name": n, "value": v} for n, v in agent_render.flags(agent).items()]},
        "GET_VERSION": lambda: {"version_info": render.version()},
        "GET_METRICS": lambda: {"metrics": [{"name": n, "value": v} for n, v in agent_render.metrics(agent).items()]},
        "GET_LOGGING_LEVEL": lambda: {"level": 0},
        "GET_STATE": lambda: agent_render.get_state(agent),
        "GET_TASKS": lambda: agent_render.get_tasks(agent),
        "GET_EXECUTORS": lambda: agent_render.get_executors(agent),
        "GET_FRAMEWORKS": lambda: agent_render.get_frameworks(agent),
        "GET_CONTAINERS": lambda: agent_render.get_containers(agent),
        "GET_AGENT": lambda: {"agent_info": agent_render.agent_info(agent)},
        "GET_OPERATIONS": lambda: {"operations": []},
    }
    if kind not in answers:
        raise CallError(f"Received '{kind}' call, which this agent does not know", 501)
    return _answer(request, kind, answers[kind]())


class _SessionResponse(StreamingResponse):
    """Its command ends with it: when it has ended by itself, and when the client has gone."""

    def __init__(self, session: RunningSession) -> None:
        super().__init__(
            session.output(), media_type="application/recordio", headers={"Message-Content-Type": "application/json"}
        )
        self._session = session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._session.end()


def _content(document: Json, kind: str) -> Json:
    content = document.get(kind.lower())
    if not isinstance(content, dict):
        raise CallError(f"{INVALID} Expecting '{kind.lower()}' to be present")
    return content


def _answer(request: Request, kind: str, content: Json) -> Response:
    return json_response(request, {"type": kind, kind.lower(): content})


def _file_info(entry: Json) -> Json:
    """v1 FileInfo"""
    return {
        **{name: entry[name] for name in ("path", "nlink", "size", "uid", "gid")},
        "mtime": {"nanoseconds": int(entry["mtime"] * 1e9)},
        "mode": _mode_bits(entry["mode"]),
    }


def _mode_bits(text: str) -> int:
    """`-rw-r--r--` -> 0o100644"""
    kinds = {"-": stat.S_IFREG, "d": stat.S_IFDIR, "l": stat.S_IFLNK, "p": stat.S_IFIFO, "s": stat.S_IFSOCK}
    bits = kinds.get(text[0], stat.S_IFCHR)
    for position, letter in enumerate(text[1:]):
        if letter not in "-ST":
            bits |= 1 << (8 - position)
    return bits
