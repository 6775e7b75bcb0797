"""The one gRPC call that a check makes, `grpc.health.v1.Health/Check`, over as little of HTTP/2 as it needs.

A server that is well answers with a DATA frame that holds a HealthCheckResponse; all other endings are failures, and are told by
their absence. So the answer's compressed headers need not be read.
"""

import asyncio
import ssl
import struct

from embedded.consul.model import CRITICAL, PASSING

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_END_STREAM, _END_HEADERS, _ACK = 0x1, 0x4, 0x1
_LONGEST_FRAME = 64 * 1024
_SERVING = 1
_STATUS_FIELD = 0x08  # field 1, varint
_NAMES = {0: "UNKNOWN", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}


async def grpc_health(target: str, *, tls: bool, verify: bool) -> tuple[str, str]:
    """`host:port[/service]` -> status and output. Raises OSError if nobody is there."""
    address, _, service = target.partition("/")
    host, _, port = address.rpartition(":")
    try:
        reader, writer = await asyncio.open_connection(
            host.strip("[]"), int(port), ssl=_context(verify) if tls else None
        )
    except OSError as error:
        reason = "connect: connection refused" if isinstance(error, ConnectionRefusedError) else str(error)
        text = f'connection error: desc = "transport: Error while dialing dial tcp {address}: {reason}"'
        return CRITICAL, f"rpc error: code = Unavailable desc = {text}"
    try:
        writer.write(_request(address, service, "https" if tls else "http"))
        await writer.drain()
        return await _answer(reader, writer, target)
    except (asyncio.IncompleteReadError, ConnectionError):
        return CRITICAL, "rpc error: code = Unavailable desc = transport is closing"
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: str) -> tuple[str, str]:
    while True:
        kind, flags, payload = await _frame(reader)
        if kind == _SETTINGS and not flags & _ACK:
            writer.write(_framed(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            writer.write(_framed(_PING, _ACK, 0, payload))
        elif kind == _DATA and len(payload) >= 5:
            message = payload[5:]
            status = message[1] if message[:1] == bytes([_STATUS_FIELD]) and len(message) > 1 else 0
            if status == _SERVING:
                return PASSING, f"gRPC check {target}: success"
            return CRITICAL, f"gRPC {target} serving status: {_NAMES.get(status, status)}"
        elif kind in (_RESET, _GOAWAY) or (kind == _HEADERS and flags & _END_STREAM):
            return CRITICAL, f"gRPC check {target}: the server refused the health check"


async def _frame(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    head = await reader.readexactly(9)
    length = int.from_bytes(head[:3], "big")
    if length > _LONGEST_FRAME:
        raise ConnectionError("frame too long")
    return head[3], head[4], await reader.readexactly(length)


def _request(authority: str, service: str, scheme: str) -> bytes:
    headers = {
        ":method": "POST",
        ":scheme": scheme,
        ":path": "/grpc.health.v1.Health/Check",
        ":authority": authority,
        "content-type": "application/grpc",
        "te": "trailers",
    }
    block = b"".join(b"\x00" + _text(name) + _text(value) for name, value in headers.items())
    name = service.encode()[:127]
    message = b"\x0a" + bytes([len(name)]) + name if name else b""
    data = b"\x00" + struct.pack(">I", len(message)) + message
    return (
        _PREFACE
        + _framed(_SETTINGS, 0, 0, b"")
        + _framed(_HEADERS, _END_HEADERS, 1, block)
        + _framed(_DATA, _END_STREAM, 1, data)
    )


def _text(value: str) -> bytes:
    """A literal of HPACK, without Huffman coding; 7-bit length prefix with continuation."""
    raw = value.encode()[:1024]
    length = len(raw)
    if length < 127:
        return bytes([length]) + raw
    head, rest = bytearray([127]), length - 127
    while rest >= 128:
        head.append(rest % 128 + 128)
        rest //= 128
    return bytes(head) + bytes([rest]) + raw


def _framed(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _context(verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2"])
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
