"""The real Consul that the other tests stand on: it can be had, runs on loopback alone, and is the version we claim to match."""

import multiprocessing
import subprocess
from pathlib import Path

import pytest

from tests.real_consul.install import VERSION, debian_mirror, real_consul_program
from tests.support.consul import ConsulServer, OwnConsul
from tests.support.waiting import eventually


def test_the_real_consul_is_the_version_that_the_embedded_one_matches(real_consul: ConsulServer) -> None:
    assert real_consul.http.get("agent/self").json()["Config"]["Version"] == VERSION


def test_a_test_leaves_no_services_keys_or_sessions_to_the_next(any_consul: ConsulServer) -> None:
    any_consul.register("web", "web-1", port=80, status="passing")
    any_consul.http.put("agent/check/register", {"Name": "free", "TTL": "1h"})
    any_consul.http.put("catalog/register", {"Node": "other", "Address": "127.0.0.2", "Service": {"Service": "far"}})
    any_consul.put("some/key", "value")
    any_consul.http.put("session/create", {})

    any_consul.empty()

    assert any_consul.http.get("catalog/services").json() == {"consul": []}
    assert [node["Node"] for node in any_consul.http.get("catalog/nodes").json()] == ["test-node"]
    assert any_consul.http.get("agent/checks").json() == {}
    assert any_consul.http.get("session/list").json() == []
    assert any_consul.value("some/key") is None


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_consul_of_the_tests_own_comes_back_with_its_data(own_any_consul: OwnConsul, end: str) -> None:
    own_any_consul.put("kept", "value")
    own_any_consul.register("web", port=80, status="critical")
    own_any_consul.set_status("web", "passing")  # an initial status is not kept, one that was reported is

    getattr(own_any_consul, end)()
    with pytest.raises(OSError):
        own_any_consul.http.get("status/leader")
    own_any_consul.start()

    assert own_any_consul.value("kept") == b"value"
    # The agent of the real one may have been killed before it told the catalog.
    eventually(lambda: [found["Service"]["Port"] for found in own_any_consul.healthy("web")] == [80])


def test_it_listens_on_loopback_alone(own_real_consul: OwnConsul) -> None:
    sockets = subprocess.run(["ss", "-Hltunp"], capture_output=True, text=True, check=True).stdout.splitlines()
    its_own = [line.split()[4] for line in sockets if f"pid={own_real_consul.pid}," in line]
    assert {address.rpartition(":")[0] for address in its_own} == {"127.0.0.1"}


def test_test_processes_that_need_it_at_the_same_time_bring_it_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        programs = pool.map(real_consul_program, [tmp_path] * 3)
    assert len(set(programs)) == 1
    assert len({path.stat().st_ino for path in programs}) == 1
    assert sorted(path.name for path in programs[0].parent.iterdir()) == ["consul", "lock"]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("sources.list", "deb http://mirror.test/debian bookworm main\n"),
        ("sources.list", "# old\ndeb [arch=amd64 signed-by=/k.gpg] http://mirror.test/debian bookworm main contrib\n"),
        ("sources.list.d/debian.sources", "Types: deb\nURIs: http://mirror.test/debian\nSuites: bookworm\n"),
    ],
)
def test_the_machines_own_mirror_is_used(tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "chrome.list").write_text("deb https://dl.google.test/linux/chrome stable main\n")
    (tmp_path / file).write_text(text)
    assert debian_mirror(tmp_path) == "http://mirror.test/debian"
