"""The platforms that the end-to-end tests run on: with the embedded Mesos and Consul, and with the real ones."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from tests.support.docker import Dockerd
from tests.support.platform import ROOT, Platform, platform, real_neighbours

# Rates are measured over a shorter time than by default, so that load and calm are seen sooner; a destroyed app's route goes sooner.
QUICK = {"DROMOS_AUTOSCALE_INTERVAL": "0.5", "DROMOS_AUTOSCALE_WINDOW": "3", "DROMOS_EDGE_FORGET_AFTER": "1"}


@dataclass(frozen=True)
class Kind:
    """A platform and the kind of tasks that are tried on it."""

    name: str
    platform: Platform
    docker_image: str | None

    def app(self, app_id: str, *, version: str = "1", instances: int = 2, **labels: str) -> dict[str, Any]:
        """`marathon_apps/hello.json` (or hello-docker.json), renamed, with a host name of its own."""
        name = "hello-docker.json" if self.docker_image else "hello.json"
        app: dict[str, Any] = orjson.loads((ROOT / "marathon_apps" / name).read_bytes())
        app |= {"id": app_id, "instances": instances, "cmd": app["cmd"].replace("version 1", f"version {version}")}
        if self.docker_image:
            app["container"]["docker"]["image"] = self.docker_image
        app["labels"] = {"HAPROXY_GROUP": "external", "HAPROXY_0_VHOST": self.host(app_id), **labels}
        return app

    def id(self, name: str) -> str:
        """An id that the other kinds, which may share the platform, do not use."""
        return f"/{name}-{self.name}"

    def host(self, app_id: str) -> str:
        return f"{app_id.strip('/').replace('/', '-')}.localhost"


@pytest.fixture(scope="module")
def embedded_platform(tmp_path_factory: pytest.TempPathFactory, dockerd: Dockerd) -> Iterator[Platform]:
    with platform(tmp_path_factory.mktemp("embedded"), DOCKER_HOST=dockerd.url, **QUICK) as one:
        yield one


@pytest.fixture(scope="module")
def real_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    directory = tmp_path_factory.mktemp("real")
    with real_neighbours(directory) as neighbours, platform(directory / "state", *neighbours, **QUICK) as one:
        yield one


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("embedded-command", marks=pytest.mark.xdist_group("e2e-embedded-command")),
        pytest.param("embedded-docker", marks=pytest.mark.xdist_group("e2e-embedded-docker")),
        pytest.param("real-command", marks=pytest.mark.xdist_group("e2e-real-command")),
    ],
)
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kind]:
    if request.param == "real-command":
        yield Kind("real", request.getfixturevalue("real_platform"), None)
    elif request.param == "embedded-docker":
        yield Kind("docker", request.getfixturevalue("embedded_platform"), request.getfixturevalue("busybox"))
    else:
        yield Kind("command", request.getfixturevalue("embedded_platform"), None)


@pytest.fixture(scope="module")
def embedded_kind(embedded_platform: Platform) -> Kind:
    return Kind("command", embedded_platform, None)
