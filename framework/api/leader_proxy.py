"""On a node that does not lead: hands requests on to the one that does, so that a client may talk to any node.

Event streams too: they end when the leader changes, and their client comes back with `Last-Event-ID` to wherever it was. What concerns
this node alone is answered here. A request under way when the leader changes is made again at the new one, if reading is all that it does;
else its outcome is not known, and the answer says so.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable

import aiohttp
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from daemonkit.logs import get_logger
from framework.api.context import json_response
from framework.api.settings import ApiSettings
from framework.engine.view import View

log = get_logger(__name__)

FORWARDED = "X-Forwarded-For"
VIA = "X-Marathon-Via"
_LOCAL = ("/ping", "/health", "/metrics", "/logging", "/help", "/config", "/v2/openapi.json")
_READS = ("GET", "HEAD")
_TRIES, _PAUSE = 10, 0.25  # Marathon's
_LEADERS = 5  # that one request is handed on to, one after the other
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
        for _ in range(_LEADERS):
            leader = await self._consistent_leader()
            if self._view.is_leader:
                await self._app(scope, receive, send)
                return
            answer = await self._answer(leader, Request(scope, receive))
            if answer is not None:
                break
        else:
            answer = _unavailable("The leader changes too often")
        await answer(scope, receive, send)

    async def _consistent_leader(self) -> str | None:
        """Another node that leads; during an election it is waited for."""
        for _ in range(_TRIES):
            leader = self._view.leader
            if self._view.is_leader or (leader is not None and leader != self._address):
                return leader
            await asyncio.sleep(_PAUSE)
        return None

    async def _answer(self, leader: str | None, request: Request) -> Response | None:
        """None: another node leads by now, and nothing is lost by asking it."""
        if leader is None:
            return _unavailable("Could not determine the current leader")
        vias = [via.strip() for via in request.headers.get(VIA, "").split(",") if via.strip()]
        if self._address in vias:
            return json_response({"message": "Detected proxying loop."}, 502)
        query = f"?{request.url.query}" if request.url.query else ""
        scheme = "https" if self._settings.tls_certificate else "http"
        url = f"{scheme}://{leader}{request.scope.get('raw_path', b'').decode('ascii', 'replace') or request.url.path}{query}"
        asking = asyncio.create_task(self._forwarded(leader, url, request, [*vias, self._address]))
        try:
            while not asking.done() and self._view.leader == leader:
                await asyncio.wait({asking}, timeout=_PAUSE)
            if not asking.done():
                if request.method in _READS:
                    return None
                return json_response(
                    {"message": f"The leader {leader} is none any more; the outcome is not known"}, 502
                )
            return await asking
        except TimeoutError:
            return json_response({"message": f"The leader {leader} did not answer in time"}, 504)
        except aiohttp.ClientConnectorError:
            return _unavailable(f"Could not connect to the leader {leader}")
        except (aiohttp.ClientError, OSError) as error:
            log.warning("the leader cannot be reached", leader=leader, error=str(error))
            return json_response(
                {"message": f"The leader {leader} ended the connection; the outcome is not known"}, 502
            )
        except ClientDisconnect:
            return json_response({"message": "The client went away"}, 400)
        finally:
            if not asking.done():
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)

    async def _forwarded(self, leader: str, url: str, request: Request, vias: list[str]) -> Response:
        own = {VIA.lower(), FORWARDED.lower()}
        headers = [(k, v) for k, v in request.headers.items() if k.lower() not in {*_HOP_BY_HOP, *own}]
        origin = [request.headers.get(FORWARDED, ""), request.client.host if request.client else ""]
        has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
        session = self._session()
        try:
            response = await session.request(
                request.method,
                url,
                headers=[*headers, (VIA, ", ".join(vias)), (FORWARDED, ", ".join(filter(None, origin)))],
                data=request.stream() if has_body else None,
                allow_redirects=False,
            )
        except BaseException:
            await session.close()
            raise
        passed = {k: v for k, v in response.headers.items() if k.lower() not in _HOP_BY_HOP}
        handed_on = _HandedOn(response, session, lambda: self._view.leader == leader)
        handed_on.raw_headers = Headers({**passed, VIA: self._address}).raw
        return handed_on

    def _session(self) -> aiohttp.ClientSession:
        """One for each request: a standby is asked seldom, and nothing is left open when it stops."""
        settings = self._settings
        context = ssl.create_default_context(cafile=settings.leader_proxy_ca) if settings.leader_proxy_ca else True
        return aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(
                sock_connect=settings.leader_proxy_connection_timeout, sock_read=settings.leader_proxy_read_timeout
            ),
            connector=aiohttp.TCPConnector(ssl=context),
            auto_decompress=False,
        )


def _is_local(path: str) -> bool:
    return path.startswith(("/ui/", "/metrics/")) or path in ("/", "/ui", *_LOCAL)


def _unavailable(message: str) -> Response:
    return json_response({"message": message}, 503, {"Retry-After": "1"})


class _HandedOn(StreamingResponse):
    """The leader's answer, which is let go of however this ends: the client may have left before the first piece."""

    def __init__(
        self, answer: aiohttp.ClientResponse, session: aiohttp.ClientSession, still_leads: Callable[[], bool]
    ) -> None:
        super().__init__(_body(answer, still_leads), answer.status)
        self._answer, self._session = answer, session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._answer.release()
            await self._session.close()


async def _body(answer: aiohttp.ClientResponse, still_leads: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Ends early where the other node leads no more: it may be paused, or cut off, and never say another word."""
    pieces = answer.content.iter_any()
    upcoming: asyncio.Task[bytes] | None = None
    try:
        while True:
            upcoming = upcoming or asyncio.ensure_future(anext(pieces, b""))
            done, _ = await asyncio.wait({upcoming}, timeout=_PAUSE * 4)
            if done:
                piece, upcoming = upcoming.result(), None
                if not piece:
                    return
                yield piece
            elif not still_leads():
                return
    finally:
        if upcoming is not None:
            upcoming.cancel()
            await asyncio.gather(upcoming, return_exceptions=True)
