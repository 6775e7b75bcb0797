"""Files that are there as a whole or not at all."""

import os
import secrets
from pathlib import Path


def write_atomically(path: Path, data: str | bytes, *, mode: int = 0o644, durable: bool = True) -> None:
    """Takes the place of what was at `path`, at once; with `durable` it is on the disk before this returns.

    Raises OSError; what was there is then as it was, and nothing is left beside it.
    """
    temporary = path.with_name(f".{path.name[:200]}.{secrets.token_hex(6)}.new")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.chmod(mode)  # whatever the umask is
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
