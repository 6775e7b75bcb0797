"""The real Consul 1.8.7, from Debian's bullseye suite, unpacked into a cache directory; nothing is installed on the machine.

apt works on private lists, so the machine's own sources stay as they are, and checks Debian's signature of what it brings.
"""

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

SUITE = "bullseye"
VERSION = "1.8.7"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
ARCHIVE = "http://archive.debian.org/debian"  # where a suite goes when the mirrors drop it

_ONE_LINE_SOURCE = re.compile(r"^deb\s+(?:\[[^]]*]\s+)?(\S+/debian/?)\s", re.MULTILINE)
_DEB822_SOURCE = re.compile(r"^URIs:\s*(\S+/debian/?)(?:\s|$)", re.MULTILINE)


class NoRealConsulError(Exception):
    """The program could not be had: what failed, and how to mend it."""


def cache_directory() -> Path:
    """`$DROMOS_TEST_CACHE`, else `~/.cache/dromos-tests`: what tests download is kept there from one run to the next."""
    return Path(os.environ.get("DROMOS_TEST_CACHE") or Path.home() / ".cache" / "dromos-tests")


def real_consul_program(cache: Path | None = None) -> Path:
    """The path of the program; the first call brings it (about 3 s), and parallel test processes wait for that one.

    Raises NoRealConsulError with one line.
    """
    home = (cache or cache_directory()) / f"consul-{VERSION}"
    program = home / "consul"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.access(program, os.X_OK):
            _bring(home, program)
    return program


def debian_mirror(apt_directory: Path = Path("/etc/apt")) -> str | None:
    """The machine's own Debian mirror, from `sources.list` or `sources.list.d`, in either of apt's two formats."""
    files = [apt_directory / "sources.list", *sorted((apt_directory / "sources.list.d").glob("*"))]
    for file in files:
        if file.suffix in (".list", ".sources") and file.is_file():
            text = file.read_text(errors="replace")
            if found := _ONE_LINE_SOURCE.search(text) or _DEB822_SOURCE.search(text):
                return found.group(1)
    return None


def _bring(home: Path, program: Path) -> None:
    problems = []
    for mirror in dict.fromkeys([debian_mirror() or "http://deb.debian.org/debian", ARCHIVE]):
        with tempfile.TemporaryDirectory(dir=home, prefix="apt-") as scratch:
            try:
                package = _download(mirror, Path(scratch))
                _unpack(package, program)
                return
            except (subprocess.CalledProcessError, OSError) as error:
                said = getattr(error, "stderr", b"") or str(error).encode()
                problems.append(f"{mirror}: {said.decode(errors='replace').strip().splitlines()[0]}")
    raise NoRealConsulError(
        f"the real Consul {VERSION} cannot be brought from Debian's {SUITE} suite ({'; '.join(problems)}); "
        f"put the program itself at {program}"
    )


def _download(mirror: str, scratch: Path) -> Path:
    (scratch / "lists" / "partial").mkdir(parents=True)
    (scratch / "cache").mkdir()
    sources = scratch / "sources.list"
    # A suite in the archive has outlived its Release file's expiry.
    sources.write_text(f"deb [signed-by={KEYRING} check-valid-until=no] {mirror} {SUITE} main\n")
    private = {
        "Dir::State::Lists": scratch / "lists",
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Cache": scratch / "cache",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
    }
    options = [word for key, value in private.items() for word in ("-o", f"{key}={value}")]
    for command in (["-qq", "update"], ["-q", "download", "consul"]):
        subprocess.run(["apt-get", *options, *command], cwd=scratch, check=True, capture_output=True)
    for package in scratch.glob(f"consul_{VERSION}*.deb"):
        return package
    raise FileNotFoundError(f"{SUITE} has no consul {VERSION}")


def _unpack(package: Path, program: Path) -> None:
    unpacked = package.parent / "unpacked"
    subprocess.run(["dpkg-deb", "--extract", package, unpacked], check=True, capture_output=True)
    part = program.with_suffix(".part")
    shutil.copy2(unpacked / "usr" / "bin" / "consul", part)
    part.chmod(0o755)
    part.replace(program)  # the last step: whoever sees the name sees the whole program
