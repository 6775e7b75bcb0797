"""What happens to every request around its endpoint: paths as clients vary them, limits, common headers, errors, metrics."""

import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemonkit.logs import get_logger
from framework.api.context import json_response
from framework.api.errors import ApiError
from framework.api.metrics import Metrics
from framework.engine import errors as engine_errors
from framework.engine.view import View

log = get_logger(__name__)

LOCKED = (
    "App is locked by one or more deployments. Override with the option '?force=true'. "
    "View details at '/v2/deployments/<DEPLOYMENT_ID>'."
)
_STREAM = "/v2/events"


class Paths:
    """`//v2/apps//demo/` is `/v2/apps/demo`: clients join addresses and ids that begin with a slash, or end with one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = re.sub("/{2,}", "/", scope["path"])
            if len(path) > 1 and path.endswith("/") and not path.startswith("/ui/"):
                path = path[:-1]
            if path != scope["path"]:
                scope = {**scope, "path": path}
        await self._app(scope, receive, send)


class Limit:
    """Answers 503 while too many requests are being served. Event streams, which last, have a limit of their own."""

    def __init__(self, app: ASGIApp, *, most: int) -> None:
        self._app, self._most, self._now = app, most, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == _STREAM:
            await self._app(scope, receive, send)
            return
        if self._now >= self._most:
            busy = json_response({"message": "Too many concurrent requests"}, 503, {"Retry-After": "1"})
            await busy(scope, receive, send)
            return
        self._now += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._now -= 1


class Headers:
    """The leader's name and no caching on every answer, and its duration into the metrics."""

    def __init__(self, app: ASGIApp, *, view: View, metrics: Metrics) -> None:
        self._app, self._view, self._metrics = app, view, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500
        metrics, is_stream = self._metrics, scope["path"] == _STREAM

        async def receiving() -> Message:
            message = await receive()
            metrics.bytes_in += len(message.get("body", b""))
            return message

        async def sending(message: Message) -> None:
            nonlocal status
            metrics.bytes_out += len(message.get("body", b""))
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                if self._view.is_leader and self._view.leader:
                    headers.setdefault("X-Marathon-Leader", f"{scope.get('scheme', 'http')}://{self._view.leader}")
                headers.setdefault("Cache-Control", "no-cache, no-store, must-revalidate")
            await send(message)

        metrics.requests_active += not is_stream
        try:
            await self._app(scope, receiving, sending)
        finally:
            metrics.requests_active -= not is_stream
            if not is_stream:
                metrics.observe(scope["method"], status, time.perf_counter() - started)


# --- errors

Handler = Callable[[Request, Any], Awaitable[Response]]


async def _api_error(_request: Request, error: ApiError) -> Response:
    return json_response(error.body, error.status, error.headers)


async def _locked(_request: Request, error: engine_errors.Locked) -> Response:
    return json_response({"message": LOCKED, "deployments": [{"id": i} for i in error.deployment_ids]}, 409)


async def _not_found(_request: Request, error: engine_errors.NotFound) -> Response:
    return json_response({"message": str(error)}, 404)


async def _too_many(_request: Request, error: engine_errors.TooManyDeployments) -> Response:
    return json_response({"message": str(error)}, 403)


async def _unstorable(_request: Request, error: engine_errors.Unstorable) -> Response:
    return json_response({"message": str(error)}, 422)


async def _unavailable(_request: Request, error: engine_errors.Unavailable) -> Response:
    return json_response({"message": str(error)}, 503, {"Retry-After": str(error.retry_after)})


async def _http(request: Request, error: HTTPException) -> Response:
    message = f"URI not found: {request.url.path}" if error.status_code == 404 else str(error.detail)
    return json_response({"message": message}, error.status_code, dict(error.headers or {}))


async def _bug(request: Request, error: Exception) -> Response:
    log.error("a request failed", method=request.method, path=request.url.path, exc_info=error)
    return json_response({"message": "Internal server error; the log says more"}, 500)


ERROR_HANDLERS: dict[Any, Handler] = {
    ApiError: _api_error,
    engine_errors.Locked: _locked,
    engine_errors.NotFound: _not_found,
    engine_errors.TooManyDeployments: _too_many,
    engine_errors.Unstorable: _unstorable,
    engine_errors.Unavailable: _unavailable,
    HTTPException: _http,
    Exception: _bug,
}
