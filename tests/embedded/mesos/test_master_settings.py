"""`dromos mesos` as an operator meets it: mistakes are one line, defaults are the machine's, and it stops when told to."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from embedded.mesos.daemon import embedded_mesos as embedded_mesos_in_process
from embedded.mesos.settings import MesosSettings
from tests.support.mesos import MesosFactory
from tests.support.processes import finished
from tests.support.scheduler import CallError, framework_info, scheduling
from tests.support.waiting import eventually_async


def run(tmp_path: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "embedded.mesos.daemon", "--state-dir", str(tmp_path / "state"), *flags]
    return finished(command)


@pytest.mark.parametrize(
    ("flags", "told", "code"),
    [
        (["--resources", "cpus:many"], "resources: 'cpus:many': 'many' is not a number", 2),
        (["--resources", "ports:[9-1]"], "begin > end", 2),
        (["--attributes", "rack"], "attributes: 'rack' is not NAME:VALUE", 2),
        (["--agents", "-1"], "flag --agents", 2),
        (["--agents", "many"], "flag --agents", 2),
        (["--allocation-interval", "0"], "flag --allocation-interval", 2),
        (["--port", "99999"], "flag --port", 2),
    ],
)
def test_a_mistake_is_one_line_that_names_it(tmp_path: Path, flags: list[str], told: str, code: int):
    done = run(tmp_path, "--simulate", *flags)

    assert done.returncode == code
    assert told in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_taken_port_is_one_line_that_names_it(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(tmp_path, "--simulate", "--port", str(port))

    assert done.returncode == 1
    assert f"error: the embedded Mesos cannot listen on 127.0.0.1:{port}" in done.stderr


def test_a_state_directory_that_cannot_be_made_is_one_line(tmp_path: Path):
    (tmp_path / "state").write_text("a file")
    done = run(tmp_path, "--simulate")

    assert done.returncode == 1
    assert f"error: the state directory {tmp_path}/state cannot be made" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


async def test_without_resources_an_agent_has_the_machines(embedded_mesos: MesosFactory):
    mesos = embedded_mesos(simulate=True, resources="")
    (agent,) = mesos.get("/slaves")["slaves"]

    assert agent["resources"]["cpus"] == os.cpu_count()
    assert 0 < agent["resources"]["mem"] < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
    assert agent["resources"]["ports"] == "[31000-32000]"


async def test_hostnames_and_attributes_may_hold_the_agents_number(embedded_mesos: MesosFactory):
    mesos = embedded_mesos(simulate=True, agents=2, hostname="box-{n}", attributes="rack:r{n};disks:4")
    agents = mesos.get("/slaves")["slaves"]

    assert {(agent["hostname"], agent["attributes"]["rack"]) for agent in agents} == {("box-1", "r1"), ("box-2", "r2")}


async def test_it_stops_at_sigterm_while_schedulers_are_subscribed(embedded_mesos: MesosFactory):
    mesos = embedded_mesos(simulate=True)
    async with scheduling(mesos.url, failover_timeout=60.0) as scheduler:
        mesos.process.send_signal(signal.SIGTERM)
        await scheduler.until_closed()

        assert mesos.process.wait(timeout=30) == 0


async def test_it_can_live_inside_another_event_loop(tmp_path: Path):
    settings = MesosSettings(port=0, agents=2, simulate=True, state_dir=tmp_path, resources="cpus:1;mem:64")
    async with embedded_mesos_in_process(settings) as mesos:
        async with scheduling(mesos.url) as scheduler:
            assert len(await scheduler.offers(2)) == 2
    with pytest.raises(aiohttp.ClientConnectionError):
        async with scheduling(mesos.url):
            pass


async def test_heartbeats_come_at_the_interval_that_subscribed_tells(embedded_mesos: MesosFactory):
    """The first at once; by themselves they would come each 15 s."""
    mesos = embedded_mesos(simulate=True, heartbeat_interval=0.2)
    start = time.monotonic()
    async with scheduling(mesos.url) as scheduler:
        beats = [await scheduler.next("HEARTBEAT") for _ in range(4)]

        assert scheduler.subscribed["heartbeat_interval_seconds"] == 0.2
        assert all(beat["at"] - start > number * 0.19 for number, beat in enumerate(beats))
        assert beats[-1]["at"] - start < 40


async def test_a_scheduler_that_does_not_read_is_cut_off(embedded_mesos: MesosFactory):
    mesos = embedded_mesos(simulate=True, agents=200, stream_buffer_bytes=100_000, allocation_interval=0.1)
    host, port = mesos.host, mesos.port
    with socket.create_connection((host, port)) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        body = orjson.dumps(
            {"type": "SUBSCRIBE", "subscribe": {"framework_info": framework_info(name="deaf", failover_timeout=60.0)}}
        )
        head = f"POST /api/v1/scheduler HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        deaf.sendall(head.encode() + b"\r\n\r\n" + body)

        def cut_off() -> bool:
            frameworks = {f["name"]: f for f in mesos.get("/frameworks")["frameworks"]}
            return "deaf" in frameworks and not frameworks["deaf"]["connected"]

        await eventually_async(cut_off)


async def test_a_body_that_is_too_large_is_refused(embedded_mesos: MesosFactory):
    mesos = embedded_mesos(simulate=True, max_body_bytes=2048)
    async with scheduling(mesos.url) as scheduler:
        with pytest.raises(CallError) as refused:
            await scheduler.call("RECONCILE", reconcile={"tasks": [{"task_id": {"value": "x" * 4096}}]})

        assert refused.value.status == 413


async def test_prometheus_reads_its_metrics(embedded_mesos: MesosFactory):
    mesos = embedded_mesos(simulate=True, agents=3)
    async with aiohttp.ClientSession() as session, session.get(mesos.url + "/metrics") as response:
        families = {family.name: family for family in text_string_to_metric_families(await response.text())}

    assert families["mesos_master_slaves_active"].samples[0].value == 3.0
    assert families["mesos_master_elected"].samples[0].value == 1.0


async def test_version_has_an_endpoint_of_its_own(embedded_mesos: MesosFactory):
    assert embedded_mesos(simulate=True).get("/version")["version"] == "1.11.0"
