"""HTTP as libprocess answers it: plain text errors, JSON compressed on request, RecordIO streams."""

import asyncio
import gzip
import zlib
from collections.abc import Mapping

import orjson
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from embedded.mesos.errors import CallError
from embedded.mesos.stream import Stream

GZIP_FROM_BYTES = 1024
TEXT = b"text/plain; charset=utf-8"


async def read_body(scope: Scope, receive: Receive, headers: Headers, max_bytes: int) -> bytes:
    """The JSON body of a v1 call. Raises CallError for another method, type or size."""
    if scope["method"] != "POST":
        raise CallError(
            f"405 Method Not Allowed. Expecting one of {{ 'POST' }}, but received '{scope['method']}'.", 405
        )
    if headers.get("content-type") != "application/json":
        raise CallError("Expecting 'Content-Type' of application/json or application/x-protobuf", 415)
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CallError("The connection was closed before the body was complete")
        body += message.get("body", b"")
        if len(body) > max_bytes:
            raise CallError(f"The body is larger than {max_bytes} bytes", 413)
        if not message.get("more_body"):
            break
    if headers.get("content-encoding") == "gzip":
        body = _unzipped(body, max_bytes)
    return body


def check_accept(headers: Headers) -> None:
    """Raises CallError unless the client takes JSON."""
    accepted = headers.get("accept", "*/*")
    if not any(kind in accepted for kind in ("*/*", "application/*", "application/json")):
        raise CallError("Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'", 406)


def _unzipped(body: bytes, max_bytes: int) -> bytes:
    try:
        unzip = zlib.decompressobj(16 + zlib.MAX_WBITS)
        plain = unzip.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise CallError(f"Failed to decompress the body: {error}") from None
    if len(plain) > max_bytes:
        raise CallError(f"The body is larger than {max_bytes} bytes", 413)
    return plain


async def respond_text(send: Send, status: int, text: str) -> None:
    body = text.encode()
    headers = [(b"content-length", str(len(body)).encode())]
    if body:
        headers.append((b"content-type", TEXT))
    if status == 405:
        headers.append((b"allow", b"POST"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def json_response(request: Request, content: object) -> Response:
    """JSON, gzipped where the client takes it and it is worth it."""
    body = orjson.dumps(content)
    headers = {"Vary": "Accept-Encoding"}
    if len(body) >= GZIP_FROM_BYTES and "gzip" in request.headers.get("accept-encoding", ""):
        body = gzip.compress(body, compresslevel=1)
        headers["Content-Encoding"] = "gzip"
    return Response(body, media_type="application/json", headers=headers)


async def send_stream(stream: Stream, receive: Receive, send: Send, headers: Mapping[str, str]) -> None:
    """Sends what comes out of the stream until it is closed or the client is gone."""
    sent = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    sent.append((b"content-type", b"application/json"))
    watcher = asyncio.create_task(_close_with_client(stream, receive))
    try:
        await send({"type": "http.response.start", "status": 200, "headers": sent})
        async for chunk in stream.chunks():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        stream.close()
        watcher.cancel()


async def _close_with_client(stream: Stream, receive: Receive) -> None:
    message: Message = {"type": ""}
    while message["type"] != "http.disconnect":
        message = await receive()
    stream.close()
