"""Files that appear whole or not at all, also when the power fails."""

import os
import uuid
from pathlib import Path
from typing import Any

import orjson

Json = dict[str, Any]


def write_json(path: Path, value: Json, *, durable: bool = True) -> None:
    """Replaces `path`, readable for its owner alone. With `durable`, it is on the disk when this returns. Raises OSError."""
    data = orjson.dumps(value)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(fd)
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
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
