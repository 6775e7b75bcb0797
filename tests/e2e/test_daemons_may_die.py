"""kill -9 of each daemon in turn: no app, no task and no request is lost, and everything converges when it is back."""

import pytest

from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.xdist_group("e2e-daemons")]

DAEMONS = ("framework", "registrator", "edge", "autoscale", "consul", "mesos")


@pytest.mark.parametrize("daemon", DAEMONS)
def test_a_killed_daemon_loses_no_app_no_task_and_no_request(embedded_kind, daemon):
    platform, app_id = embedded_kind.platform, f"/survives-{daemon}"
    host = embedded_kind.host(app_id)
    platform.deploy(embedded_kind.app(app_id), "--wait")
    eventually(lambda: len(platform.answers(host)) == 2, timeout=15)
    before = {task["id"] for task in platform.tasks(app_id)}
    with platform.under_load(host, rate=50) as load:
        dead = platform.kill_daemon(daemon)
        eventually(lambda: platform.daemon_pid(daemon) != dead, timeout=15)
        platform.wait_until_healthy(timeout=45)
        assert {task["id"] for task in platform.tasks(app_id)} == before, "no task was lost or replaced"
        # and the whole chain works again
        platform.ok("scale", app_id, "3", "--wait")
        eventually(lambda: len(platform.answers(host, asked=30)) == 3, timeout=30)
    assert load.failures == []
    platform.ok("destroy", app_id, "--wait")
    eventually(lambda: platform.edge(host).status_code == 404, timeout=15)


def test_a_killed_supervisor_is_followed_by_the_next_up_and_nothing_restarts(embedded_kind):
    platform = embedded_kind.platform
    pids = {name: platform.daemon_pid(name) for name in DAEMONS}
    platform.kill_daemon("supervisor")
    eventually(lambda: platform.run("status").returncode == 1, timeout=10)
    done = platform.up()
    assert done.returncode == 0, done.stderr
    assert {name: platform.daemon_pid(name) for name in DAEMONS} == pids
