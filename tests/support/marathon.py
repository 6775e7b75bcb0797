"""A Marathon API whose apps and tasks a test sets by hand: what a registrator reads of one, on a real socket.

It stands for a foreign Marathon, which needs a JVM, and for the framework in states that would take it minutes to reach.
"""

import asyncio
import contextlib
import socket
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from daemonkit.http import serving
from tests.support.loops import running_in_a_thread

Json = dict[str, Any]
VERSION = "2024-01-01T00:00:00.000Z"


class Marathon:
    """`apps` is what GET /v2/apps gives, each app with its `tasks`; `pods` what GET /v2/pods::status gives. `status` other than
    200 is answered to every request; `shown`, if it is set, in place of the apps."""

    def __init__(self, framework_id: str = "") -> None:
        self.framework_id = framework_id or f"{uuid.uuid4()}-0000"
        self.apps: dict[str, Json] = {}
        self.pods: list[Json] = []
        self.versions: dict[tuple[str, str], Json] = {}
        self.status = 200
        self.shown: dict[str, Json] | None = None
        self.asked: list[str] = []
        self.url = ""
        self._streams: set[asyncio.Queue[bytes]] = set()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()

    def put_app(self, id: str, **fields: Any) -> Json:
        """Creates or replaces an app that keeps its tasks."""
        tasks = self.apps.get(id, {}).get("tasks", [])
        self.apps[id] = {
            "id": id,
            "version": VERSION,
            "versionInfo": {"lastConfigChangeAt": VERSION, "lastScalingAt": VERSION},
            "networks": [{"mode": "host"}],
            "portDefinitions": [{"name": "http", "protocol": "tcp"}],
            "labels": {},
            "env": {},
            "healthChecks": [],
            "tasks": tasks,
            **fields,
        }
        return self.apps[id]

    def put_task(self, app_id: str, task_id: str = "", **fields: Any) -> str:
        """Adds or changes a task; its id."""
        task_id = task_id or f"{app_id.strip('/').replace('/', '_')}.instance-{uuid.uuid1()}._app.1"
        tasks = self.apps[app_id]["tasks"]
        before = next((task for task in tasks if task["id"] == task_id), None)
        new = {
            "id": task_id,
            "appId": app_id,
            "host": "127.0.0.1",
            "ports": [],
            "state": "TASK_RUNNING",
            "startedAt": VERSION,
            "version": VERSION,
            "ipAddresses": [{"ipAddress": "127.0.0.1", "protocol": "IPv4"}],
            **(before or {}),
            **fields,
        }
        # A new list: the server's thread may be reading the old one.
        self.apps[app_id]["tasks"] = [*(task for task in tasks if task is not before), new]
        return task_id

    def drop_task(self, app_id: str, task_id: str) -> None:
        self.apps[app_id]["tasks"] = [task for task in self.apps[app_id]["tasks"] if task["id"] != task_id]

    def announce(self, type: str, **fields: Any) -> None:
        """Sends an event to all who listen."""
        data = orjson.dumps({"eventType": type, "timestamp": VERSION, **fields})
        message = b"event: " + type.encode() + b"\ndata: " + data + b"\n\n"
        self._loop.call_soon_threadsafe(lambda: [stream.put_nowait(message) for stream in self._streams])

    @property
    def listeners(self) -> int:
        return len(self._streams)

    @contextlib.contextmanager
    def serving(self) -> Iterator["Marathon"]:
        with running_in_a_thread(self._loop, self._serve(), self._stop, "marathon"):
            self._ready.wait()
            yield self

    async def _serve(self) -> None:
        sock = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        routes = [
            Route("/v2/apps", self._apps),
            Route("/v2/apps/{id:path}/versions/{version}", self._version),
            Route("/v2/pods::status", self._pods),
            Route("/v2/info", self._info),
            Route("/v2/events", self._events),
        ]
        async with serving(Starlette(routes=routes), sock, grace=0.1):
            self._ready.set()
            await self._stop.wait()
            for stream in self._streams:
                stream.put_nowait(b"")

    async def _apps(self, request: Request) -> Response:
        shown = self.apps if self.shown is None else self.shown
        return self._answer(request, {"apps": list(shown.values())})

    async def _pods(self, request: Request) -> Response:
        return self._answer(request, self.pods)

    async def _version(self, request: Request) -> Response:
        found = self.versions.get(("/" + request.path_params["id"], request.path_params["version"]))
        return self._answer(request, found) if found else Response(status_code=404)

    async def _info(self, request: Request) -> Response:
        return self._answer(request, {"name": "marathon", "frameworkId": self.framework_id})

    async def _events(self, request: Request) -> Response:
        async def stream() -> Any:
            queue: asyncio.Queue[bytes] = asyncio.Queue()
            self._streams.add(queue)
            try:
                yield b"\n"
                while message := await queue.get():
                    yield message
            finally:
                self._streams.discard(queue)

        if self.status != 200:
            return Response(status_code=self.status)
        return StreamingResponse(stream(), media_type="text/event-stream")

    def _answer(self, request: Request, content: object) -> Response:
        self.asked.append(request.url.path)
        if self.status != 200:
            return Response(b"{}", status_code=self.status)
        return Response(orjson.dumps(content), media_type="application/json")
