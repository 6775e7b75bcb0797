"""`/v2/events`: the event stream, with filters, replay by `Last-Event-ID`, and an end for listeners that do not keep up."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from daemonkit.logs import get_logger
from framework.api.context import Api, api_of, listed, require
from framework.api.errors import UnavailableError
from framework.engine.bus import Announcement, Subscription, TooSlow
from framework.model import path_id

log = get_logger(__name__)


async def stream_events(request: Request) -> Response:
    """`event_type` (repeatable) filters; `plan-format=light` leaves the groups out of plans."""
    api = api_of(request)
    require(request, "view", path_id.ROOT)  # events tell of everything
    if api.bus.listeners >= api.settings.max_event_streams:
        raise UnavailableError("Too many event streams are open", headers={"Retry-After": "10"})
    last = request.headers.get("last-event-id", "")
    subscription = api.bus.subscribe(
        frozenset(listed(request, "event_type")), after=int(last) if last.isascii() and last.isdigit() else None
    )
    light = request.query_params.get("plan-format") == "light"
    client = request.client.host if request.client else ""
    return EventStream(api, subscription, light=light, client=client)


class EventStream(Response):
    """Sends what is announced until the client goes, lags too far behind, or takes nothing for too long."""

    def __init__(self, api: Api, subscription: Subscription, *, light: bool, client: str) -> None:
        super().__init__(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        # A stream has no length.
        self.raw_headers = [header for header in self.raw_headers if header[0] != b"content-length"]
        self._api, self._subscription, self._light, self._client = api, subscription, light, client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with self._subscription:
            self._announce("event_stream_attached")
            sending = asyncio.create_task(self._send_all(send))
            leaving = asyncio.create_task(_until_gone(receive))
            try:
                await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if sending.done():
                    await sending
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
            except (TooSlow, TimeoutError):
                # Returning without the end of the body closes the connection.
                log.warning("an event listener does not keep up; it is disconnected", client=self._client)
            finally:
                for task in (sending, leaving):
                    task.cancel()
                await asyncio.gather(sending, leaving, return_exceptions=True)
                self._announce("event_stream_detached")

    async def _send_all(self, send: Send) -> None:
        settings = self._api.settings
        events = aiter(self._subscription)
        upcoming: asyncio.Task[bytes] | None = None
        await send({"type": "http.response.body", "body": b":\n\n", "more_body": True})
        try:
            while True:
                upcoming = upcoming or asyncio.create_task(self._next(events))
                done, _ = await asyncio.wait({upcoming}, timeout=settings.event_heartbeat)
                piece = b":\n\n"
                if done:
                    try:
                        piece = upcoming.result()
                    except StopAsyncIteration:
                        return
                    upcoming = None
                async with asyncio.timeout(settings.event_send_timeout):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        finally:
            if upcoming is not None:
                upcoming.cancel()
                await asyncio.gather(upcoming, return_exceptions=True)  # it may be what says that this is the end

    async def _next(self, events: AsyncIterator[Announcement]) -> bytes:
        upcoming = await anext(events)
        spell = partial(self._api.events.bytes_of, light=self._light)
        return await self._api.aside(spell, upcoming, large=not self._api.events.is_quick(upcoming, light=self._light))

    def _announce(self, kind: str) -> None:
        self._api.bus.publish(kind, self._api.clock(), {"remoteAddress": self._client})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
