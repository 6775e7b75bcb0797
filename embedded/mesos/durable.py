"""Files that appear whole or not at all, also when the power fails."""

import os
from pathlib import Path
from typing import Any

import orjson

from daemonkit.files import write_atomically

Json = dict[str, Any]


def write_json(path: Path, value: Json, *, durable: bool = True) -> None:
    """Replaces `path`, readable for its owner alone. With `durable`, it is on the disk when this returns. Raises OSError."""
    write_atomically(path, orjson.dumps(value), mode=0o600, durable=durable)
    if durable:
        _sync_directory(path.parent)


def read_json(path: Path) -> Json | None:
    """None if the file is missing or holds anything but a JSON object."""
    try:
        value = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return value if isinstance(value, dict) else None


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
