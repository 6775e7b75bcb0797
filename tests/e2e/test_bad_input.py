"""What goes wrong is said once, clearly, in the API, the command line and the log; nothing is lost, and what can recover does."""

import itertools
import json
import subprocess
import sys

import pytest
import requests

from tests.support.mesos import running_embedded_mesos
from tests.support.platform import Platform, platform
from tests.support.processes import free_port, free_ports
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow]
on_embedded = pytest.mark.xdist_group("e2e-bad-input")

SLEEPER = {"cmd": "exec sleep 1000", "cpus": 0.01, "mem": 16}


@on_embedded
def test_malformed_json(embedded_platform, tmp_path):
    answer = requests.post(
        f"{embedded_platform.api_url}/v2/apps", data='{"id": ', headers={"Content-Type": "application/json"}, timeout=60
    )
    assert answer.status_code == 400
    assert answer.json()["message"] == "Invalid JSON" and answer.json()["details"]
    file = tmp_path / "app.json"
    file.write_text('{"id": "/x",\n  "cmd": }')
    done = embedded_platform.run("deploy", str(file))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {file}, line 2, column ")


@on_embedded
def test_a_field_of_the_wrong_type(embedded_platform):
    wrong = {"id": "/wrong", "cmd": "true", "instances": "two", "cpus": -1}
    answer = requests.post(f"{embedded_platform.api_url}/v2/apps", json=wrong, timeout=60)
    assert answer.status_code == 422
    assert "/instances" in [detail["path"] for detail in answer.json()["details"]]
    done = embedded_platform.run("deploy", "-", stdin=json.dumps(wrong))
    assert done.returncode == 1 and "/instances" in done.stderr and done.stderr.count("\n") == 1
    assert requests.get(f"{embedded_platform.api_url}/v2/apps/wrong", timeout=60).status_code == 404


@on_embedded
def test_a_port_that_another_app_has(embedded_platform):
    taken = embedded_platform.task_port_range[1]
    port = {"portDefinitions": [{"port": taken}], "requirePorts": True, **SLEEPER}
    embedded_platform.deploy({"id": "/first", **port}, "--wait")
    done = embedded_platform.run(
        "deploy", "-", "--wait", "--timeout", "15s", stdin=json.dumps({"id": "/second", **port})
    )
    assert done.returncode == 4
    assert (
        "/second waits for 1 more: " in done.stderr and "offers refused: without the ports that it needs" in done.stderr
    )
    assert "InsufficientPorts" in embedded_platform.ok("queue")
    embedded_platform.ok("destroy", "/first", "--wait")
    eventually(lambda: len(embedded_platform.tasks("/second")) == 1, timeout=60)
    embedded_platform.ok("destroy", "/second", "--wait")


@on_embedded
def test_a_missing_image(embedded_platform):
    app = {
        "id": "/no-image",
        "container": {"type": "DOCKER", "docker": {"image": "127.0.0.1:1/no-such-image"}},
        "cpus": 0.01,
        "mem": 16,
    }
    done = embedded_platform.run("deploy", "-", "--wait", "--timeout", "15s", stdin=json.dumps(app))
    assert done.returncode == 4
    assert "TASK_FAILED" in done.stderr and "no-such-image" in done.stderr
    embedded_platform.ok("destroy", "/no-image", "--wait")


@on_embedded
def test_a_command_that_dies_at_once_is_not_started_in_a_hurry(embedded_platform):
    app = {"id": "/dies", "cmd": "echo dying; exit 3", "cpus": 0.01, "mem": 16, "backoffSeconds": 2, "backoffFactor": 2}
    done = embedded_platform.run("deploy", "-", "--wait", "--timeout", "15s", stdin=json.dumps(app))
    assert done.returncode == 4
    assert "/dies: last failure TASK_FAILED: Command exited with status 3" in done.stderr

    def put_off() -> bool:
        """While it runs once more it is not in the queue."""
        item = next(item for item in embedded_platform.get("/v2/queue")["queue"] if item["app"]["id"] == "/dies")
        return item["delay"]["overdue"] is False and item["delay"]["timeLeftSeconds"] > 0

    eventually(put_off, timeout=60)
    embedded_platform.ok("destroy", "/dies", "--wait")


@pytest.mark.xdist_group("e2e-bad-input")
def test_a_full_disk_refuses_changes_keeps_tasks_and_recovers(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)], check=True)
    try:
        with platform(disk / "state") as one:
            one.deploy({"id": "/before", **SLEEPER}, "--wait")
            during = itertools.count()

            def refused() -> str | None:
                """What was refused: what files that were there already have room for is not."""
                fill(disk)
                app_id = f"/during-{next(during)}"
                done = one.here("deploy", "-", stdin=json.dumps({"id": app_id, **SLEEPER}))
                assert done.code == 0 or (done.code == 1 and "space" in done.err), done.err
                return app_id if done.code else None

            app_id = eventually(refused, timeout=60)
            assert len(one.tasks("/before")) == 1
            assert requests.get(f"{one.api_url}/v2/apps{app_id}", timeout=60).status_code == 404
            (disk / "filler").unlink()
            eventually(
                lambda: one.here("deploy", "-", stdin=json.dumps({"id": "/after", **SLEEPER})).code == 0,
                timeout=30,
            )
            eventually(lambda: len(one.tasks("/after")) == 1, timeout=60)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.xdist_group("e2e-away")
def test_consul_away_the_edge_serves_on_and_what_changed_meanwhile_follows(tmp_path, own_real_consul):
    with platform(tmp_path / "state", "--consul-addr", f"127.0.0.1:{own_real_consul.port}") as one:
        deploy_hello(one)
        own_real_consul.kill()
        assert {one.edge("away.localhost").status_code for _ in range(20)} == {200}
        one.ok("scale", "/away", "4", "--wait")
        eventually(
            lambda: one.here("status").code == 1, 60, what="the registrator and the edge say that Consul is away"
        )
        assert one.edge("away.localhost").status_code == 200
        own_real_consul.start()
        eventually(lambda: len(one.answers("away.localhost", asked=40)) == 4, timeout=60)
        one.wait_until_healthy()


@pytest.mark.xdist_group("e2e-away")
def test_mesos_away_reads_and_changes_are_taken_and_done_when_it_is_back(tmp_path):
    port = free_port()
    first_port, last_port = free_ports(100)
    resources = f"cpus:4;mem:4096;disk:4096;ports:[{first_port}-{last_port}]"
    with running_embedded_mesos(tmp_path / "mesos", port=port, resources=resources) as mesos:
        with platform(tmp_path / "state", "--mesos-master", mesos.address) as one:
            deploy_hello(one)
            before = {task["id"] for task in one.tasks("/away")}
            mesos.process.kill()
            mesos.process.wait()
            eventually(lambda: one.here("status").code == 1, timeout=60)
            assert {task["id"] for task in one.tasks("/away")} == before
            one.ok("scale", "/away", "3")
            assert one.edge("away.localhost").status_code == 200
            with running_embedded_mesos(tmp_path / "mesos", port=port, resources=resources):
                eventually(lambda: len(one.tasks("/away")) == 3, timeout=60)
                assert before <= {task["id"] for task in one.tasks("/away")}
                one.ok("destroy", "/away", "--wait")


def deploy_hello(one: Platform) -> None:
    server = f"exec {sys.executable} -m http.server $PORT0"
    cmd = f"mkdir -p www && echo $MESOS_TASK_ID > www/index.html && cd www && {server}"
    labels = {"HAPROXY_GROUP": "external", "HAPROXY_0_VHOST": "away.localhost"}
    one.deploy(
        {
            "id": "/away",
            "cmd": cmd,
            "cpus": 0.1,
            "mem": 64,
            "instances": 2,
            "portDefinitions": [{"port": 0}],
            "labels": labels,
        },
        "--wait",
    )
    eventually(lambda: len(one.answers("away.localhost")) == 2, timeout=60)


def fill(disk) -> None:
    with (disk / "filler").open("ab") as file:
        try:
            while True:
                file.write(b"\0" * 65536)
                file.flush()
        except OSError:
            pass
