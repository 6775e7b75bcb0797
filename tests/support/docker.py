"""A Docker daemon for tests and an image to run in it.

dockerd    the daemon that answers on the system's socket, else one of this test process's own, stopped at its end
busybox    the name of an image in it with /bin/busybox and its applets, made without any registry
"""

import io
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from embedded.mesos.runtimes import dockerd as daemon

BUSYBOX = Path("/bin/busybox")  # of the package busybox-static
IMAGE = "dromos-test/busybox:latest"


@dataclass(frozen=True)
class Dockerd:
    """A running daemon. `url` is what DOCKER_HOST would hold."""

    url: str
    client: docker.DockerClient

    def containers(self, **labels: str) -> list[Any]:
        """All containers, ended ones too, that have these labels."""
        wanted = [f"{name}={value}" for name, value in labels.items()]
        found: list[Any] = self.client.containers.list(all=True, filters={"label": wanted}, ignore_removed=True)
        return found


@pytest.fixture(scope="session")
def dockerd() -> Iterator[Dockerd]:
    """Each test process has a daemon of its own where the system has none, so that several at once do not meet."""
    parent = Path(tempfile.gettempdir())
    own = None
    url = daemon.SYSTEM_URL
    if not daemon.answers(url):
        daemon.sweep(parent, "dromos-docker-*")
        own = parent / f"dromos-docker-{os.getpid()}"
        url = daemon.start(own, die_with_parent=True, timeout=180)
    client = docker.DockerClient(base_url=url, version="auto", timeout=180)
    try:
        yield Dockerd(url, client)
    finally:
        client.close()
        if own:
            daemon.stop(own)


@pytest.fixture(scope="session")
def busybox(dockerd: Dockerd) -> str:
    dockerd.client.api.import_image_from_data(
        root_filesystem(), repository=IMAGE.partition(":")[0], tag=IMAGE.partition(":")[2], changes=["ENV PATH=/bin"]
    )
    return IMAGE


def root_filesystem() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, mode in (("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777), ("www", 0o755)):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, mode
            tar.addfile(directory)
        tar.add(BUSYBOX.resolve(), "bin/busybox")
        for applet in subprocess.check_output([BUSYBOX, "--list"], text=True).split():
            if applet == "busybox":
                continue
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for name, text in (
            ("etc/passwd", "root:x:0:0::/:/bin/sh\nweb:x:1000:1000::/:/bin/sh\n"),
            ("etc/group", "root:x:0:\n"),
        ):
            file = tarfile.TarInfo(name)
            file.size = len(text)
            tar.addfile(file, io.BytesIO(text.encode()))
    return buffer.getvalue()
