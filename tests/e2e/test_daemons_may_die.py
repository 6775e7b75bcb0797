"""kill -9 of each daemon in turn: no app, no task and no request is lost, and everything converges when it is back."""

from dataclasses import dataclass

import pytest

from tests.e2e.conftest import Kind
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("e2e-daemons")]

DAEMONS = ("framework", "registrator", "edge", "autoscale", "consul", "mesos")


@dataclass
class Survivor:
    """An app that runs through all of these stories, and has one instance more after each."""

    kind: Kind
    id: str = "/survives"
    instances: int = 2

    @property
    def host(self) -> str:
        return self.kind.host(self.id)

    def is_whole(self) -> None:
        """Also where the story before has failed in the middle."""
        platform = self.kind.platform
        platform.wait_until_healthy()
        if platform.get(f"/v2/apps{self.id}")["app"]["instances"] != self.instances:
            platform.ok("scale", self.id, str(self.instances), "--force", "--wait")
        eventually(lambda: len(platform.answers(self.host, asked=60)) == self.instances, timeout=60)


@pytest.fixture(scope="module")
def survivor(embedded_kind: Kind) -> Survivor:
    app = Survivor(embedded_kind)
    embedded_kind.platform.deploy(embedded_kind.app(app.id), "--wait")
    return app


@pytest.mark.parametrize("daemon", DAEMONS)
def test_a_killed_daemon_loses_no_app_no_task_and_no_request(survivor, daemon):
    platform, host = survivor.kind.platform, survivor.host
    survivor.is_whole()
    before = {task["id"] for task in platform.tasks(survivor.id)}
    with platform.under_load(host, rate=50) as load:
        dead = platform.kill_daemon(daemon)
        eventually(lambda: platform.daemon_pid(daemon) != dead, timeout=60)
        platform.wait_until_healthy()
        assert {task["id"] for task in platform.tasks(survivor.id)} == before, "no task was lost or replaced"
        # and the whole chain works again
        survivor.instances += 1
        platform.ok("scale", survivor.id, str(survivor.instances), "--wait")
        eventually(lambda: len(platform.answers(host, asked=60)) == survivor.instances, timeout=60)
    assert load.failures == []
    assert before < {task["id"] for task in platform.tasks(survivor.id)}


def test_a_killed_supervisor_is_followed_by_the_next_up_and_nothing_restarts(embedded_kind):
    platform = embedded_kind.platform
    pids = {name: platform.daemon_pid(name) for name in DAEMONS}
    platform.kill_daemon("supervisor")
    eventually(lambda: platform.here("status").code == 1, timeout=60)
    done = platform.up()
    assert done.returncode == 0, done.stderr
    assert {name: platform.daemon_pid(name) for name in DAEMONS} == pids
