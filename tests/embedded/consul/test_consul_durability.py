"""What the embedded Consul keeps over restarts and crashes, and how it takes a disk that does not."""

import json
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import requests

from tests.support.consul import NODE, OwnConsul, running_embedded_consul, running_own_embedded_consul
from tests.support.processes import finished, free_port
from tests.support.waiting import eventually


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_everything_is_there_again_after_the_end(own_embedded_consul: OwnConsul, end: str) -> None:
    consul = own_embedded_consul
    consul.register("web", "web-1", port=80, status="passing", Tags=["v1"], Meta={"a": "b"})
    consul.set_status("web-1", "warning", "so so")
    consul.http.put("agent/check/register", {"Name": "own", "TTL": "1h", "Status": "passing"})
    far = {
        "Node": "far",
        "Address": "10.0.0.1",
        "Service": {"Service": "far"},
        "Check": {"CheckID": "c", "Status": "passing"},
    }
    consul.http.put("catalog/register", far)
    consul.put("key", bytes(range(256)))
    session = consul.http.put("session/create", {"Name": "mine", "TTL": "1h"}).json()["ID"]
    consul.http.put("kv/lock", data=b"held", acquire=session)
    paths = ["agent/services", "agent/checks", "catalog/nodes", "catalog/services", "catalog/node/far", "session/list"]
    paths += ["health/service/web", "health/node/far", f"health/node/{NODE}", "kv/?recurse"]
    before = {path: consul.http.get(path).json() for path in paths}

    getattr(consul, end)()
    consul.start()

    assert {path: consul.http.get(path).json() for path in paths} == before
    assert consul.value("key") == bytes(range(256))


def test_what_was_removed_stays_away(own_embedded_consul: OwnConsul) -> None:
    consul = own_embedded_consul
    consul.register("web", status="passing")
    consul.put("key", b"1")
    session = consul.http.put("session/create", {}).json()["ID"]
    consul.kill()
    consul.start()
    consul.deregister("web")
    consul.http.delete("kv/key")
    consul.http.put(f"session/destroy/{session}")
    consul.kill()
    consul.start()
    assert consul.http.get("agent/services").json() == {}
    assert consul.http.get("catalog/services").json() == {"consul": []}
    assert consul.value("key") is None
    assert consul.http.get("session/list").json() == []


def test_no_answered_write_is_lost_by_a_kill_in_the_middle_of_many(own_embedded_consul: OwnConsul) -> None:
    consul, answered = own_embedded_consul, []

    def write() -> None:
        session = requests.Session()
        session.trust_env = False
        for number in range(100_000):
            try:
                if session.put(f"{consul.url}/v1/kv/n/{number}", data=str(number)).json() is True:
                    answered.append(number)
            except (OSError, ValueError):
                return

    writer = threading.Thread(target=write)
    writer.start()
    eventually(lambda: len(answered) > 200)
    consul.kill()
    writer.join()
    consul.start()
    kept = {int(key.removeprefix("n/")) for key in consul.http.get("kv/n/", keys="").json()}
    assert set(answered) <= kept


def test_indexes_go_on_rising_so_that_watchers_see_the_truth(own_embedded_consul: OwnConsul) -> None:
    consul = own_embedded_consul
    consul.register("web", status="passing")
    consul.register("gone", status="passing")
    consul.deregister("gone")
    consul.put("tree/a", b"1")
    consul.http.delete("kv/tree/a")
    paths = ["catalog/nodes", "catalog/services", "health/service/web", "health/service/gone", "health/state/any"]
    paths += ["kv/tree/?recurse", "kv/absent", "session/list"]

    def indexes() -> dict[str, int]:
        return {path: int(consul.http.get(path).headers["X-Consul-Index"]) for path in paths}

    for _ in range(3):
        before = indexes()
        consul.kill()
        consul.start()
        after = indexes()
        assert all(after[path] > before[path] for path in paths), (before, after)
        # So whoever waited from before gets an answer at once.
        for path in paths:
            assert int(consul.http.get(path, index=before[path], wait="10s").headers["X-Consul-Index"]) == after[path]


def test_a_restart_lets_no_check_flap_and_the_ttls_of_checks_and_sessions_begin_again(tmp_path: Path) -> None:
    ttl = 2.0
    with running_own_embedded_consul(tmp_path, session_ttl_min="100ms") as consul:
        consul.register("long", status="critical")
        consul.set_status("long", "passing")
        consul.http.put("agent/service/register", {"Name": "ttl", "Check": {"TTL": f"{ttl}s"}})
        url = f"{consul.url}/v1/status/leader"
        consul.http.put("agent/service/register", {"Name": "http", "Check": {"HTTP": url, "Interval": "1s"}})
        eventually(lambda: len(consul.healthy("http")) == 1)

        renewed = -ttl
        while time.monotonic() - renewed >= ttl:  # else all of it has run out before
            consul.start() if consul.ended else None
            renewed = time.monotonic()
            consul.http.put("agent/check/pass/service:ttl")
            session = consul.http.put("session/create", {"TTL": f"{ttl}s", "LockDelay": "0s"}).json()["ID"]
            assert consul.http.put("kv/lock", data=b"", acquire=session).json() is True
            consul.kill()

        started = time.monotonic()
        consul.start()
        assert len(consul.healthy("long")) == len(consul.healthy("http")) == 1
        found = eventually(
            lambda: (it := consul.http.get("agent/checks").json()["service:ttl"])["Status"] == "critical" and it
        )
        assert time.monotonic() - started >= ttl
        assert found["Output"].startswith("TTL expired")
        eventually(lambda: "Session" not in consul.http.get("kv/lock").json()[0])
        assert len(consul.healthy("http")) == 1


def test_the_node_keeps_its_id(own_embedded_consul: OwnConsul) -> None:
    consul = own_embedded_consul
    before = consul.http.get("agent/self").json()["Config"]["NodeID"]
    consul.kill()
    consul.start()
    assert consul.http.get("agent/self").json()["Config"]["NodeID"] == before


def test_tokens_outlive_a_restart_and_nobody_else_can_read_them(tmp_path: Path) -> None:
    secret = "b1a1c0de-0000-4000-8000-00000000cafe"
    with running_own_embedded_consul(tmp_path, token=secret, management_token=secret) as consul:
        policy = consul.http.put("acl/policy", {"Name": "p", "Rules": 'key "k" { policy = "write" }'}).json()
        token = consul.http.put("acl/token", {"Policies": [{"ID": policy["ID"]}]}).json()
        consul.kill()
        consul.start()
        headers = {"X-Consul-Token": token["SecretID"]}
        assert requests.put(f"{consul.url}/v1/kv/k", data=b"1", headers=headers).json() is True
        assert requests.put(f"{consul.url}/v1/kv/l", data=b"1", headers=headers).status_code == 403
        assert len(consul.http.get("acl/tokens").json()) == 3
        log = consul.log.read_text()
    assert secret not in log
    files = [path for path in (tmp_path / "consul").iterdir() if path.name.startswith("consul.sqlite")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_the_first_token_may_be_got_over_the_api(tmp_path: Path) -> None:
    with running_embedded_consul(tmp_path, acl=True) as consul:
        secret = consul.http.put("acl/bootstrap").json()["SecretID"]
        assert requests.get(f"{consul.url}/v1/agent/self").status_code == 403
        assert requests.get(f"{consul.url}/v1/agent/self", headers={"X-Consul-Token": secret}).status_code == 200
        assert requests.put(f"{consul.url}/v1/acl/bootstrap").status_code == 403


# ── a disk that does not take it ─────────────────────────────────────────────────────────────────────────────────────


def limit_files(pid: int, size: int | str) -> None:
    subprocess.run(["prlimit", f"--pid={pid}", f"--fsize={size}:unlimited"], check=True)


def test_a_full_disk_refuses_writes_with_one_line_and_loses_nothing(own_embedded_consul: OwnConsul) -> None:
    consul = own_embedded_consul
    consul.put("before", b"1")
    log = Path(consul.log.parent / "consul" / "consul.sqlite-wal")
    limit_files(consul.pid, log.stat().st_size + 8192)

    refused = consul.http.put("kv/big", data=b"x" * 100_000)
    assert refused.status_code == 500
    assert refused.text.startswith("the state cannot be written to ")
    assert "\n" not in refused.text
    assert consul.value("before") == b"1", "reads go on"
    health = requests.get(f"{consul.url}/health")
    assert health.status_code == 503
    assert health.json()["parts"]["state"]["healthy"] is False

    assert [consul.http.put(f"kv/{n}", data=b"x").status_code for n in range(3)] == [500] * 3
    limit_files(consul.pid, "unlimited")
    eventually(lambda: requests.get(f"{consul.url}/health").status_code == 200)
    told = [line for line in consul.log.read_text().splitlines() if "state" in line]
    for change in ("does not work", "works again"):
        assert sum(change in line for line in told) == 1, "each change of its health is told once"
    consul.put("after", b"2")
    consul.kill()
    consul.start()
    assert (consul.value("before"), consul.value("after")) == (b"1", b"2")
    assert consul.value("big") == b"x" * 100_000, "what was taken into memory was written later"


def test_a_state_directory_has_one_user(own_embedded_consul: OwnConsul, tmp_path: Path) -> None:
    assert_refuses(["--state-dir", str(tmp_path / "consul")], "is in use by another consul", code=1)


def test_a_state_directory_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert_refuses(["--state-dir", str(tmp_path / "file" / "dir")], "cannot be used", code=1)


def test_a_file_that_is_no_state_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "consul.sqlite").write_bytes(b"this is no database, but it is long enough to be looked at" * 100)
    assert_refuses(["--state-dir", str(tmp_path)], "file is not a database", code=1)


def test_a_taken_port_is_one_line(own_embedded_consul: OwnConsul, tmp_path: Path) -> None:
    flags = ["--state-dir", str(tmp_path / "other"), "--port", str(own_embedded_consul.port)]
    assert_refuses(flags, "give another port with --port", code=1)


def test_a_setting_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    assert_refuses(["--state-dir", str(tmp_path), "--session-ttl-min", "soon"], "flag --session-ttl-min", code=2)


def assert_refuses(flags: list[str], text: str, *, code: int) -> None:
    command = [sys.executable, "-m", "embedded.consul.daemon", "--port", str(free_port()), *flags]
    ended = finished(command)
    assert (ended.returncode, ended.stdout) == (code, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: ")
    assert text in line


def test_a_row_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    import sqlite3

    with running_embedded_consul(tmp_path) as consul:
        consul.put("key", b"1")
    with sqlite3.connect(tmp_path / "consul" / "consul.sqlite") as db:
        row = db.execute("SELECT row FROM rows WHERE kind = 'keys'").fetchone()[0]
        later = json.dumps(json.loads(row) | {"colour": "blue"}).encode()
        db.execute("UPDATE rows SET row = ? WHERE kind = 'keys'", (later,))
        db.execute("INSERT INTO rows VALUES ('colours', 'blue', '{}')")
    db.close()
    with running_embedded_consul(tmp_path) as consul:
        assert consul.value("key") == b"1"


def test_stopping_does_not_wait_for_those_who_wait(tmp_path: Path) -> None:
    with running_own_embedded_consul(tmp_path, http_max_conns_per_client=1, shutdown_grace="5m") as consul:
        consul.put("key", b"1")
        index = int(consul.http.get("kv/key").headers["X-Consul-Index"])
        replies: list[int] = []
        url = f"{consul.url}/v1/kv/key?index={index}&wait=5m"
        waiting = threading.Thread(target=lambda: replies.append(requests.get(url).status_code))
        waiting.start()
        eventually(lambda: consul.http.get("status/leader").status_code == 429, what="one request is under way")
        consul.stop()  # kills what does not end
        waiting.join()
    assert replies == [200]
