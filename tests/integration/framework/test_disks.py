"""Volumes on disks of their own, of apps and of pods, on the embedded Mesos and on Apache Mesos: made, kept over updates, given back."""

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.framework import Framework, running_framework
from tests.support.mesos import Mesos, running_embedded_mesos, running_real_mesos
from tests.support.waiting import eventually

pytestmark = pytest.mark.xdist_group("disks")

Json = dict[str, Any]


def scalar(name: str, value: float, **more: Any) -> Json:
    return {"name": name, "type": "SCALAR", "scalar": {"value": value}, **more}


@pytest.fixture(scope="module", params=["simulated", "real"])
def mesos(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesos]:
    tmp_path = tmp_path_factory.mktemp("disks")
    path, mount = tmp_path / "path", tmp_path / "mount"
    for disk in (path, mount):
        disk.mkdir()
    if request.param == "real":  # which looks whether it is one
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", mount], check=True)
        request.addfinalizer(lambda: subprocess.run(["umount", "-l", mount], check=True))
    resources = [
        *(scalar(name, value) for name, value in (("cpus", 4), ("mem", 4096), ("disk", 4096))),
        {"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 31000, "end": 31999}]}},
        scalar("disk", 1000, disk={"source": {"type": "PATH", "path": {"root": str(path)}}}),
        scalar("disk", 500, disk={"source": {"type": "MOUNT", "mount": {"root": str(mount)}}}),
    ]
    given = {"agents": 1, "resources": json.dumps(resources)}
    if request.param == "real":
        # Without the isolator containers do not see the volumes of their pod.
        isolation = "posix/cpu,posix/mem,volume/sandbox_path"
        server = running_real_mesos(tmp_path / "mesos", allocation_interval="200ms", isolation=isolation, **given)
    else:
        server = running_embedded_mesos(tmp_path / "mesos", simulate=True, allocation_interval=0.2, **given)
    with server as one:
        yield one


@pytest.fixture(scope="module")
def shared(mesos: Mesos, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Framework]:
    with running_framework(tmp_path_factory.mktemp("framework"), mesos.address, mesos_role="prod") as daemon:
        yield daemon


@pytest.fixture
def framework(shared: Framework, mesos: Mesos) -> Iterator[Framework]:
    """Nothing is declared in it, and all disks are free."""
    yield shared
    for kind, found in (("apps", shared.get("/v2/apps")["apps"]), ("pods", shared.get("/v2/pods"))):
        for one in found:
            shared.change("DELETE", f"/v2/{kind}{one['id']}?force=true")
    shared.settled()
    eventually(lambda: reserved(mesos) == 0, 60, what="all disks are given back")


def reserved(mesos: Mesos) -> float:
    """MB of disk that are reserved for the role."""
    [agent] = mesos.get("/slaves")["slaves"]
    return float(agent["reserved_resources"].get("prod", {}).get("disk", 0))


def persistent(name: str, kind: str, size: int) -> Json:
    return {"containerPath": name, "mode": "RW", "persistent": {"type": kind, "size": size}}


def test_an_app_has_its_volumes_on_the_disks_it_names(framework: Framework, mesos: Mesos) -> None:
    volumes = [persistent("data", "root", 64), persistent("log", "path", 100), persistent("fast", "mount", 200)]
    app = {"id": "/db", "cmd": "sleep 1000", "cpus": 0.1, "mem": 32, "container": {"type": "MESOS", "volumes": volumes}}
    framework.deploy(app)
    [before] = framework.tasks("/db")
    assert reserved(mesos) == 64 + 100 + 500, "a mount disk is taken whole"
    framework.deploy({"id": "/db", "cmd": "sleep 2000"})
    [after] = framework.tasks("/db")
    assert after["id"] != before["id"] and after["localVolumes"] == before["localVolumes"]
    assert len(after["localVolumes"]) == 3 and reserved(mesos) == 664
    framework.change("DELETE", "/v2/apps/db")
    framework.settled()
    eventually(lambda: reserved(mesos) == 0, 60, what="all disks are given back")


def test_a_pod_has_a_volume_that_its_containers_share(framework: Framework, mesos: Mesos, tmp_path: Path) -> None:
    pod_id = f"/pod-{uuid.uuid4().hex[:6]}"

    def pod(done: Path, command: str) -> Json:
        container = {"resources": {"cpus": 0.1, "mem": 32}, "volumeMounts": [{"name": "data", "mountPath": "data"}]}
        shell = {"command": {"shell": f"{command} && touch {done}.$MARATHON_CONTAINER_ID && sleep 1000"}}
        return {
            "id": pod_id,
            "containers": [{"name": name, "exec": shell, **container} for name in ("one", "two")],
            "volumes": [{"name": "data", "persistent": {"type": "path", "size": 100}}],
            "networks": [{"mode": "host"}],
        }

    def both(done: Path) -> bool:
        return not mesos.real or all(done.with_name(f"{done.name}.{name}").exists() for name in ("one", "two"))

    def the_only_one() -> Json:
        [instance] = framework.get(f"/v2/pods{pod_id}::status")["instances"]
        return dict(instance)

    written, read = tmp_path / "written", tmp_path / "read"
    framework.change("POST", "/v2/pods", pod(written, "echo $MARATHON_CONTAINER_ID >> data/log"))
    framework.settled(60)
    eventually(lambda: both(written), 60, what="both have written")
    before = the_only_one()
    assert (before["status"], reserved(mesos)) == ("STABLE", 100 + 10), "with what the executor has of the root disk"
    assert [volume["containerPath"] for volume in before["localVolumes"]] == ["data"]
    framework.change("PUT", f"/v2/pods{pod_id}", pod(read, "grep one data/log && grep two data/log"))
    framework.settled(60)
    eventually(lambda: both(read), 60, what="both have found what both had written")
    after = the_only_one()
    assert (after["id"], after["status"], after["localVolumes"]) == (before["id"], "STABLE", before["localVolumes"])
    assert {c["containerId"] for c in after["containers"]}.isdisjoint(c["containerId"] for c in before["containers"])
    framework.change("DELETE", f"/v2/pods{pod_id}")
    eventually(lambda: reserved(mesos) == 0, 60, what="the volume is given back")
