"""One run of a check over the network: what was found, as a status and the output that the real one would show."""

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import aiohttp

from embedded.consul.agent.definition import CheckDefinition
from embedded.consul.agent.grpc import grpc_health
from embedded.consul.model import CRITICAL, PASSING, WARNING

_HEADERS = {"User-Agent": "Consul Health Check", "Accept": "text/plain, text/*, */*"}
_TOO_MANY = 429
_MOST_READ = 1024 * 1024


class Finding(NamedTuple):
    status: str
    output: str


async def probe(definition: CheckDefinition, session: aiohttp.ClientSession, output_size: int) -> Finding:
    """Never raises: what goes wrong is the finding."""
    if definition.http:
        return await _http(definition, session, output_size)
    if definition.tcp:
        return await _in_time(definition, _tcp(definition))
    return await _in_time(
        definition, grpc_health(definition.grpc, tls=definition.grpc_use_tls, verify=not definition.tls_skip_verify)
    )


async def _http(definition: CheckDefinition, session: aiohttp.ClientSession, output_size: int) -> Finding:
    method = definition.method or "GET"
    headers = [(name, value) for name, values in definition.header.items() for value in values]
    given = {name.lower() for name, _ in headers}
    headers += [(name, value) for name, value in _HEADERS.items() if name.lower() not in given]
    try:
        async with session.request(
            method,
            definition.http,
            data=definition.body.encode() or None,
            headers=headers,
            ssl=not definition.tls_skip_verify,
            timeout=aiohttp.ClientTimeout(total=definition.patience),
        ) as answer:
            body = (await answer.content.read(min(output_size, _MOST_READ))).decode(errors="replace")
            output = f"HTTP {method} {definition.http}: {answer.status} {answer.reason} Output: {body}"
            if 200 <= answer.status < 300:
                return Finding(PASSING, output)
            return Finding(WARNING if answer.status == _TOO_MANY else CRITICAL, output)
    except Exception as error:
        return Finding(CRITICAL, f'{method.capitalize()} "{definition.http}": {explain(error, _place(error))}')


async def _tcp(definition: CheckDefinition) -> Finding:
    host, _, port = definition.tcp.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except (OSError, ValueError, OverflowError) as error:
        return Finding(CRITICAL, explain(error, definition.tcp))
    writer.close()
    return Finding(PASSING, f"TCP connect {definition.tcp}: Success")


async def _in_time(definition: CheckDefinition, run: Awaitable[Finding | tuple[str, str]]) -> Finding:
    try:
        # wait_for would lose a cancellation that comes with the connection.
        async with asyncio.timeout(definition.patience):
            return Finding(*await run)
    except TimeoutError:
        return Finding(CRITICAL, f"dial tcp {definition.tcp or definition.grpc}: i/o timeout")
    except Exception as error:
        return Finding(CRITICAL, explain(error, definition.tcp or definition.grpc))


def explain(error: BaseException, place: str) -> str:
    """A failed connection in Go's words."""
    reasons: dict[type[BaseException], Callable[[], str]] = {
        socket.gaierror: lambda: f"dial tcp: lookup {place.rpartition(':')[0]}: no such host",
        aiohttp.ClientConnectorDNSError: lambda: f"dial tcp: lookup {place.rpartition(':')[0]}: no such host",
        TimeoutError: lambda: "context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
        ssl.SSLError: lambda: f"tls: {error}",
        aiohttp.InvalidURL: lambda: "unsupported protocol scheme",
        aiohttp.ServerDisconnectedError: lambda: "EOF",
    }
    for kind, text in reasons.items():
        if isinstance(error, kind):
            return text()
    if isinstance(error, OSError) and error.errno:
        name = "connection refused" if error.errno == errno.ECONNREFUSED else os.strerror(error.errno).lower()
        return f"dial tcp {place}: connect: {name}"
    return str(error) or type(error).__name__


def _place(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"{error.host}:{error.port}"
    return ""
