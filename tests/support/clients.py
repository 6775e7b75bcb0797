"""Clients of Marathon's API as their authors published them, installed once into a cache of their own.

They need old or odd dependencies, so they stay out of the project's environment. `DROMOS_TEST_CACHE` moves the cache.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

PYTHON_CLIENTS = ("marathon==0.13.0", "marathon-deploy==3.0.2")
NODE_CLIENT = "marathon-event-bus-client@0.1.7"


def cache() -> Path:
    return Path(os.environ.get("DROMOS_TEST_CACHE", "~/.cache/dromos-tests")).expanduser()


def python_with_clients() -> Path:
    """A Python in whose environment the Python clients are."""

    def install(directory: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
        pip = [str(directory / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *PYTHON_CLIENTS], check=True)

    return _installed("python-" + "-".join(PYTHON_CLIENTS), install) / "bin" / "python"


def node_modules_with_client() -> Path:
    """A `node_modules` directory with the Node client."""

    def install(directory: Path) -> None:
        directory.mkdir(parents=True)
        subprocess.run(
            [
                "npm",
                "install",
                "--prefix",
                str(directory),
                "--no-audit",
                "--no-fund",
                "--loglevel",
                "error",
                NODE_CLIENT,
            ],
            check=True,
        )

    return _installed("node-" + NODE_CLIENT, install) / "node_modules"


def _installed(name: str, install: Callable[[Path], None]) -> Path:
    """Installs unless it is there already; of several test processes one does it and the others wait."""
    directory = cache() / "clients" / name
    done = directory / ".complete"
    with _locked(directory.with_suffix(".lock")):
        if not done.exists():
            shutil.rmtree(directory, ignore_errors=True)
            install(directory)
            done.touch()
    return directory


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
