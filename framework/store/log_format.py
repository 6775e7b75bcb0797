"""The bytes of a batch of writes, and of all tables: compressed, and cut into pieces that a znode holds."""

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence

from framework.store.base import Tables, Write

_LENGTHS = struct.Struct(">HIi")  # of table, key and value; a value of -1 is a delete


def pack(writes: Iterable[Write]) -> bytes:
    parts: list[bytes] = []
    for write in writes:
        table, key = write.table.encode(), write.key.encode()
        parts += [_LENGTHS.pack(len(table), len(key), -1 if write.value is None else len(write.value)), table, key]
        if write.value is not None:
            parts.append(write.value)
    return zlib.compress(b"".join(parts), 1)


def unpack(data: bytes) -> Iterator[Write]:
    """Raises zlib.error, struct.error or UnicodeDecodeError for what `pack` has not made."""
    text, at = zlib.decompress(data), 0
    while at < len(text):
        table, key, value = _LENGTHS.unpack_from(text, at)
        at += _LENGTHS.size
        name, at = text[at : at + table].decode(), at + table
        key_text, at = text[at : at + key].decode(), at + key
        if value < 0:
            yield Write(name, key_text, None)
        else:
            yield Write(name, key_text, text[at : at + value])
            at += value


def pack_tables(tables: Tables) -> bytes:
    return pack(Write(table, key, value) for table, rows in tables.items() for key, value in rows.items())


def apply(tables: dict[str, dict[str, bytes]], writes: Iterable[Write]) -> None:
    for write in writes:
        rows = tables.setdefault(write.table, {})
        if write.value is None:
            rows.pop(write.key, None)
        else:
            rows[write.key] = write.value


def cut(data: bytes, size: int) -> Sequence[bytes]:
    """At least one piece."""
    return [data[start : start + size] for start in range(0, len(data), size)] or [b""]
