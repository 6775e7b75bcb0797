"""A request and an answer, as the endpoints see them."""

import asyncio
import contextlib
import json
import re
import urllib.parse
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.types import Message, Receive, Scope, Send

from embedded.consul.errors import BadRequestError, TooLargeError
from embedded.consul.golang import parse_bool

JSON = (b"Content-Type", b"application/json")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
TEXT = (b"Content-Type", b"text/plain; charset=utf-8")


class DisconnectedError(Exception):
    """The client has gone; nobody is there to answer."""


class _Spelled(bytes):
    """The name of a header, which the HTTP server is not to put into lower case."""

    def lower(self) -> bytes:
        return self


class Request:
    """One request. `rest` is what follows the endpoint's own path."""

    def __init__(self, scope: Scope, receive: Receive, *, most_bytes: int) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.raw_query: str = scope["query_string"].decode("latin-1")
        self.query: dict[str, list[str]] = urllib.parse.parse_qs(self.raw_query, keep_blank_values=True)
        self.rest = ""
        self.client: tuple[str, int] | None = scope.get("client")
        self._headers = scope["headers"]
        self._receive = receive
        self._most_bytes = most_bytes
        self._body_read = False

    def header(self, name: bytes) -> str | None:
        for each, value in self._headers:
            if each == name:
                return str(value.decode("latin-1"))
        return None

    def has(self, name: str) -> bool:
        return name in self.query

    def get(self, name: str) -> str:
        """The first value of a query parameter; empty if there is none."""
        values = self.query.get(name)
        return values[0] if values else ""

    def flag(self, name: str) -> bool:
        """`?name` and `?name=` are true, else what the value says. Raises BadRequestError."""
        if not self.has(name) or not self.get(name):
            return self.has(name)
        try:
            return parse_bool(self.get(name))
        except ValueError:
            raise BadRequestError(f"Invalid value for ?{name}") from None

    @property
    def token(self) -> str:
        """The secret that the request bears: in X-Consul-Token, as bearer, or as `?token=`."""
        if self.get("token"):
            return self.get("token")
        if header := self.header(b"x-consul-token"):
            return header
        scheme, _, value = (self.header(b"authorization") or "").partition(" ")
        return value.strip() if scheme.lower() == "bearer" else ""

    async def body(self, *, most: int | None = None, setting: str = "") -> bytes:
        """The whole body. Raises TooLargeError, which names the `setting` that sets the limit."""
        limit = self._most_bytes if most is None else most
        declared = self.header(b"content-length")
        if declared and declared.isdigit() and int(declared) > limit:
            raise _too_large(int(declared), limit, setting)
        parts, size = [], 0
        while not self._body_read:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise DisconnectedError
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise _too_large(size, limit, setting)
            parts.append(part)
            self._body_read = not message.get("more_body", False)
        return b"".join(parts)

    @contextlib.asynccontextmanager
    async def presence(self) -> AsyncIterator[asyncio.Task[None]]:
        """A task that is done when the client has gone."""
        task = asyncio.create_task(self._gone())
        try:
            yield task
        finally:
            task.cancel()

    async def _gone(self) -> None:
        message: Message = {"type": ""}
        while message["type"] != "http.disconnect":
            message = await self._receive()


@dataclass(slots=True)
class Answer:
    """`headers` are sent in the spelling of the real one: scripts look for them with grep."""

    status: int = 200
    body: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)

    async def send(self, send: Send) -> None:
        spelled = [*self.headers, (b"Vary", b"Accept-Encoding")]
        length = (b"content-length", str(len(self.body)).encode())
        headers: list[tuple[bytes, bytes]] = [length, *((_Spelled(name), value) for name, value in spelled)]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def json_answer(value: Any, request: Request, *, status: int = 200) -> Answer:
    if request.has("pretty"):
        return Answer(status, json.dumps(_plain(value), indent=4, ensure_ascii=False).encode() + b"\n", [JSON])
    return Answer(status, orjson.dumps(value), [JSON])


def text_answer(text: str, *, status: int = 200) -> Answer:
    return Answer(status, text.encode(), [TEXT])


def header(name: str, value: str | int) -> tuple[bytes, bytes]:
    """Line ends in a value cannot make a header of their own."""
    return name.encode(), _CONTROL.sub(" ", str(value)).encode("utf-8", "replace")


def _plain(value: Any) -> Any:
    return orjson.loads(orjson.dumps(value))


def _too_large(size: int, limit: int, setting: str) -> TooLargeError:
    more = f" See https://www.consul.io/docs/agent/options.html#{setting}." if setting else ""
    return TooLargeError(f"Request body({size} bytes) too large, max size: {limit} bytes.{more}")
