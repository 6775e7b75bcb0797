"""The other daemons, asked on behalf of the UI: a browser in a closed network reaches one origin, this API.

Addresses come from settings and from the Mesos master alone, never from a request.
"""

from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
from starlette.requests import Request

from daemonkit.logs import get_logger
from framework.api.context import api_of
from framework.api.errors import NotFoundError, UnavailableError
from framework.api.settings import ApiSettings

log = get_logger(__name__)

Json = dict[str, Any]


class Refused(Exception):  # noqa: N818
    """A neighbour answered, and said no. `status` is HTTP's."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Neighbours:
    """`name` in messages is what the operator calls the neighbour. Raises UnavailableError where one does not answer, or nonsense."""

    def __init__(self, settings: ApiSettings, master: str | None) -> None:
        self._settings, self._master = settings, master

    @property
    def master(self) -> str:
        """The URL of the Mesos master that leads."""
        if self._master is None:
            raise UnavailableError("There is no connection to a Mesos master", headers={"Retry-After": "1"})
        return self._master if "//" in self._master else f"http://{self._master}"

    def known(self, name: str) -> str:
        """The URL of a neighbour by the name of its setting. Raises NotFoundError where the operator gave none."""
        url: str | None = getattr(self._settings, name)
        if not url:
            flag = "--" + name.replace("_", "-")
            raise NotFoundError(f"The framework is not told where that is; start it with {flag} http://HOST:PORT")
        return url.rstrip("/")

    async def json(self, name: str, url: str, **params: object) -> Any:
        body = await self.read(name, url, **params)
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            raise UnavailableError(f"{name} answered something that is not JSON") from None

    async def read(self, name: str, url: str, **params: object) -> bytes:
        """The body of a GET. Raises Refused with what the neighbour said, where it said no."""
        query = {key: str(value) for key, value in params.items() if value is not None}
        return await self._call(name, "GET", url, params=query)

    async def post(self, name: str, url: str, body: Json) -> bytes:
        return await self._call(name, "POST", url, json=body)

    async def _call(self, name: str, method: str, url: str, **options: Any) -> bytes:
        settings = self._settings
        timeout = aiohttp.ClientTimeout(total=settings.neighbour_timeout)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.request(method, url, allow_redirects=False, **options) as response,
            ):
                body = await _bounded(response, settings.max_neighbour_bytes)
        except TimeoutError:
            raise UnavailableError(f"{name} did not answer within {settings.neighbour_timeout:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            log.info("a neighbour cannot be asked", neighbour=name, error=str(error))
            raise UnavailableError(f"{name} does not answer") from None
        if response.status >= 300:
            raise Refused(response.status, body.decode(errors="replace").strip()[:2000])
        return body


async def _bounded(response: aiohttp.ClientResponse, most: int) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > most:
            raise ValueError(f"more than {most} bytes")
    return bytes(body)


def neighbours_of(request: Request) -> Neighbours:
    api = api_of(request)
    return Neighbours(api.settings, api.view.framework.master)


def agent_address(pid: str) -> tuple[str, str]:
    """(origin, URL of the agent's own endpoints) of a libprocess address: `slave(1)@10.0.0.1:5051`."""
    name, _, where = pid.partition("@")
    return f"http://{where}", f"http://{where}/{quote(name, safe='()')}"
