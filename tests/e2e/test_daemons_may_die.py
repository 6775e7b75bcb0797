"""kill -9 of each daemon in turn: no app, no task and no request is lost, and everything converges when it is back."""

from dataclasses import dataclass

import pytest

from tests.e2e.conftest import Kind
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.xdist_group("e2e-daemons")]

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


@pytest.fixture(scope="module")
def survivor(embedded_kind: Kind) -> Survivor:
    app = Survivor(embedded_kind)
    embedded_kind.platform.deploy(embedded_kind.app(app.id), "--wait")
    eventually(lambda: len(embedded_kind.platform.answers(app.host)) == 2, timeout=30)
    return app


@pytest.mark.parametrize("daemon", DAEMONS)
def test_a_killed_daemon_loses_no_app_no_task_and_no_request(survivor, daemon):
    platform, host = survivor.kind.platform, survivor.host
    before = {task["id"] for task in platform.tasks(survivor.id)}
    assert len(before) == survivor.instances
    with platform.under_load(host, rate=50) as load:
        dead = platform.kill_daemon(daemon)
        eventually(lambda: platform.daemon_pid(daemon) != dead, timeout=30)
        platform.wait_until_healthy(timeout=45)
        assert {task["id"] for task in platform.tasks(survivor.id)} == before, "no task was lost or replaced"
        # and the whole chain works again
        survivor.instances += 1
        platform.ok("scale", survivor.id, str(survivor.instances), "--wait")
        eventually(lambda: len(platform.answers(host, asked=60)) == survivor.instances, timeout=30)
    assert load.failures == []
    assert before < {task["id"] for task in platform.tasks(survivor.id)}


def test_a_killed_supervisor_is_followed_by_the_next_up_and_nothing_restarts(embedded_kind):
    platform = embedded_kind.platform
    pids = {name: platform.daemon_pid(name) for name in DAEMONS}
    platform.kill_daemon("supervisor")
    eventually(lambda: platform.here("status").code == 1)
    done = platform.up()
    assert done.returncode == 0, done.stderr
    assert {name: platform.daemon_pid(name) for name in DAEMONS} == pids
