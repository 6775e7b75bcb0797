from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.framework import Framework
from tests.support.mesos import running_embedded_mesos


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Framework]:
    directory: Path = tmp_path_factory.mktemp("clients")
    with running_embedded_mesos(directory / "mesos", agents=2) as mesos:
        running = Framework(directory / "framework", mesos.address, {"drain_seconds": 0})
        running.start()
        try:
            yield running
        finally:
            running.stop()


@pytest.fixture
def framework(shared: Framework) -> Iterator[Framework]:
    """The framework's daemon on an embedded Mesos that runs real processes; nothing is declared in it."""
    yield shared
    for app in shared.get("/v2/apps")["apps"]:
        shared.change("DELETE", f"/v2/apps{app['id']}?force=true")
    shared.settled()
