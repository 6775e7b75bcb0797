"""What the UI asks beyond Marathon's API: agents, sandboxes, services, the autoscaler's journal, the daemons."""

import pytest
import requests

from tests.support.platform import Platform
from tests.support.ui_apps import SCRIPT
from tests.support.waiting import eventually

pytestmark = pytest.mark.xdist_group("ui")


def get(dromos: Platform, url: str, /, **params: str) -> requests.Response:
    return requests.get(dromos.api_url + url, params=params, timeout=60)


def test_agents_tell_their_resources_and_attributes(dromos: Platform) -> None:
    agents = dromos.get("/v2/agents")["agents"]
    assert len(agents) == 2
    assert all(agent["active"] and agent["drain"] is None and agent["resources"]["cpus"] == 8 for agent in agents)
    assert sum(agent["used"]["mem"] for agent in agents) >= 128
    assert {task["slaveId"] for task in dromos.tasks("/shop/web")} <= {agent["id"] for agent in agents}


def test_only_known_agents_are_drained(dromos: Platform) -> None:
    answer = requests.post(f"{dromos.api_url}/v2/agents/nobody/drain", timeout=60)
    assert (answer.status_code, answer.json()["message"]) == (404, "Agent 'nobody' does not exist")
    agent = dromos.get("/v2/agents")["agents"][0]["id"]
    refused = requests.delete(f"{dromos.api_url}/v2/agents/{agent}/drain", timeout=30)
    assert refused.status_code == 409 and "not deactivated" in refused.json()["message"]


def test_a_sandbox_is_listed_read_and_downloaded(dromos: Platform) -> None:
    task = dromos.tasks("/shop/web")[0]["id"]
    files = {entry["path"]: entry for entry in get(dromos, f"/v2/tasks/{task}/files").json()["files"]}
    assert files["www"]["directory"] and not files["stdout"]["directory"] and files["stdout"]["size"] > 0
    inner = get(dromos, f"/v2/tasks/{task}/files", path="www").json()["files"]
    assert [(entry["path"], entry["name"]) for entry in inner] == [("www/index.html", "index.html")]
    assert get(dromos, f"/v2/tasks/{task}/files/read", path="www/index.html").json() == {"data": "hello\n", "offset": 0}
    assert get(dromos, f"/v2/tasks/{task}/files/read", path="www/index.html", offset="-1").json()["offset"] == 6
    whole = get(dromos, f"/v2/tasks/{task}/files/download", path="www/index.html")
    assert whole.content == b"hello\n" and whole.headers["Content-Type"] == "application/octet-stream"
    assert whole.headers["Content-Disposition"] == 'attachment; filename="index.html"'


@pytest.mark.parametrize("path", ["../../../etc/passwd", "/etc/passwd", "www/../../../x", "a\0b"])
def test_nothing_outside_a_sandbox_is_read(dromos: Platform, path: str) -> None:
    task = dromos.tasks("/shop/web")[0]["id"]
    for kind in ("files", "files/read", "files/download"):
        assert get(dromos, f"/v2/tasks/{task}/{kind}", path=path).status_code == 400


def test_what_is_not_there_is_404(dromos: Platform) -> None:
    task = dromos.tasks("/shop/web")[0]["id"]
    assert "no file 'none'" in get(dromos, f"/v2/tasks/{task}/files/read", path="none").json()["message"]
    assert get(dromos, "/v2/tasks/shop_web.instance-x._app.1/files").status_code == 404
    assert get(dromos, "/v2/services/none").status_code == 404


def test_the_output_of_a_failed_task_is_still_readable(dromos: Platform) -> None:
    failure = eventually(lambda: dromos.get("/v2/apps/broken?embed=app.lastTaskFailure")["app"]["lastTaskFailure"], 60)
    answer = get(
        dromos, f"/v2/tasks/{failure['taskId']}/files/read", path="stderr", offset="0", agent=failure["slaveId"]
    )
    assert "no luck" in answer.json()["data"]


def test_a_hostile_file_name_is_only_a_name(dromos: Platform) -> None:
    task = dromos.tasks("/hostile")[0]["id"]
    name = SCRIPT.replace("/", "")
    # It runs before its command has made the file.
    eventually(lambda: name in [entry["name"] for entry in get(dromos, f"/v2/tasks/{task}/files").json()["files"]], 60)
    answer = get(dromos, f"/v2/tasks/{task}/files/download", path=name)
    assert answer.status_code == 200 and "sandbox" in answer.headers["Content-Security-Policy"]
    assert "<" not in answer.headers["Content-Disposition"]


def test_services_are_what_consul_and_the_edge_have(dromos: Platform) -> None:
    def web() -> dict[str, object]:
        body = dromos.get("/v2/services")
        assert body["problems"] == {}
        one = next(service for service in body["services"] if service["app"] == "/shop/web")
        assert one["endpoints"] == 2 and one["critical"] == 0
        return one  # type: ignore[no-any-return]

    one = eventually(web, 60)
    assert one["routes"] == [{"hosts": ["web.localhost"], "path": "/"}]
    eventually(lambda: dromos.edge("web.localhost").status_code == 200, 60)
    eventually(lambda: web()["traffic"]["requests"]["2xx"] >= 1 and web()["traffic"]["buckets"]["+Inf"] >= 1, 60)  # type: ignore[index]
    instances = dromos.get(f"/v2/services/{one['name']}")["instances"]
    assert {instance["meta"]["dromos-app"] for instance in instances} == {"/shop/web"} and len(instances) == 2


def test_the_autoscalers_journal_and_the_daemons(dromos: Platform) -> None:
    journal = eventually(lambda: dromos.get("/v2/autoscale/journal?app=/shop/web&most=5")["journal"], 60)
    assert {entry["app"] for entry in journal} == {"/shop/web"} and journal[0]["reason"]
    daemons = {daemon["name"] for daemon in dromos.get("/v2/daemons")["daemons"]}
    assert daemons == {"framework", "mesos", "consul", "registrator", "edge", "autoscale"}
    eventually(lambda: all(daemon["healthy"] for daemon in dromos.get("/v2/daemons")["daemons"]), 60)


def test_everybody_may_do_everything_where_there_are_no_accounts(dromos: Platform) -> None:
    me = dromos.get("/v2/me")
    assert (me["name"], me["signedIn"], me["readOnly"]) == ("anonymous", False, False)
    assert {"verb": "admin", "path": "/"} in me["permissions"]
