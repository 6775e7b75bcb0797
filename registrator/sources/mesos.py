"""A Mesos master as a source: a copy of its state that its operator stream keeps current, or polling where there is no stream."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

import aiohttp
import orjson

from daemonkit.backoff import Backoff
from daemonkit.lifecycle import sleep_or_stop
from daemonkit.logs import get_logger
from registrator.errors import SourceError
from registrator.model import Look
from registrator.sources.base import Hint
from registrator.sources.mesos_masters import Masters
from registrator.sources.mesos_state import Json, MesosState, state_of_v0

log = get_logger(__name__)

_NO_SUCH_CALL = (400, 404, 405, 501)
_HEARTBEATS_MISSED = 3


class MesosSource:
    """`masters` are base URLs, tried in turn, or `zk://…/path`; a redirect to the leading master is followed.

    `resubscribe` (seconds) is how often the copy is made anew from a full state, `poll` how often a master without an operator
    stream is asked. `max_bytes` bounds one answer or record.
    """

    name = "mesos"

    def __init__(
        self,
        masters: Sequence[str],
        *,
        timeout: float,
        resubscribe: float,
        poll: float,
        most_ended: int,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._masters = Masters(masters, timeout=timeout)
        self._timeout = timeout
        self._resubscribe = resubscribe
        self._poll = poll
        self._most_ended = most_ended
        self._max_bytes = max_bytes
        self._headers = dict(headers or {})
        self._http: aiohttp.ClientSession | None = None
        self._copy: MesosState | None = None  # None while no stream keeps it current
        self._operator_api = True

    async def look(self, *, fresh: bool) -> Look:
        if self._copy and not fresh:
            return self._copy.look()
        state = MesosState(await self._state(), most_ended=self._most_ended)
        look = state.look()
        if not self._copy:
            return look
        # The stream is ahead of the answer, where it says that a task has ended.
        ended = look.ended | self._copy.look().ended
        running = {key: instance for key, instance in look.instances.items() if key not in ended}
        return replace(look, instances=running, ended=ended)

    async def watch(self, hint: Hint, stop: asyncio.Event) -> None:
        waits = Backoff(first=0.2, most=10.0)
        while not stop.is_set():
            try:
                followed = await self._follow(hint, waits)
            except (SourceError, aiohttp.ClientError, OSError, TimeoutError) as error:
                log.info("the master's event stream ended", error=str(error) or repr(error))
                followed = True
            finally:
                self._copy = None
            hint("the master's stream ended" if followed else "poll")
            await sleep_or_stop(waits.next() if followed else self._poll, stop)

    async def close(self) -> None:
        if self._http:
            await self._http.close()

    async def _follow(self, hint: Hint, waits: Backoff) -> bool:
        """Follows the stream until it ends or is to be made anew; False if this master has none."""
        async with contextlib.AsyncExitStack() as stack:
            answer = await self._call({"type": "SUBSCRIBE"}, stack, timeout=None)
            if answer.status in _NO_SUCH_CALL:
                return False
            _raise_for(answer)
            deadline = asyncio.get_running_loop().time() + self._resubscribe
            async for event in self._records(answer):
                if event.get("type") == "SUBSCRIBED":
                    subscribed = event.get("subscribed", {})
                    self._copy = MesosState(subscribed.get("get_state", {}), most_ended=self._most_ended)
                    waits.reset()
                    hint("subscribed to the master")
                elif self._copy and self._copy.apply(event):
                    hint(f"mesos {event['type']}")
                if asyncio.get_running_loop().time() > deadline:
                    break
            return True

    async def _records(self, answer: aiohttp.ClientResponse) -> AsyncIterator[Json]:
        """RecordIO: the length in decimal, a newline, as many bytes. Heartbeats must come, or the stream counts as dead."""
        silence = self._timeout
        while True:
            try:
                async with asyncio.timeout(silence):
                    length = (await answer.content.readuntil(b"\n")).strip()
                    if not length.isdigit() or int(length) > self._max_bytes:
                        raise SourceError(f"the stream is not RecordIO, or a record is too long: {length[:40]!r}")
                    record = _json(await answer.content.readexactly(int(length)))
            except TimeoutError:
                raise SourceError(f"the master has said nothing for {silence:g} s") from None
            except (EOFError, ValueError) as error:
                raise SourceError(f"the master closed the stream: {error!r}") from None
            if record.get("type") == "SUBSCRIBED":
                heartbeat = record.get("subscribed", {}).get("heartbeat_interval_seconds", 15.0)
                silence = _HEARTBEATS_MISSED * float(heartbeat)
            yield record

    async def _state(self) -> Json:
        """The body of GET_STATE."""
        async with contextlib.AsyncExitStack() as stack:
            try:
                if self._operator_api:
                    answer = await self._call({"type": "GET_STATE"}, stack, timeout=self._timeout)
                    if answer.status not in _NO_SUCH_CALL:
                        _raise_for(answer)
                        found = await self._body(answer)
                        if not isinstance(found.get("get_state"), dict):
                            raise SourceError("the master's answer to GET_STATE has no get_state")
                        return dict(found["get_state"])
                    self._operator_api = False
                answer = await self._call(None, stack, timeout=self._timeout)
                _raise_for(answer)
                return state_of_v0(await self._body(answer))
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                self._operator_api = True
                raise SourceError(f"no Mesos master answers: {error or repr(error)}") from None

    async def _body(self, answer: aiohttp.ClientResponse) -> Json:
        body = bytearray()
        async for chunk in answer.content.iter_any():
            body += chunk
            if len(body) > self._max_bytes:
                raise SourceError(f"the master's answer is longer than {self._max_bytes} bytes")
        return _json(bytes(body))

    async def _call(
        self, call: Json | None, stack: contextlib.AsyncExitStack, *, timeout: float | None
    ) -> aiohttp.ClientResponse:
        """One call of the operator API at the leading master, or GET /state for None. Raises what the last master gave."""
        self._http = self._http or aiohttp.ClientSession(headers=self._headers, trust_env=False)
        limits = aiohttp.ClientTimeout(total=timeout, sock_connect=self._timeout, sock_read=timeout)
        last: Exception = SourceError("no master is configured")
        for master in await self._masters.urls():
            base = master
            try:
                for _redirect in range(3):
                    request = (
                        self._http.get(f"{base}/state", timeout=limits, allow_redirects=False)
                        if call is None
                        else self._http.post(
                            f"{base}/api/v1", json=call, headers=_JSON, timeout=limits, allow_redirects=False
                        )
                    )
                    answer = await stack.enter_async_context(request)
                    if answer.status >= 500 and answer.status not in _NO_SUCH_CALL:
                        last = SourceError(f"the master at {base} answers {answer.status} {answer.reason}")
                        break
                    if answer.status != 307:
                        self._masters.prefer(master)
                        return answer
                    base = _leader(base, answer.headers.get("Location", ""))
                else:
                    last = SourceError(f"{master}: redirected in a circle")
            except (aiohttp.ClientError, OSError, TimeoutError, SourceError) as error:
                last = error
        self._masters.forget()
        raise last


_JSON = {"Accept": "application/json"}


def _leader(base: str, location: str) -> str:
    """`//host:port/…` (Mesos gives no scheme) or a whole URL -> the base URL of the leading master."""
    found = urlsplit(location, scheme=urlsplit(base).scheme)
    if not found.netloc:
        raise SourceError(f"{base} redirects to {location!r}")
    return f"{found.scheme}://{found.netloc}"


def _raise_for(answer: aiohttp.ClientResponse) -> None:
    if answer.status != 200:
        raise SourceError(f"the master at {answer.url.origin()} answers {answer.status} {answer.reason}")


def _json(body: bytes) -> Json:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise SourceError(f"the master's answer is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise SourceError("the master's answer is not a JSON object")
    return found
