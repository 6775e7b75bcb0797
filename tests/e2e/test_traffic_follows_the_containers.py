"""The platform's main job, as a user sees it: an app is deployed, reached, loses an instance, is scaled, updated and destroyed."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.support.platform import kill_task
from tests.support.waiting import eventually

CLIENTS = 8  # of `under_load`
pytestmark = [pytest.mark.slow]


def test_an_app_is_reached_through_the_edge_on_all_its_instances(kind):
    platform, app_id = kind.platform, kind.id("reached")
    host = kind.host(app_id)
    platform.deploy(kind.app(app_id))
    bodies = eventually(lambda: len(found := platform.answers(host)) == 2 and found)
    assert all(body.startswith(f"hello, version 1, from {app_id[1:]}.instance-") for body in bodies)
    assert {body.split()[-1] for body in bodies} == {task["id"] for task in platform.tasks(app_id)}


def test_a_killed_process_is_replaced_and_users_hardly_notice(kind):
    platform, app_id = kind.platform, kind.id("killed")
    host = kind.host(app_id)
    platform.deploy(kind.app(app_id), "--wait")
    eventually(lambda: len(platform.answers(host)) == 2, timeout=60)
    victim = platform.tasks(app_id)[0]["id"]
    with platform.under_load(host, rate=100) as load:
        kill_task(victim)
        ids = eventually(
            lambda: len(now := [t["id"] for t in platform.tasks(app_id)]) == 2 and victim not in now and now,
            timeout=60,
        )
        eventually(lambda: {body.split()[-1] for body in platform.answers(host)} == set(ids), timeout=60)
        eventually(lambda: load.requests > 100, timeout=60)
    assert load.failed <= CLIENTS, "no more than were under way when it died"


def test_load_raises_the_number_of_instances_and_calm_lowers_it(kind):
    platform, app_id = kind.platform, kind.id("scaled")
    host = kind.host(app_id)
    # A fifth of the load would do, for a client that is not as quick as it is to be.
    bounds = {"TARGET": "4", "MIN": "2", "MAX": "6", "DOWN_AFTER": "2"}
    labels = {f"DROMOS_AUTOSCALE_{name}": value for name, value in bounds.items()}
    platform.deploy(kind.app(app_id, **labels), "--wait")
    eventually(lambda: len(platform.answers(host)) >= 2, timeout=60)  # to ask that often is a load by itself
    with platform.under_load(host, rate=120):
        eventually(lambda: platform.get(f"/v2/apps{app_id}")["app"]["instances"] >= 6, timeout=60)
        eventually(lambda: len(platform.answers(host, asked=60)) == 6, timeout=60)
    eventually(lambda: platform.get(f"/v2/apps{app_id}")["app"]["instances"] == 2, timeout=60)
    eventually(lambda: len(platform.tasks(app_id)) == 2, timeout=60)


def test_a_rolling_update_under_load_changes_the_answer_and_fails_no_request(kind):
    platform, app_id = kind.platform, kind.id("updated")
    host = kind.host(app_id)
    platform.deploy(kind.app(app_id), "--wait")
    eventually(lambda: len(platform.answers(host)) == 2, timeout=60)
    with platform.under_load(host, rate=60) as load:
        platform.deploy(kind.app(app_id, version="2"), "--wait")
        eventually(lambda: {body.split(",")[1] for body in platform.answers(host)} == {" version 2"})
    assert load.failures == []
    assert {body.split(",")[1] for body in load.bodies} == {" version 1", " version 2"}


@pytest.mark.xdist_group("e2e-embedded-command")
def test_a_blue_green_version_gets_no_request_before_its_go_and_all_of_them_after_it(embedded_kind):
    kind, platform, app_id = embedded_kind, embedded_kind.platform, embedded_kind.id("bluegreen")
    host, labels = kind.host(app_id), {"DROMOS_DEPLOY_STRATEGY": "blue-green", "DROMOS_DRAIN_SECONDS": "2"}
    platform.deploy(kind.app(app_id, **labels), "--wait")
    eventually(lambda: len(platform.answers(host)) == 2, timeout=60)

    def waits() -> bool:
        actions = [action for one in platform.get("/v2/deployments") for action in one["currentActions"]]
        return [a["rollout"]["state"] for a in actions if a.get("app") == app_id] == ["waiting for go"]

    with platform.under_load(host, rate=60) as load:
        platform.deploy(kind.app(app_id, version="2", **labels))
        eventually(waits, timeout=60, what="the new version stands beside the old one")
        assert platform.ok("tasks", app_id).count(" held ") == 2
        asked = load.requests
        platform.kill_daemon("registrator")
        eventually(lambda: load.requests > asked + 200, timeout=60)
        platform.wait_until_healthy()
        assert versions_in(load) == {"version 1"}
        platform.ok("go", app_id, "--wait")
        eventually(lambda: {body.split(",")[1] for body in platform.answers(host)} == {" version 2"}, timeout=60)

        def none_of_the_old() -> bool:
            """In a hundred answers: those that were under way before may be taken down late."""
            load.bodies.clear()
            asked = load.requests
            eventually(lambda: load.requests > asked + 100, timeout=60)
            return versions_in(load) == {"version 2"}

        eventually(none_of_the_old, timeout=60)
    assert load.failures == []


SLOW = """
import http.server, os, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        while self.path == "/slow" and not os.path.exists(sys.argv[2]):
            time.sleep(0.05)
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"done")
http.server.ThreadingHTTPServer(("", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.mark.xdist_group("e2e-embedded-command")
def test_an_instance_is_killed_as_soon_as_its_last_request_has_ended(embedded_kind, tmp_path):
    platform, app_id = embedded_kind.platform, embedded_kind.id("drains")
    host, program, go = embedded_kind.host(app_id), tmp_path / "slow.py", tmp_path / "go"
    program.write_text(SLOW)
    app = embedded_kind.app(app_id, DROMOS_DRAIN_SECONDS="600", DROMOS_DRAIN_UNTIL="idle")
    platform.deploy({**app, "cmd": f"exec python3 {program} $PORT0 {go}", "healthChecks": []}, "--wait")
    eventually(lambda: platform.edge(host).status_code == 200, timeout=60)
    status = f"http://127.0.0.1:{platform.ports['edge-status']}/metrics.json"

    def under_way() -> list[int]:
        return [
            n
            for one in requests.get(status, timeout=60).json()["services"].values()
            for n in one["under_way"].values()
            if n
        ]

    with ThreadPoolExecutor(1) as thread:
        slow = thread.submit(requests.get, f"{platform.edge_url}/slow", headers={"Host": host}, timeout=120)
        try:
            eventually(lambda: under_way() == [1])
            platform.ok("scale", app_id, "0")
            eventually(lambda: len(platform.tasks(app_id)) == 1, timeout=60, what="the other one has nothing to do")
            assert not slow.done()
        finally:
            go.touch()
        assert slow.result().text == "done"
    eventually(lambda: platform.tasks(app_id) == [], timeout=60)


def versions_in(load) -> set[str]:
    return {body.split(",")[1].strip() for body in load.bodies}


def test_destroying_an_app_removes_its_service_and_its_upstream(kind):
    platform, app_id = kind.platform, kind.id("gone")
    host = kind.host(app_id)
    platform.deploy(kind.app(app_id), "--wait")
    eventually(lambda: platform.edge(host).status_code == 200)
    platform.ok("destroy", app_id, "--wait")
    eventually(lambda: platform.edge(host).status_code == 404)
    assert platform.run("tasks", app_id).returncode == 1
