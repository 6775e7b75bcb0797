"""`HttpParser`: a response parser that is fed with `execute` and asked for what it has understood so far."""

import httptools

_ERROR = 1  # http-parser's own numbers are not promised to anyone; 0 alone has a meaning: no error


class HttpParser:
    """Parses one HTTP response, fed in pieces cut anywhere.

    `execute(data, length)` returns the number of bytes parsed: `length`, or less after an error or past the end of the message, as
    http-parser does. `recv_body` hands out the decoded body (chunk framing removed) that has arrived since the last call.
    """

    def __init__(self, kind: int = 2, decompress: bool = False) -> None:
        # Both arguments are http-parser's; responses (and "either") are all that pymesos reads.
        del kind, decompress
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._headers_complete = False
        self._message_complete = False
        self._errno = 0

    def execute(self, data: bytes, length: int) -> int:
        if self._errno:
            return 0
        if self._message_complete:
            return 0
        try:
            self._parser.feed_data(memoryview(data)[:length])
        except httptools.HttpParserUpgrade as upgrade:
            return int(upgrade.args[0])
        except httptools.HttpParserError:
            if self._message_complete:  # bytes past the end of the message are not this message's error
                return length
            self._errno = _ERROR
            return 0
        return length

    def get_errno(self) -> int:
        return self._errno

    def is_headers_complete(self) -> bool:
        return self._headers_complete

    def is_message_complete(self) -> bool:
        return self._message_complete

    def is_partial_body(self) -> bool:
        return bool(self._body)

    def is_chunked(self) -> bool:
        return self._headers.get("Transfer-Encoding", "").lower().endswith("chunked")

    def get_status_code(self) -> int:
        return int(self._parser.get_status_code())

    def get_headers(self) -> dict[str, str]:
        """Header names in canonical case (`Mesos-Stream-Id`); repeated headers are joined with a comma."""
        return dict(self._headers)

    def recv_body(self) -> bytes:
        body = bytes(self._body)
        self._body.clear()
        return body

    # What httptools calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.decode("latin-1").title()
        text = value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        self._headers_complete = True

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self._message_complete = True
