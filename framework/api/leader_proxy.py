"""On a node that does not lead: hands requests on to the one that does, so that a client may talk to any node.

Event streams are redirected instead, since they last. What concerns this node alone is answered here.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator

import aiohttp
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from daemonkit.logs import get_logger
from framework.api.context import json_response
from framework.api.settings import ApiSettings
from framework.engine.view import View

log = get_logger(__name__)

VIA = "X-Marathon-Via"
_LOCAL = ("/ping", "/health", "/metrics", "/logging", "/help", "/config", "/v2/openapi.json")
_EVENTS = "/v2/events"
_TRIES, _PAUSE = 10, 0.25
# Of one connection, not of the message (RFC 9110, 7.6.1); the length is the sender's to say.
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
    | {"host", "content-length"}
)


class LeaderProxy:
    """`address` is this node's own host:port, as it stands for election."""

    def __init__(self, app: ASGIApp, *, view: View, settings: ApiSettings, address: str) -> None:
        self._app, self._view, self._settings, self._address = app, view, settings, address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._view.is_leader or _is_local(scope["path"]):
            await self._app(scope, receive, send)
            return
        leader = await self._consistent_leader()
        if self._view.is_leader:
            await self._app(scope, receive, send)
            return
        answer = await self._answer(leader, Request(scope, receive))
        await answer(scope, receive, send)

    async def _consistent_leader(self) -> str | None:
        """Another node that leads; during an election it is waited for."""
        for _ in range(_TRIES):
            leader = self._view.leader
            if self._view.is_leader or (leader is not None and leader != self._address):
                return leader
            await asyncio.sleep(_PAUSE)
        return None

    async def _answer(self, leader: str | None, request: Request) -> Response:
        if leader is None:
            return json_response({"message": "Could not determine the current leader"}, 503, {"Retry-After": "1"})
        vias = [via.strip() for via in request.headers.get(VIA, "").split(",") if via.strip()]
        if self._address in vias:
            return json_response({"message": "Detected proxying loop."}, 502)
        query = f"?{request.url.query}" if request.url.query else ""
        scheme = "https" if self._settings.tls_certificate else "http"
        url = f"{scheme}://{leader}{request.scope.get('raw_path', b'').decode('ascii', 'replace') or request.url.path}{query}"
        if request.url.path == _EVENTS:
            return RedirectResponse(url, 302)
        try:
            return await self._forwarded(url, request, [*vias, self._address])
        except TimeoutError:
            return json_response({"message": f"The leader {leader} did not answer in time"}, 504)
        except (aiohttp.ClientError, OSError) as error:
            log.warning("the leader cannot be reached", leader=leader, error=str(error))
            return json_response({"message": f"Could not connect to the leader {leader}"}, 502)
        except ClientDisconnect:
            return json_response({"message": "The client went away"}, 400)

    async def _forwarded(self, url: str, request: Request, vias: list[str]) -> Response:
        headers = [(k, v) for k, v in request.headers.items() if k.lower() not in {*_HOP_BY_HOP, VIA.lower()}]
        has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
        session = self._session()
        try:
            response = await session.request(
                request.method,
                url,
                headers=[*headers, (VIA, ", ".join(vias))],
                data=request.stream() if has_body else None,
                allow_redirects=False,
            )
        except BaseException:
            await session.close()
            raise
        passed = {k: v for k, v in response.headers.items() if k.lower() not in _HOP_BY_HOP}
        streaming = StreamingResponse(_body(response, session), response.status)
        streaming.raw_headers = Headers({**passed, VIA: self._address}).raw
        return streaming

    def _session(self) -> aiohttp.ClientSession:
        """One for each request: a standby is asked seldom, and nothing is left open when it stops."""
        settings = self._settings
        context = ssl.create_default_context(cafile=settings.leader_proxy_ca) if settings.leader_proxy_ca else True
        return aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(
                connect=settings.leader_proxy_connection_timeout, sock_read=settings.leader_proxy_read_timeout
            ),
            connector=aiohttp.TCPConnector(ssl=context),
            auto_decompress=False,
        )


def _is_local(path: str) -> bool:
    return path.startswith(("/ui/", "/metrics/")) or path in ("/", "/ui", *_LOCAL)


async def _body(response: aiohttp.ClientResponse, session: aiohttp.ClientSession) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_any():
            yield chunk
    finally:
        response.release()
        await session.close()
