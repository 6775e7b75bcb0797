"""Certificates by host name: the files `<host>.pem` (chain and key) of a directory. `_default.pem` is for all other names.

`*.example.org` is for any name below; where a file system dislikes the star, `_wildcard.example.org.pem` says the same.
"""

import contextlib
import hashlib
import shutil
import ssl
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from daemonkit.files import write_atomically
from daemonkit.logs import get_logger
from nginx import names
from nginx.errors import EdgeError, RefusedError

log = get_logger(__name__)

DEFAULT = "_default"
MAX_BYTES = 256 * 1024


@dataclass(frozen=True)
class Bundle:
    """Host -> PEM text with chain and key. `problems`: file name -> why it is left out. `digest` tells bundles apart."""

    pems: Mapping[str, str]
    problems: Mapping[str, str]

    @property
    def digest(self) -> str:
        found = hashlib.sha256()
        for host in sorted(self.pems):
            found.update(f"{host}\0{self.pems[host]}\0".encode())
        return found.hexdigest()

    def __repr__(self) -> str:
        return f"Bundle({sorted(self.pems)}, {dict(self.problems)})"  # never a key


def read(directory: Path) -> Bundle:
    """What is of no use (no key, a key of another certificate, a name that is no host) is left out and named."""
    pems, problems = {}, {}
    for path in sorted(directory.glob("*.pem")) if directory.is_dir() else ():
        try:
            host = _host(path.stem)
            if path.stat().st_size > MAX_BYTES:
                raise RefusedError(f"is larger than {MAX_BYTES} bytes")
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path)
            pems[host] = path.read_text()
        except (RefusedError, OSError, ssl.SSLError, UnicodeDecodeError) as error:
            problems[path.name] = getattr(error, "reason", "") or str(error)
    return Bundle(pems, problems)


def signature(directory: Path) -> tuple[tuple[str, int, int], ...]:
    """Cheap: changes when a file of the directory does."""
    found = []
    for path in sorted(directory.glob("*.pem")) if directory.is_dir() else ():
        with contextlib.suppress(OSError):
            stat = path.stat()
            found.append((path.name, stat.st_mtime_ns, stat.st_size))
    return tuple(found)


def write(bundle: Bundle, directory: Path, placeholder: str, *, keep: bool = False) -> None:
    """Puts the bundle where a proxy reads it: `<host>.pem`, and `0.pem` for all other names. `keep` leaves what is there."""
    directory.mkdir(exist_ok=True, mode=0o700)
    wanted = {f"{host}.pem": pem for host, pem in bundle.pems.items() if host != DEFAULT}
    wanted["0.pem"] = bundle.pems.get(DEFAULT, placeholder)
    for name, pem in wanted.items():
        path = directory / name
        if not path.exists() or (not keep and path.read_text() != pem):
            write_atomically(path, pem, mode=0o600)
    for path in directory.glob("*.pem"):
        if path.name not in wanted and not keep:
            path.unlink()


def placeholder(path: Path) -> str:
    """A self-signed certificate with its key, made once: what a client without a certificate of ours gets. Raises EdgeError."""
    if not path.exists():
        program = shutil.which("openssl")
        if program is None:
            raise EdgeError(
                "--tls-port needs the program openssl for a placeholder certificate: apt-get install openssl"
            )
        command = [program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-days", "3650", "-subj", "/CN=dromos-edge", "-keyout", "-", "-out", "-"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise EdgeError(f"openssl made no placeholder certificate: {done.stderr.strip()[-300:]}")
        write_atomically(path, done.stdout, mode=0o600)
    return path.read_text()


def _host(stem: str) -> str:
    if stem == DEFAULT:
        return stem
    return names.host(stem.replace("_wildcard.", "*.", 1) if stem.startswith("_wildcard.") else stem)


class Watch:
    """Hands the bundle to `take` when a file has changed, and again after a failure. Called now and then."""

    def __init__(self, directory: Path, take: Callable[[Bundle], Awaitable[None]]) -> None:
        self._directory = directory
        self._take = take
        self._seen: tuple[tuple[str, int, int], ...] | None = None
        self.problems: Mapping[str, str] = {}

    async def __call__(self) -> None:
        seen = signature(self._directory)
        if seen == self._seen:
            return
        bundle = read(self._directory)
        self.problems = bundle.problems
        for name, why in bundle.problems.items():
            log.warning("a certificate is left out", file=name, why=why)
        await self._take(bundle)
        self._seen = seen
