"""The HTTP side of a daemon: /health and /metrics, and a uvicorn server that lives inside the daemon's own event loop."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from daemonkit.errors import OperatorError
from daemonkit.health import Health


class Json(Response):
    media_type = "application/json"

    def render(self, content: object) -> bytes:
        return orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS)


def status_routes(health: Health, registry: CollectorRegistry = REGISTRY) -> list[Route]:
    """GET /health (200 or 503 with the parts) and GET /metrics (Prometheus text)."""

    async def report(_request: Request) -> Response:
        return Json(health.report(), status_code=200 if health.healthy else 503)

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [Route("/health", report), Route("/metrics", metrics)]


def status_app(health: Health, *routes: Route, registry: CollectorRegistry = REGISTRY) -> Starlette:
    return Starlette(routes=[*status_routes(health, registry), *routes])


def bind(host: str, port: int, *, what: str, mend: str) -> socket.socket:
    """A bound TCP socket; port 0 picks a free one. Raises OperatorError with what, where and `mend` if it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named TCP, or asyncio does not switch Nagle off, and every answer waits 40 ms for an acknowledgement.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise OperatorError(f"{what} cannot listen on {host}:{port}: {error.strerror}; {mend}") from None
    sock.setblocking(False)
    return sock


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp,
    sock: socket.socket,
    *,
    certificate: Path | None = None,
    key: Path | None = None,
    grace: float = 2.0,
    backlog: int = 2048,
    max_header_bytes: int = 64 * 1024,
    keep_alive: int = 5,
) -> AsyncIterator[None]:
    """Serves `app` on `sock` inside the block. On leaving, open requests get `grace` seconds to end; then the socket is closed.

    `keep_alive` is how many seconds an idle connection may stay open.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        loop="none",
        server_header=False,
        proxy_headers=False,  # who connects from this machine may not say that it is somebody else
        timeout_graceful_shutdown=max(1, round(grace)),
        backlog=backlog,
        timeout_keep_alive=keep_alive,
        h11_max_incomplete_event_size=max_header_bytes,
        ssl_certfile=str(certificate) if certificate else None,
        ssl_keyfile=str(key) if key else None,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[sock]), name="http-server")
    while not server.started and not task.done():  # noqa: ASYNC110  uvicorn offers no event to wait for
        await asyncio.sleep(0.005)
    if task.done():
        await task
    try:
        yield
    finally:
        server.should_exit = True
        await task
        sock.close()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]  # signals belong to daemonkit.lifecycle
        yield
