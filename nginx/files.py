"""Files that are there as a whole or not at all."""

import os
from pathlib import Path


def write_atomically(path: Path, text: str | bytes, *, mode: int = 0o644) -> None:
    """All or nothing, and on the disk before it returns."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    data = text.encode() if isinstance(text, str) else text
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
