"""Tasks as containers of a real Docker: started, reached, ended, limited and found again."""

import asyncio
import base64
import contextlib
import json
import os
import signal
import tempfile
from pathlib import Path

import docker
import pytest
import requests

from embedded.mesos.runtimes import dockerd as daemon
from tests.support.docker import root_filesystem
from tests.support.docker_registry import docker_registry
from tests.support.mesos_agent import container, decoded, framework, grace, task
from tests.support.mesos_agent import world as world
from tests.support.processes import free_port
from tests.support.waiting import eventually_async


@pytest.fixture
def docker_world(world, dockerd, busybox):
    async def make(**settings):
        return await world(docker_url=dockerd.url, **settings)

    return make


def of_task(dockerd, w, task_id):
    return dockerd.containers(**{"dromos.mesos.agent": w.agent.id, "dromos.mesos.task": task_id})


async def test_a_container_runs_writes_its_output_and_ends(docker_world, dockerd, busybox):
    w = await docker_world()
    w.launch(task("d1", "echo hello; echo trouble >&2; exit 3", container=container(busybox)))
    ended = await w.master.until_ended("d1")
    assert w.master.states("d1") == ["TASK_STARTING", "TASK_RUNNING", "TASK_FAILED"]
    assert ended["message"] == "Container exited with status 3"
    assert (w.output("d1"), w.output("d1", "stderr")) == ("hello\n", "trouble\n")
    await eventually_async(lambda: of_task(dockerd, w, "d1") == [], what="the container is removed")


async def test_running_tells_the_inspection_and_the_address_in_the_bridge(docker_world, dockerd, busybox):
    w = await docker_world()
    w.launch(task("d2", "sleep 1000", container=container(busybox)))
    running = await w.master.until("d2", "TASK_RUNNING")
    [inspected] = decoded(running["data"])
    found = of_task(dockerd, w, "d2")[0]
    assert inspected["Id"] == found.id
    assert inspected["Name"] == f"/mesos-{running['container_status']['container_id']['value']}"
    [info] = running["container_status"]["network_infos"]
    assert info["ip_addresses"] == [{"protocol": "IPv4", "ip_address": found.attrs["NetworkSettings"]["IPAddress"]}]


async def test_a_published_port_answers_with_what_the_sandbox_holds(docker_world, busybox):
    w = await docker_world()
    port = free_port()
    w.launch(
        task(
            "d3",
            "echo $GREETING > $MESOS_SANDBOX/index.html; exec httpd -f -p 80 -h $MESOS_SANDBOX",
            env={"GREETING": "good day"},
            container=container(busybox, ports=[(port, 80)]),
        )
    )
    await w.master.until("d3", "TASK_RUNNING")

    def answer():
        return requests.get(f"http://127.0.0.1:{port}/", timeout=30).text

    assert await eventually_async(lambda: asyncio.to_thread(answer)) == "good day\n"
    assert (w.sandbox("d3") / "index.html").read_text() == "good day\n"


async def test_a_kill_waits_the_grace_period_and_ends_with_137(docker_world, dockerd, busybox):
    w = await docker_world(docker_stop_timeout=600)
    w.launch(
        task("d4", "trap '' TERM; while true; do sleep 0.1; done", container=container(busybox)),
        framework_info=framework("TASK_KILLING_STATE"),
    )
    await w.master.until("d4", "TASK_RUNNING")
    loop = asyncio.get_running_loop()
    asked = loop.time()
    w.agent.kill("fw", "d4", grace(0.7))
    ended = await w.master.until("d4", "TASK_KILLED")
    assert loop.time() - asked >= 0.7
    assert ended["message"] == "Container exited with status 137"
    assert w.master.states("d4") == ["TASK_STARTING", "TASK_RUNNING", "TASK_KILLING", "TASK_KILLED"]


async def test_a_missing_image_fails_the_launch_with_dockers_words(docker_world, busybox):
    w = await docker_world()
    image = f"127.0.0.1:{free_port()}/thing"  # a registry that is not there
    w.launch(task("d5", container=container(image)))
    ended = await w.master.until_ended("d5")
    assert (ended["state"], ended["reason"]) == ("TASK_FAILED", "REASON_CONTAINER_LAUNCH_FAILED")
    assert f"Failed to pull image '{image}'" in ended["message"]
    assert w.master.states("d5") == ["TASK_FAILED"]


async def test_a_container_that_takes_too_much_memory_is_told_so(docker_world, busybox):
    w = await docker_world()
    w.launch(task("d6", "x=a; while true; do x=$x$x; done", mem=32, container=container(busybox)))
    ended = await w.master.until_ended("d6")
    assert (ended["state"], ended["reason"]) == ("TASK_FAILED", "REASON_CONTAINER_LIMITATION_MEMORY")
    assert "Memory limit exceeded: Requested: 32MB" in ended["message"]
    assert ended["limitation"]["resources"][0]["name"] == "mem"


async def test_containers_outlive_a_restart_of_the_agent(docker_world, dockerd, busybox):
    w = await docker_world()
    script = "i=0; while true; do i=$((i+1)); echo line $i; sleep 0.02; done"
    w.launch(task("on", script, container=container(busybox)), task("off", "sleep 1000", container=container(busybox)))
    await w.master.until("on", "TASK_RUNNING")
    await w.master.until("off", "TASK_RUNNING")
    await eventually_async(lambda: "line 20\n" in w.output("on"))

    async def meanwhile():
        await asyncio.to_thread(of_task(dockerd, w, "off")[0].kill, "KILL")

    await w.restart(meanwhile)
    adopted = {t["task_id"]["value"]: t["state"] for t in w.master.registered[-1][1]}
    assert adopted == {"on": "TASK_RUNNING", "off": "TASK_RUNNING"}
    assert w.master.registered[0][0] == w.master.registered[1][0], "the agent keeps its id"
    assert (await w.master.until_ended("off"))["message"] == "Container exited with status 137"
    lines = len(w.output("on").splitlines())
    await eventually_async(lambda: len(w.output("on").splitlines()) > lines + 10)
    assert w.output("on").splitlines()[: lines + 10] == [f"line {n}" for n in range(1, lines + 11)], (
        "no line lost, none twice"
    )
    w.agent.kill("fw", "on", grace(0))
    assert (await w.master.until_ended("on"))["state"] == "TASK_KILLED"


async def test_a_container_that_nobody_knows_is_removed_at_the_start(docker_world, dockerd, busybox):
    w = await docker_world()
    labels = {"dromos.mesos.agent": w.agent.id, "dromos.mesos.container": "unknown", "dromos.mesos.task": "stray"}
    dockerd.client.containers.run(busybox, ["sleep", "1000"], detach=True, labels=labels)
    await w.restart()
    await eventually_async(lambda: of_task(dockerd, w, "stray") == [])


async def test_a_container_that_somebody_removes_fails(docker_world, dockerd, busybox):
    w = await docker_world()
    w.launch(task("d7", "sleep 1000", container=container(busybox)))
    await w.master.until("d7", "TASK_RUNNING")
    of_task(dockerd, w, "d7")[0].remove(force=True)
    ended = await w.master.until_ended("d7")
    assert ended["state"] == "TASK_FAILED"


async def test_destroy_leaves_no_container(docker_world, dockerd, busybox):
    w = await docker_world()
    w.launch(
        task("d8", "trap '' TERM; sleep 1000", container=container(busybox)),
        task("d9", "sleep 1000", container=container(busybox)),
    )
    await w.master.until("d8", "TASK_RUNNING")
    await w.agent.destroy()
    assert of_task(dockerd, w, "d8") == [] == of_task(dockerd, w, "d9")


async def test_a_port_that_is_taken_fails_the_task_and_leaves_no_container(docker_world, dockerd, busybox):
    w = await docker_world()
    port = free_port()
    w.launch(task("first", "sleep 1000", container=container(busybox, ports=[(port, 80)])))
    await w.master.until("first", "TASK_RUNNING")
    w.launch(task("second", "sleep 1000", container=container(busybox, ports=[(port, 80)])))
    ended = await w.master.until_ended("second")
    assert (ended["state"], ended["reason"]) == ("TASK_FAILED", "REASON_CONTAINER_LAUNCH_FAILED")
    assert str(port) in ended["message"]
    assert of_task(dockerd, w, "second") == []


async def test_parameters_volumes_and_privilege_reach_the_container(docker_world, dockerd, busybox, tmp_path):
    w = await docker_world()
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "note").write_text("from the host\n")
    named = f"dromos-test-{free_port()}"
    volumes = [
        {"container_path": "/shared", "host_path": str(tmp_path / "shared"), "mode": "RO"},
        {"container_path": "data", "host_path": "kept", "mode": "RW"},
        {
            "container_path": "/named",
            "mode": "RW",
            "source": {"type": "DOCKER_VOLUME", "docker_volume": {"name": named}},
        },
    ]
    parameters = {
        "hostname": "box",
        "label": "color=red",
        "env": "MORE=yes",
        "ulimit": "nofile=64:64",
        "cap-add": "NET_ADMIN",
        "workdir": "/tmp",
    }
    script = (
        "cat /shared/note; touch /shared/x; echo kept > $MESOS_SANDBOX/data/file; echo n > /named/n;"
        "hostname; echo $MORE; ulimit -n; pwd; sleep 1000"
    )
    try:
        w.launch(task("d10", script, container=container(busybox, volumes=volumes, parameters=parameters)))
        await w.master.until("d10", "TASK_RUNNING")
        await eventually_async(lambda: "/tmp" in w.output("d10"))
        assert w.output("d10").splitlines() == ["from the host", "box", "yes", "64", "/tmp"]
        await eventually_async(lambda: "Read-only file system" in w.output("d10", "stderr"))
        assert (w.sandbox("d10") / "kept" / "file").read_text() == "kept\n"
        attributes = of_task(dockerd, w, "d10")[0].attrs
        assert attributes["Config"]["Labels"]["color"] == "red"
        assert attributes["HostConfig"]["CapAdd"] == ["NET_ADMIN"]
        assert attributes["HostConfig"]["CpuShares"] == 102
        assert attributes["HostConfig"]["Memory"] == 64 * 1024 * 1024
    finally:
        await w.agent.destroy()
        with contextlib.suppress(Exception):
            dockerd.client.volumes.get(named).remove()


@pytest.mark.parametrize(("network", "words"), [("HOST", "127.0.0.1"), ("NONE", "127.0.0.1")])
async def test_host_and_none_networks(docker_world, dockerd, busybox, network, words):
    w = await docker_world()
    w.launch(task("net", "sleep 1000", container=container(busybox, network)))
    running = await w.master.until("net", "TASK_RUNNING")
    assert of_task(dockerd, w, "net")[0].attrs["HostConfig"]["NetworkMode"] == network.lower()
    assert running["container_status"]["network_infos"] == [
        {"ip_addresses": [{"protocol": "IPv4", "ip_address": words}]}
    ]


async def test_a_user_network_gives_name_address_and_aliases(docker_world, dockerd, busybox):
    w = await docker_world()
    network = dockerd.client.networks.create(f"dromos-{free_port()}")
    try:
        info = {
            **container(busybox, "USER", parameters={"network-alias": "other-name"}),
            "network_infos": [{"name": network.name}],
        }
        w.launch(task("u", "sleep 1000", container=info))
        running = await w.master.until("u", "TASK_RUNNING")
        attached = of_task(dockerd, w, "u")[0].attrs["NetworkSettings"]["Networks"][network.name]
        assert "other-name" in attached["Aliases"]
        [told] = running["container_status"]["network_infos"]
        assert told == {
            "name": network.name,
            "ip_addresses": [{"protocol": "IPv4", "ip_address": attached["IPAddress"]}],
        }
        w.launch(task("lost", "true", container={**info, "network_infos": [{"name": "no-such-network"}]}))
        ended = await w.master.until_ended("lost")
        assert "no-such-network" in ended["message"]
    finally:
        await w.agent.destroy()
        network.remove()


async def test_an_agent_without_docker_says_so_in_the_task(world, tmp_path):
    w = await world(docker_url=f"unix://{tmp_path}/none.sock")
    w.launch(task("d", "true", container=container("any")), task("p", "true"))
    ended = await w.master.until_ended("d")
    assert ended["message"].startswith(
        f"Failed to launch container: Docker does not answer at unix://{tmp_path}/none.sock"
    )
    assert (await w.master.until_ended("p"))["state"] == "TASK_FINISHED"


async def test_statistics_come_from_the_containers_cgroup(docker_world, busybox):
    w = await docker_world()
    w.launch(task("busy", "while true; do :; done", cpus=0.5, mem=48, container=container(busybox)))
    await w.master.until("busy", "TASK_RUNNING")
    statistics = await eventually_async(
        lambda: next(
            (u["statistics"] for u in w.agent.usage() if u["statistics"].get("cpus_user_time_secs", 0) > 0.1), None
        )
    )
    assert statistics["mem_limit_bytes"] == 48 * 1024 * 1024
    assert statistics["cpus_limit"] == 0.5
    assert statistics["mem_rss_bytes"] > 0


async def version_of(w, task_id):
    await w.master.until_ended(task_id)
    return w.output(task_id).strip()


async def test_an_image_is_pulled_when_it_is_missing_or_when_that_is_forced(docker_world, dockerd):
    w = await docker_world()
    async with docker_registry() as registry:
        image = f"{registry.address}/app:1"
        registry.images["app:1"] = "first"
        try:
            w.launch(task("missing", "echo $VERSION", container=container(image)))
            assert await version_of(w, "missing") == "first"
            pulls = len(registry.pulls)
            registry.images["app:1"] = "second"
            w.launch(task("cached", "echo $VERSION", container=container(image)))
            assert await version_of(w, "cached") == "first"
            assert len(registry.pulls) == pulls
            w.launch(task("forced", "echo $VERSION", container=container(image, force_pull_image=True)))
            assert await version_of(w, "forced") == "second"
            w.launch(task("unknown", "true", container=container(f"{registry.address}/app:none")))
            assert "manifest" in (await w.master.until_ended("unknown"))["message"]
        finally:
            await asyncio.to_thread(dockerd.client.images.remove, image, force=True)


async def test_the_password_of_a_registry_comes_with_the_tasks_files(docker_world, dockerd, tmp_path):
    """As Mesos takes it: a .docker/config.json among the fetched files."""
    w = await docker_world()
    async with docker_registry(password="secret") as registry:
        registry.images["app:1"] = "private"
        image = f"{registry.address}/app:1"
        login = base64.b64encode(b"user:secret").decode()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.address: {"auth": login}}}))
        uris = [{"value": str(tmp_path / "config.json"), "output_file": ".docker/config.json"}]
        try:
            w.launch(task("without", "echo $VERSION", container=container(image)))
            assert (await w.master.until_ended("without"))["reason"] == "REASON_CONTAINER_LAUNCH_FAILED"
            w.launch(task("with", {"value": "echo $VERSION"}, uris=uris, container=container(image)))
            assert await version_of(w, "with") == "private"
        finally:
            await asyncio.to_thread(dockerd.client.images.remove, image, force=True)


async def test_the_end_of_docker_itself_is_survived(world):
    """Its containers end with it; the agent hears so when it is back, and goes on."""
    directory = Path(tempfile.mkdtemp(prefix="dromos-d-"))
    try:
        w = await world(docker_url=await asyncio.to_thread(daemon.start, directory))
        await asyncio.to_thread(import_busybox, f"unix://{directory}/docker.sock")
        w.launch(task("t", "sleep 1000", container=container("busy:1")))
        await w.master.until("t", "TASK_RUNNING")
        os.kill(int((directory / "dockerd.pid").read_text()), signal.SIGKILL)
        await eventually_async(lambda: not daemon.answers(f"unix://{directory}/docker.sock"))
        w.launch(task("meanwhile", "true", container=container("busy:1")))
        assert "Docker does not answer" in (await w.master.until_ended("meanwhile"))["message"]
        assert w.master.states("t")[-1] == "TASK_RUNNING", "nothing is known of it, so nothing is told"
        await asyncio.to_thread(daemon.start, directory)
        assert (await w.master.until_ended("t"))["state"] == "TASK_FAILED"
        await asyncio.to_thread(import_busybox, f"unix://{directory}/docker.sock")
        w.launch(task("after", "true", container=container("busy:1")))
        await w.master.until("after", "TASK_FINISHED")
        await w.agent.destroy()
    finally:
        await asyncio.to_thread(daemon.stop, directory)
        with contextlib.suppress(OSError):
            directory.rmdir()


def import_busybox(url):
    client = docker.DockerClient(base_url=url, version="auto")
    client.api.import_image_from_data(root_filesystem(), repository="busy", tag="1", changes=["ENV PATH=/bin"])
    client.close()
