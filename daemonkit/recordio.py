"""RecordIO, as Mesos streams are written: each record is its length in decimal, a newline, and that many bytes."""

from typing import Any

import orjson

LONGEST_LENGTH = 19  # digits of a record's length


def record(event: dict[str, Any]) -> bytes:
    body = orjson.dumps(event)
    return b"%d\n%s" % (len(body), body)


class Records:
    """The other way: pieces of RecordIO, cut anywhere, into the records."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held = bytearray()

    def feed(self, piece: bytes) -> list[bytes]:
        """Raises ValueError for what is no record, or a larger one than `most_bytes`."""
        self._held += piece
        found: list[bytes] = []
        start = 0
        while (newline := self._held.find(b"\n", start, start + LONGEST_LENGTH + 1)) >= 0:
            digits = bytes(self._held[start:newline])
            if not digits.isdigit() or int(digits) > self._most_bytes:
                raise ValueError(f"a record of {digits!r} bytes")
            end = newline + 1 + int(digits)
            if len(self._held) < end:
                break
            found.append(bytes(self._held[newline + 1 : end]))
            start = end
        else:
            if len(self._held) - start > LONGEST_LENGTH:
                raise ValueError("a record without a length")
        del self._held[:start]
        return found
