"""One Mesos agent as a source, by its own API: for a registrator on each host, which needs no master.

An agent has no event stream, so it is polled. What it answers is all there is on its host; while it has yet to find its tasks again after a
restart it answers 503, which is a source's failure, not an empty host.
"""

import asyncio
from collections.abc import Mapping

import aiohttp
import orjson

from daemonkit.lifecycle import sleep_or_stop
from registrator.errors import SourceError
from registrator.model import Look
from registrator.sources.base import Hint
from registrator.sources.mesos_state import Json, MesosState, state_of_agent


class MesosAgentSource:
    """`url` is the agent's, `http://127.0.0.1:5051`, or with its name, `http://host:5050/slave(1)`. `poll` in seconds."""

    name = "mesos"

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        poll: float,
        most_ended: int,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._poll = poll
        self._most_ended, self._max_bytes = most_ended, max_bytes
        self._headers = dict(headers or {})
        self._http: aiohttp.ClientSession | None = None

    async def look(self, *, fresh: bool) -> Look:
        return MesosState(state_of_agent(await self._state()), most_ended=self._most_ended, of_agent=True).look()

    async def watch(self, hint: Hint, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await sleep_or_stop(self._poll, stop)
            hint("poll")

    async def close(self) -> None:
        if self._http:
            await self._http.close()

    async def _state(self) -> Json:
        self._http = self._http or aiohttp.ClientSession(headers=self._headers, timeout=self._timeout, trust_env=False)
        try:
            async with self._http.get(f"{self._url}/state") as answer:
                if answer.status != 200:
                    raise SourceError(f"the Mesos agent at {self._url} answers {answer.status} {answer.reason}")
                body = bytearray()
                async for chunk in answer.content.iter_any():
                    body += chunk
                    if len(body) > self._max_bytes:
                        raise SourceError(f"the agent's answer is longer than {self._max_bytes} bytes")
            found = orjson.loads(bytes(body))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise SourceError(f"no Mesos agent answers at {self._url}: {error or repr(error)}") from None
        except orjson.JSONDecodeError as error:
            raise SourceError(f"the answer of {self._url}/state is not JSON: {error}") from None
        if not isinstance(found, dict):
            raise SourceError(f"the answer of {self._url}/state is not a JSON object")
        return found
