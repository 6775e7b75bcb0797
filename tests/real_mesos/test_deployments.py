"""What an operator does with apps, whole stories, on the embedded Mesos and on Apache Mesos 1.11 alike.

Master, agents and framework are shared: every story has a group of its own, and removes it.
"""

import json
import os
import signal
import subprocess
import threading
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests

from dromos.api import Api
from dromos.sandbox import find_place, tasks_of
from tests.real_mesos.conftest import PATIENCE, Cluster
from tests.support.framework import Framework
from tests.support.mesos import Mesos
from tests.support.waiting import eventually

Json = dict[str, Any]
SERVE = "echo well > index.html; exec busybox httpd -f -p 127.0.0.1:$PORT0"
SMALL = {"cpus": 0.01, "mem": 16, "backoffSeconds": 0}
CHECK = {
    "protocol": "HTTP",
    "portIndex": 0,
    "gracePeriodSeconds": 60,
    "intervalSeconds": 1,
    "maxConsecutiveFailures": 2,
}


def ids(framework: Framework, app_id: str) -> set[str]:
    return {task["id"] for task in framework.tasks(app_id)}


def healthy(framework: Framework, app_id: str) -> int:
    return int(framework.app(app_id)["tasksHealthy"])


def test_a_rolling_update_never_leaves_fewer_healthy_ones_than_it_may(framework: Framework, cluster: Cluster):
    app = {
        "id": "/rolling/web",
        "cmd": SERVE,
        "instances": 3,
        "healthChecks": [CHECK],
        "portDefinitions": [{"port": 0}],
    }
    framework.deploy({**app, **SMALL}, PATIENCE)
    old = ids(framework, "/rolling/web")
    assert healthy(framework, "/rolling/web") == 3
    change = {"env": {"VERSION": "2"}, "upgradeStrategy": {"minimumHealthCapacity": 0.6, "maximumOverCapacity": 0.0}}
    with listening(framework) as heard:
        update = framework.change("PUT", "/v2/apps/rolling/web", change)["deploymentId"]
        seen = []
        while framework.deployments():
            now = framework.app("/rolling/web")
            seen.append((now["tasksHealthy"], now["tasksRunning"] + now["tasksStaged"]))
        eventually(lambda: "deployment_success" in heard.steps(update), timeout=PATIENCE)
    assert min(healthy for healthy, _ in seen) >= 2, seen
    assert max(all_of_them for _, all_of_them in seen) <= 3, seen
    new = ids(framework, "/rolling/web")
    assert len(new) == 3 and not new & old
    eventually(lambda: set(cluster.tasks("rolling_web")) == new, timeout=PATIENCE, what="Mesos knows the same")
    steps = heard.steps(update)
    assert steps.index("deployment_info") < steps.index("deployment_step_success") < steps.index("deployment_success")
    states = {event["taskStatus"] for event in heard.of("status_update_event")}
    assert {"TASK_RUNNING", "TASK_KILLED"} <= states
    assert {event["instanceId"] for event in heard.of("instance_changed_event")} >= {
        task.rsplit("._app", 1)[0] for task in new
    }


def test_a_failed_update_goes_back_by_itself_and_leaves_the_old_ones_alone(framework: Framework, cluster: Cluster):
    app = {
        "id": "/failing/web",
        "cmd": SERVE,
        "instances": 2,
        "healthChecks": [CHECK],
        "portDefinitions": [{"port": 0}],
    }
    framework.deploy({**app, **SMALL}, PATIENCE)
    before = ids(framework, "/failing/web")

    def failure() -> Json:
        found: Json = framework.app("/failing/web").get("lastTaskFailure") or {}
        return found

    for deadline in (8, 40):  # a slow machine may not have failed in the first time
        answer = framework.request(
            "PUT", f"/v2/apps/failing/web?deadline={deadline}&onFailure=rollback", json={"cmd": "echo no >&2; exit 9"}
        )
        assert answer.ok, answer.text
        eventually(lambda: framework.app("/failing/web")["cmd"] == SERVE, timeout=PATIENCE, what="the roll-back")
        framework.settled(PATIENCE)
        if failure():
            break
    assert failure()["state"] == "TASK_FAILED"
    assert "exited with status 9" in failure()["message"]
    assert ids(framework, "/failing/web") == before
    eventually(lambda: set(cluster.tasks("failing_web")) == before, timeout=PATIENCE)


def test_a_deployment_that_is_cancelled_goes_back_and_one_that_is_stopped_stays(framework: Framework):
    app = {"id": "/cancelled/web", "cmd": "sleep 1000", "instances": 2, **SMALL}
    framework.deploy(app, PATIENCE)
    before = ids(framework, "/cancelled/web")
    framework.change("PUT", "/v2/apps/cancelled/web", {"cpus": 100})
    assert framework.request("PUT", "/v2/apps/cancelled/web", json={"instances": 1}).status_code == 409
    framework.change("DELETE", f"/v2/deployments/{framework.deployments()[0]['id']}")
    framework.settled(PATIENCE)
    assert framework.app("/cancelled/web")["cpus"] == 0.01 and ids(framework, "/cancelled/web") == before
    framework.change("PUT", "/v2/apps/cancelled/web", {"instances": 50, "cpus": 1})
    framework.request("DELETE", f"/v2/deployments/{framework.deployments()[0]['id']}?force=true")
    framework.settled(PATIENCE)
    assert framework.app("/cancelled/web")["instances"] == 50, "stopped where it was"


def test_killed_ones_come_back_or_are_scaled_away_or_wiped(framework: Framework, cluster: Cluster):
    framework.deploy({"id": "/killed/web", "cmd": "sleep 1000", "instances": 3, **SMALL}, PATIENCE)
    first, second, third = sorted(ids(framework, "/killed/web"))
    framework.change("DELETE", f"/v2/apps/killed/web/tasks/{first}")
    eventually(lambda: len(now := ids(framework, "/killed/web")) == 3 and first not in now, timeout=PATIENCE)
    framework.change("DELETE", f"/v2/apps/killed/web/tasks/{second}?scale=true")
    framework.settled(PATIENCE)
    assert framework.app("/killed/web")["instances"] == 2 and second not in ids(framework, "/killed/web")
    wiped = framework.change("POST", "/v2/tasks/delete?wipe=true", {"ids": [third]})
    assert [task["id"] for task in wiped["tasks"]] == [third]
    eventually(lambda: len(now := ids(framework, "/killed/web")) == 2 and third not in now, timeout=PATIENCE)
    both = framework.request("POST", "/v2/tasks/delete?wipe=true&scale=true", json={"ids": [first]})
    assert both.status_code == 400
    eventually(lambda: set(cluster.tasks("killed_web")) == ids(framework, "/killed/web"), timeout=PATIENCE)


def test_a_group_starts_what_others_depend_on_first_and_scales_and_goes_as_one(framework: Framework, cluster: Cluster):
    group = {
        "id": "/chain",
        "apps": [
            {"id": "web", "cmd": "sleep 1000", "dependencies": ["/chain/db/main"], **SMALL},
            {"id": "front", "cmd": "sleep 1000", "dependencies": ["web"], **SMALL},
        ],
        "groups": [{"id": "db", "apps": [{"id": "main", "cmd": SERVE, "healthChecks": [CHECK], **SMALL}]}],
    }
    steps = framework.change("PUT", "/v2/groups?dryRun=true", group)["steps"]
    assert [action["app"] for step in steps[1:] for action in step["actions"]] == [
        "/chain/db/main",
        "/chain/web",
        "/chain/front",
    ]
    framework.change("POST", "/v2/groups", group)
    framework.settled(PATIENCE)
    tasks = {app_id: framework.tasks(app_id)[0] for app_id in ("/chain/db/main", "/chain/web", "/chain/front")}
    assert tasks["/chain/db/main"]["startedAt"] <= tasks["/chain/web"]["stagedAt"]
    assert tasks["/chain/web"]["startedAt"] <= tasks["/chain/front"]["stagedAt"], "in whole milliseconds"
    framework.change("PUT", "/v2/groups/chain", {"scaleBy": 2})
    framework.settled(PATIENCE)
    assert len(cluster.tasks("chain_")) == 6
    version = framework.get("/v2/groups/chain/versions")[-1]
    framework.change("PUT", "/v2/groups/chain", {"version": version})
    framework.settled(PATIENCE)
    eventually(lambda: len(cluster.tasks("chain_")) == 3, timeout=PATIENCE)
    framework.change("DELETE", "/v2/groups/chain")
    framework.settled(PATIENCE)
    eventually(lambda: not cluster.tasks("chain_"), timeout=PATIENCE)
    assert framework.request("GET", "/v2/groups/chain").status_code == 404


def test_a_sick_instance_is_killed_and_replaced_and_its_neighbour_is_not(framework: Framework):
    # The one whose sandbox loses its page is sick.
    cmd = f"echo well > page; {SERVE}"
    check = {**CHECK, "path": "/page", "maxConsecutiveFailures": 2}
    app = {"id": "/sick/web", "cmd": cmd, "instances": 2, "healthChecks": [check], "portDefinitions": [{"port": 0}]}
    framework.deploy({**app, **SMALL}, PATIENCE)
    sick, well = framework.tasks("/sick/web")
    with listening(framework) as heard:
        sandbox_of(framework, sick["id"], "rm page")
        eventually(lambda: sick["id"] not in ids(framework, "/sick/web"), timeout=PATIENCE)
        eventually(lambda: healthy(framework, "/sick/web") == 2, timeout=PATIENCE)
        eventually(lambda: heard.of("unhealthy_instance_kill_event"), timeout=PATIENCE)
    assert well["id"] in ids(framework, "/sick/web")
    assert [event["taskId"] for event in heard.of("unhealthy_instance_kill_event")] == [sick["id"]]
    assert heard.of("failed_health_check_event")


def test_a_framework_that_crashed_adopts_its_tasks_and_ends_the_deployment_that_it_was_in(
    framework: Framework, cluster: Cluster
):
    framework.deploy({"id": "/crash/web", "cmd": "sleep 1000", "instances": 2, **SMALL}, PATIENCE)
    kept, registered = ids(framework, "/crash/web"), framework.get("/v2/info")["frameworkId"]
    framework.change("PUT", "/v2/apps/crash/web", {"instances": 5})
    framework.kill()
    framework.start(PATIENCE)
    framework.settled(PATIENCE)
    assert framework.get("/v2/info")["frameworkId"] == registered
    now = ids(framework, "/crash/web")
    assert len(now) == 5 and kept < now
    eventually(lambda: set(cluster.tasks("crash_web")) == now, timeout=PATIENCE, what="neither orphan nor ghost")


def test_what_ran_on_a_drained_agent_runs_on_another(framework: Framework, cluster: Cluster):
    framework.deploy(
        {
            "id": "/drained/web",
            "cmd": "sleep 1000",
            "instances": 2,
            "constraints": [["hostname", "UNLIKE", "x"]],
            **SMALL,
        },
        PATIENCE,
    )
    before = cluster.tasks("drained_web")
    agent = next(iter(before.values()))
    call(
        cluster.mesos,
        "DRAIN_AGENT",
        slave_id={"value": agent},
        agent_id={"value": agent},
        max_grace_period={"nanoseconds": 0},
    )
    try:
        eventually(
            lambda: len(now := cluster.tasks("drained_web")) == 2 and agent not in now.values(), timeout=PATIENCE
        )
        eventually(lambda: set(cluster.tasks("drained_web")) == ids(framework, "/drained/web"), timeout=PATIENCE)
    finally:
        eventually(lambda: agent_state(cluster.mesos, agent) == "DRAINED", timeout=PATIENCE)
        call(cluster.mesos, "REACTIVATE_AGENT", slave_id={"value": agent}, agent_id={"value": agent})


def test_what_fits_nowhere_says_why_waits_and_takes_its_place_when_it_may(framework: Framework):
    framework.change("POST", "/v2/apps", {"id": "/waits/big", "cmd": "sleep 1000", **SMALL, "cpus": 64})

    def why() -> set[str]:
        [item] = [i for i in framework.get("/v2/queue")["queue"] if i["app"]["id"] == "/waits/big"]
        rejects = item["processedOffersSummary"]["rejectSummaryLastOffers"]
        return {reject["reason"] for reject in rejects if reject["declined"]}

    eventually(lambda: why() == {"InsufficientCpus"}, timeout=PATIENCE)
    framework.change("POST", "/v2/apps", {"id": "/waits/small", "cmd": "sleep 1000", **SMALL})
    eventually(lambda: ids(framework, "/waits/small"), timeout=PATIENCE, what="it does not wait behind the other")
    framework.change("PUT", "/v2/apps/waits/big?force=true", {"cpus": 0.01})
    framework.settled(PATIENCE)
    assert len(ids(framework, "/waits/big")) == 1


def test_what_runs_gets_its_words_and_variables_as_they_were_written(framework: Framework):
    words = ["/bin/sh", "-c", 'printf "%s|" "$@"; env; exec sleep 1000', "sh", "two words", "$HOME", "'", '"', "", "ü☃"]
    values = {"QUOTED": "a 'b' \"c\" $HOME `id`", "LINES": "one\ntwo", "EMPTY": "", "UMLAUT": "ü☃"}
    framework.deploy({"id": "/words/web", "args": words, "env": values, "labels": {"team": "blue"}, **SMALL}, PATIENCE)
    [task] = framework.tasks("/words/web")

    def written() -> str:
        text = sandbox_of(framework, task["id"], "cat stdout")
        return text if "MESOS_TASK_ID" in text and text.endswith("\n") else ""

    text = eventually(written, timeout=PATIENCE)
    assert text.startswith("two words|$HOME|'|\"||ü☃|")
    for name, value in values.items():
        assert f"{name}={value}\n" in text
    assert f"MESOS_TASK_ID={task['id']}\n" in text and "MARATHON_APP_ID=/words/web\n" in text
    assert "MARATHON_APP_LABEL_TEAM=blue\n" in text


@pytest.mark.parametrize("grace", [1, 600])
def test_a_kill_waits_as_long_as_the_app_asks_for(framework: Framework, grace: int):
    cmd = "trap 'touch heard' TERM; echo $$ > pid; while true; do sleep 0.1; done"
    app = {"id": "/grace/web", "cmd": cmd, "taskKillGracePeriodSeconds": grace, **SMALL}
    framework.deploy(app, PATIENCE)
    [task] = framework.tasks("/grace/web")
    pid = int(eventually(lambda: sandbox_of(framework, task["id"], "cat pid"), timeout=PATIENCE))
    framework.change("DELETE", f"/v2/apps/grace/web/tasks/{task['id']}?scale=true")
    if grace == 1:
        framework.settled(PATIENCE)
        return
    try:
        eventually(lambda: "heard" in sandbox_of(framework, task["id"], "ls"), timeout=PATIENCE)
        eventually(lambda: [t["id"] for t in framework.tasks("/grace/web", "TASK_KILLING")] == [task["id"]], PATIENCE)
    finally:
        os.kill(pid, signal.SIGKILL)  # it would outlive the test


# --- around it


def call(mesos: Mesos, kind: str, **content: Any) -> None:
    response = requests.post(f"{mesos.url}/api/v1", json={"type": kind, kind.lower(): content}, timeout=PATIENCE)
    assert response.ok, f"{kind}: {response.status_code} {response.text}"


def agent_state(mesos: Mesos, agent_id: str) -> str | None:
    answer = requests.post(f"{mesos.url}/api/v1", json={"type": "GET_AGENTS"}, timeout=PATIENCE).json()["get_agents"]
    [agent] = [a for a in answer["agents"] if a["agent_info"]["id"]["value"] == agent_id]
    found: str | None = (agent.get("drain_info") or {}).get("state")
    return found


def sandbox_of(framework: Framework, task_id: str, command: str) -> str:
    """Runs a command in a task's sandbox, which is a directory of this machine; what it wrote."""
    api = Api(framework.url)
    place = find_place(api, *tasks_of(api, task_id)[0])
    assert place is not None
    return subprocess.run(["sh", "-c", command], cwd=place.directory, check=True, capture_output=True, text=True).stdout


@dataclass
class Heard:
    events: list[Json] = field(default_factory=list)

    def steps(self, deployment_id: str) -> list[str]:
        """The types of what was told of a deployment. The end of the one before may still be on its way."""
        own = [e for e in self.events if deployment_id in (e.get("id"), e.get("plan", {}).get("id"))]
        return [event["eventType"] for event in own]

    def of(self, kind: str) -> list[Json]:
        return [event for event in self.events if event["eventType"] == kind]


class listening:  # noqa: N801  reads as a word
    """The event stream while the block lasts."""

    def __init__(self, framework: Framework) -> None:
        self._heard = Heard()
        self._response = requests.get(
            f"{framework.url}/v2/events", headers={"Accept": "text/event-stream"}, stream=True, timeout=PATIENCE
        )
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Heard:
        self._thread.start()
        return self._heard

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._response.raw.shutdown() if hasattr(self._response.raw, "shutdown") else self._response.close()
        self._thread.join(PATIENCE)
        self._response.close()

    _over = False

    def _listen(self) -> None:
        try:
            for line in self._response.iter_lines(chunk_size=1):
                if line.startswith(b"data:"):
                    self._heard.events.append(json.loads(line[5:]))
        except Exception:
            if not self._over:
                raise
