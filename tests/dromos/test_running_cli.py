"""The commands against a running framework, whose tasks are processes."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
import requests

from dromos.api import Api
from dromos.commands import go
from dromos.rollouts import RolloutName
from dromos.sandbox import find_place, tasks_of
from dromos.waiting import Started, Waiting
from tests.support.cli import Done, dromos
from tests.support.framework import Framework, running_framework
from tests.support.mesos import running_embedded_mesos
from tests.support.waiting import eventually

Cli = Callable[..., Done]
SMALL = {"cpus": 0.01, "mem": 16}
SLEEP = {"cmd": "sleep 1000", **SMALL}

pytestmark = pytest.mark.xdist_group("dromos-cli")


@pytest.fixture(scope="module")
def framework(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Framework]:
    directory: Path = tmp_path_factory.mktemp("cli")
    with (
        running_embedded_mesos(directory / "mesos", agents=1, allocation_interval=0.1) as mesos,
        running_framework(directory / "framework", mesos.address) as one,
    ):
        yield one


@pytest.fixture(scope="module")
def cli(framework: Framework) -> Cli:
    def run(*args: str, code: int = 0, stdin: str = "") -> Done:
        done = dromos(framework.url, *args, stdin=stdin)
        assert done.code == code, f"dromos {' '.join(args)} -> {done.code}\n{done.out}{done.err}"
        return done

    return run


@pytest.fixture(autouse=True)
def nothing_is_left(framework: Framework) -> Iterator[None]:
    """A test has the framework for itself, also the second time that it runs, and however the one before has ended."""
    yield
    group = framework.get("/v2/groups")
    if group["apps"] or group["pods"] or group["groups"]:
        framework.change("DELETE", "/v2/groups?force=true")
    framework.settled(60)


def test_a_folder_of_json_and_yaml_is_deployed_and_followed_to_its_end(cli: Cli, framework: Framework, tmp_path: Path):
    (tmp_path / "web.json").write_text(json.dumps({"id": "/folder/web", "instances": 2, **SLEEP}))
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "two.yaml").write_text(
        """
# two in one file
id: /folder/cache
cmd: sleep 1000
cpus: 0.01
mem: 16
env: {SINCE: 2024-01-01}
---
id: /folder/pair
containers:
  - name: one
    exec: {command: {shell: sleep 1000}}
    resources: {cpus: 0.01, mem: 16}
"""
    )
    done = cli("deploy", str(tmp_path), "--wait", "--timeout", "60s")
    assert "/folder/web 2/2" in done.out and "/folder/pair 1/1" in done.out
    assert framework.app("/folder/cache")["env"] == {"SINCE": "2024-01-01"}, "a date is the text that it is"
    assert cli("diff", str(tmp_path), "--exit-code").out.count("no change") == 3
    again = cli("deploy", str(tmp_path), "--wait", "--timeout", "60s")
    assert "/folder/web" in again.out, "what is as it should be is no failure"
    removed = cli("--json", "destroy", "/folder/pair", "/folder/web", "--wait").json
    assert [item["id"] for item in removed] == ["/folder/pair", "/folder/web"]
    cli("destroy", "--group", "/folder", "--wait")
    assert framework.request("GET", "/v2/groups/folder").status_code == 404


def test_the_difference_is_shown_before_anything_is_changed(cli: Cli, framework: Framework, tmp_path: Path):
    app = {"id": "/shown", "env": {"COLOUR": "red", "OLD": "1"}, "portDefinitions": [{"port": 0}], **SLEEP}
    cli("deploy", "-", "--wait", stdin=json.dumps(app))
    before = framework.app("/shown")["version"]
    file = tmp_path / "shown.json"
    file.write_text(json.dumps({**app, "cmd": "sleep 2000", "env": {"COLOUR": "blue", "NEW": "1"}}))

    text = cli("diff", str(file)).out
    assert text.splitlines() == [
        "/shown  changed; 1 instance replaced",
        '  ~ /cmd  "sleep 1000" → "sleep 2000"',
        '  ~ /env/COLOUR  "red" → "blue"',
        '  + /env/NEW  "1"',
        '  - /env/OLD  "1"',
    ]
    assert cli("deploy", str(file), "--dry-run").out == text
    assert cli("deploy", str(file), "--confirm", code=130, stdin="").out.startswith("/shown  changed")
    cli("deploy", str(file), "--confirm", stdin="n\n")
    assert cli("diff", str(file), "--exit-code", code=1).out == text
    found = cli("--json", "diff", str(file)).json
    assert (
        found[0]["change"] == "changed"
        and {"path": "/env/OLD", "before": "1", "after": None} in found[0]["differences"]
    )
    assert framework.app("/shown")["version"] == before, "nothing of this has changed anything"

    file.write_text(json.dumps({**app, "instances": 3}))
    assert cli("diff", str(file)).out.splitlines()[0] == "/shown  scaled from 1 to 3; none is restarted"
    file.write_text(json.dumps({**app, "cpus": -1, "mem": "much"}))
    wrong = cli("diff", str(file), code=1).err
    assert wrong.startswith("error: /shown: ") and "/mem" in wrong and wrong.count("\n") == 1
    file.write_text(json.dumps({"id": "/shown-new", "apps": [{"id": "one", "instances": 2, **SLEEP}]}))
    assert cli("diff", str(file)).out == "/shown-new/one  created with 2 instances\n"
    cli("destroy", "/shown")


def test_a_groups_difference_names_what_would_be_destroyed(cli: Cli):
    group = {"id": "/gone", "apps": [{"id": "a", "instances": 0, **SLEEP}, {"id": "b", "instances": 0, **SLEEP}]}
    cli("deploy", "-", "--wait", stdin=json.dumps(group))
    del group["apps"][1]
    assert cli("diff", "-", stdin=json.dumps(group)).out.splitlines() == [
        "/gone/a  no change",
        "/gone/b  destroyed, and 0 instances with it",
    ]
    cli("deploy", "-", "--wait", stdin=json.dumps(group))
    assert [app["id"] for app in cli("--json", "apps").json if app["id"].startswith("/gone")] == ["/gone/a"]
    cli("destroy", "--group", "/gone")


def test_a_version_is_brought_back(cli: Cli, framework: Framework):
    for cmd in ("sleep 1001", "sleep 1002", "sleep 1003"):
        cli("deploy", "-", "--wait", stdin=json.dumps({"id": "/back", **SLEEP, "cmd": cmd, "instances": 0}))
    kept = cli("--json", "versions", "/back").json
    assert [version["current"] for version in kept] == [True, False, False]
    oldest = kept[-1]["version"]
    assert '"sleep 1003" → "sleep 1001"' in cli("rollback", "/back", oldest, "--dry-run").out
    cli("rollback", "/back", oldest, "--wait")
    assert framework.app("/back")["cmd"] == "sleep 1001"
    cli("rollback", "back", "--wait")
    assert framework.app("/back")["cmd"] == "sleep 1003", "the one before the current"
    assert "does not exist in version" in cli("rollback", "/back", "2020-01-01T00:00:00.000Z", code=1).err
    assert "no app, pod or group is called /nope" in cli("rollback", "/nope", code=1).err
    cli("destroy", "/back")


def test_a_version_that_waits_for_its_go_is_sent_on_or_back(cli: Cli, framework: Framework):
    labels = {"DROMOS_DEPLOY_STRATEGY": "canary", "DROMOS_DEPLOY_SHARE": "25%,50%"}

    def deployed(colour: str) -> str:
        app = {"id": "/tried", "instances": 4, "labels": labels, "env": {"COLOUR": colour}, **SLEEP}
        return cli("deploy", "-", "--wait", "--timeout", "60s", stdin=json.dumps(app)).out

    assert "/tried deployed" in deployed("red")
    refused = cli("go", "tried", code=1)
    assert "no deployment waits for the go of tried" in refused.err and refused.err.count("\n") == 1
    assert "/tried waits for its go (canary, share 1 of 2: 25 %); `dromos go " in deployed("blue")
    assert "waits for its go" in cli("deployments").out
    [running] = framework.deployments()
    shell = click.Context(go)
    shell.params = {"api_url": framework.url}
    for typed, offered in (("", {running["id"], "/tried"}), ("/t", {"/tried"}), ("tr", {"tried"})):
        # A shell waits for two seconds, and then knows nothing.
        eventually(lambda: {item.value for item in RolloutName().shell_complete(shell, go.params[0], typed)} == offered)  # noqa: B023
    assert "share 2 of 2: 50 %" in cli("go", "tried", "--wait").out
    assert "/tried rolled back" in cli("rollback", "/tried", "--wait", "--timeout", "60s").out
    assert framework.app("/tried")["env"] == {"COLOUR": "red"}
    deployed("green")
    [running] = framework.deployments()
    for _ in range(2):
        sent = cli("--json", "go", running["id"], "--wait").json
    assert (sent["deploymentId"], sent["apps"]) == (running["id"], ["/tried"])
    assert not framework.deployments() and framework.app("/tried")["env"] == {"COLOUR": "green"}
    cli("destroy", "/tried", "--wait")


def test_scale_and_restart_are_followed(cli: Cli, framework: Framework):
    labels = {"DROMOS_AUTOSCALE_TARGET": "20"}
    cli("deploy", "-", "--wait", stdin=json.dumps({"id": "/moves", **SLEEP, "labels": labels}))
    first = framework.tasks("/moves")[0]["id"]
    done = cli("--json", "scale", "/moves", "2", "--wait")
    assert done.json["apps"] == ["/moves"] and "/moves 2/2" in done.err
    assert done.err.startswith("/moves is autoscaled by its labels: the autoscaler goes on from 2")
    cli("restart", "/moves", "--wait")
    assert first not in {task["id"] for task in framework.tasks("/moves")}
    assert len(cli("--json", "tasks", "/moves").json) == 2
    assert "does not exist" in cli("scale", "/nope", "1", code=1).err
    cli("destroy", "/moves", "--wait")


def test_a_deployment_that_cannot_end_is_exit_code_4_and_says_why(cli: Cli):
    huge = json.dumps({"id": "/huge", "cmd": "true", "cpus": 1000, "mem": 16})
    why = "offers refused: with too few CPUs, it needs 1000 (InsufficientCpus)"

    def given_up() -> Done | None:
        done = cli("deploy", "-", "--wait", "--timeout", "2s", code=4, stdin=huge)
        if why not in done.err:  # no offer has come in these seconds
            cli("destroy", "/huge", "--wait")
            return None
        return done

    done = eventually(given_up, timeout=60)
    assert "s and goes on" in done.err
    assert why in cli("queue").out
    waiting = cli("--json", "queue", "/huge").json
    assert len(waiting) == 1 and why in waiting[0]["why"]
    locked = cli("deploy", "-", code=1, stdin=huge.replace("1000", "1")).err
    assert "App is locked by one or more deployments. --force takes their place. (" in locked
    assert cli("--json", "deployments").json[0]["affectedApps"] == ["/huge"]
    cli("destroy", "/huge", "--wait")


def test_a_task_that_fails_is_told_while_one_waits(cli: Cli, framework: Framework):
    class HeardItError(Exception):
        pass

    def say(line: str) -> None:
        if line == "  /dies on 127.0.0.1: TASK_FAILED, Command exited with status 3":
            raise HeardItError

    never = [{"protocol": "TCP", "portIndex": 0}]
    app = {"id": "/dies", "cmd": "exit 3", **SMALL, "portDefinitions": [{"port": 0}], "healthChecks": never}
    started = cli("--json", "deploy", "-", stdin=json.dumps(app)).json
    waiting = Waiting(Api(framework.url), Started(started["deploymentId"], apps=("/dies",)), timeout=60, say=say)
    with pytest.raises(HeardItError):
        waiting.until_done()
    app["cmd"] = "echo hello; echo oh no >&2; exit 4"
    done = cli("deploy", "-", "--force", "--wait", "--timeout", "1s", code=4, stdin=json.dumps(app))
    assert "last failure TASK_FAILED: Command exited with status" in done.err

    def of_the_one_that_failed() -> Done | None:
        try:
            found = cli("logs", "/dies")
        except AssertionError:  # between two tasks there is a moment in which one is there and has no sandbox yet
            return None
        return found if "oh no" in found.out and "exited with status 4" in found.err else None

    told = eventually(of_the_one_that_failed, timeout=30)
    assert re.fullmatch(r"\w{8} stdout hello\n\w{8} stderr oh no\n", told.out), told
    assert told.err.startswith("nothing of /dies runs; ") and told.err.count("\n") == 1
    cli("destroy", "/dies", "--wait")


def test_a_deployment_that_is_called_off_is_exit_code_4(cli: Cli, framework: Framework):
    cli("deploy", "-", "--wait", stdin=json.dumps({"id": "/off", **SLEEP, "instances": 0}))
    results: list[Done] = []
    change = json.dumps({"id": "/off", **SLEEP, "cpus": 1000, "instances": 1})
    thread = threading.Thread(
        target=lambda: results.append(cli("deploy", "-", "--wait", "--timeout", "60s", code=4, stdin=change))
    )
    # One at a time may stand in for sys.argv: the other side is told over HTTP.
    thread.start()
    try:
        deployment = eventually(framework.deployments, timeout=30)[0]["id"]
        framework.change("DELETE", f"/v2/deployments/{deployment}")
    finally:
        thread.join(70)
    assert "cancelled or rolled back" in results[0].err
    cli("destroy", "/off")


def test_a_deployment_whose_place_one_with_more_instances_takes_is_followed_on(
    cli: Cli, framework: Framework, tmp_path: Path
):
    """As the autoscaler's, which does not wait for a deployment when it wants more."""
    cli("deploy", "-", "--wait", stdin=json.dumps({"id": "/grows", **SLEEP}))
    go = tmp_path / "go"
    serve = f"while ! test -e {go}; do sleep 0.1; done; exec busybox httpd -f -p 127.0.0.1:$PORT0"
    check = {"protocol": "TCP", "portIndex": 0, "intervalSeconds": 1, "gracePeriodSeconds": 300}
    change = {"id": "/grows", **SMALL, "cmd": serve, "portDefinitions": [{"port": 0}], "healthChecks": [check]}
    results: list[Done] = []
    thread = threading.Thread(
        target=lambda: results.append(cli("deploy", "-", "--wait", "--timeout", "120s", stdin=json.dumps(change)))
    )
    thread.start()
    try:
        first = eventually(framework.deployments, timeout=60)[0]["id"]
        framework.change("PUT", "/v2/apps/grows?force=true", {"instances": 2})
        second = eventually(lambda: [d["id"] for d in framework.deployments() if d["id"] != first], timeout=60)[0]
    finally:
        go.touch()
        thread.join(130)
    assert framework.app("/grows")["tasksHealthy"] == 2
    told = (results[0].out + results[0].err).splitlines()
    assert f"deployment {first} goes on as {second}, with another number of instances" in told
    assert "/grows 2/2" in told and "/grows deployed" in told


def test_logs_of_several_tasks_and_both_streams(cli: Cli, framework: Framework):
    cmd = 'echo "I am ☃ $MESOS_TASK_ID"; echo oops >&2; printf unfinished; sleep 1000'
    cli("deploy", "-", "--wait", stdin=json.dumps({"id": "/speaks", "cmd": cmd, "instances": 2, **SMALL}))
    tasks = [task["id"] for task in framework.tasks("/speaks")]
    text = eventually(
        lambda: found if (found := cli("logs", "/speaks").out).count("unfinished") == 2 else "", timeout=30
    )
    for task in tasks:
        short = task.split(".instance-")[1].split("-")[0]
        assert f"{short} I am ☃ {task}" in text
    assert cli("logs", tasks[0]).out == f"I am ☃ {tasks[0]}\nunfinished\n", "one task needs no name before its lines"
    assert cli("logs", tasks[0].split(".instance-")[1].split("-")[0], "--stderr").out == "oops\n"
    both = [json.loads(line) for line in cli("--json", "logs", "/speaks", "--both").out.splitlines()]
    assert {(line["task"], line["stream"]) for line in both} == {(t, s) for t in tasks for s in ("stdout", "stderr")}
    assert cli("logs", tasks[0], "-n", "1").out == "unfinished\n"
    assert cli("logs", tasks[0], "-n", "0").out == ""
    assert "no app, pod or running task is called nobody" in cli("logs", "nobody", code=1).err
    cli("destroy", "/speaks")


def test_logs_of_what_could_not_even_be_launched_say_why(cli: Cli):
    image = {"type": "DOCKER", "docker": {"image": "127.0.0.1:1/none:1"}}
    cli("deploy", "-", stdin=json.dumps({"id": "/no-image", "container": image, "instances": 1, **SMALL}))

    def told() -> Done | None:
        try:
            found = cli("logs", "/no-image")
        except AssertionError:  # none has failed yet
            return None
        return found if found.err else None  # or the next one is being launched

    done = eventually(told, timeout=60)
    assert done.err.startswith("nothing of /no-image runs; ") and "(TASK_FAILED: " in done.err and done.out == ""
    cli("destroy", "/no-image")


def test_logs_of_a_pods_containers(cli: Cli):
    pod = {
        "id": "/pod-speaks",
        "containers": [
            {"name": name, "exec": {"command": {"shell": f"echo from {name}; sleep 1000"}}, "resources": SMALL}
            for name in ("left", "right")
        ],
    }
    cli("deploy", "-", "--wait", stdin=json.dumps(pod))
    text = eventually(lambda: found if (found := cli("logs", "/pod-speaks").out).count("from") == 2 else "", timeout=30)
    assert {line.split(".", 1)[1] for line in text.splitlines()} == {"left from left", "right from right"}
    cli("destroy", "/pod-speaks", "--wait")


def test_a_command_runs_beside_a_task_and_gives_its_output_and_its_end(cli: Cli, framework: Framework):
    app = {"id": "/inside", "cmd": "echo kept > file; sleep 1000", "env": {"COLOUR": "blue"}, **SMALL}
    cli("deploy", "-", "--wait", stdin=json.dumps(app))
    task = framework.tasks("/inside")[0]["id"]
    eventually(lambda: dromos(framework.url, "exec", "/inside", "cat", "file").out == "kept\n", timeout=30)
    done = cli("exec", task, "--", "sh", "-c", 'echo "$COLOUR $MARATHON_APP_ID"; echo wrong >&2; exit 7', code=7)
    assert (done.out, done.err) == ("blue /inside\n", "wrong\n")
    found = cli("--json", "exec", "/inside", "sh", "-c", "echo -n one; kill -9 $$", code=137).json
    assert found == {"task": task, "exitCode": 137, "stdout": "one", "stderr": ""}
    big = cli("exec", "/inside", "sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x").out
    assert len(big) == 300000
    assert "no-such-program" in cli("exec", "/inside", "no-such-program", code=127).err
    assert "no app, pod or running task" in cli("exec", "/nobody", "true", code=1).err
    cli("destroy", "/inside")


def test_what_is_wrong_with_a_session_is_said_before_it_begins(cli: Cli, framework: Framework):
    cli("deploy", "-", "--wait", stdin=json.dumps({"id": "/refuses", **SLEEP}))
    api = Api(framework.url)
    place = find_place(api, *tasks_of(api, "/refuses")[0])
    assert place is not None
    kind = "LAUNCH_NESTED_CONTAINER_SESSION"

    def refused(container_id: object, call: str = kind, **more: object) -> int:
        content = {"container_id": container_id, **more}
        return requests.post(
            f"{place.agent_url}/api/v1", json={"type": call, call.lower(): content}, timeout=30
        ).status_code

    true, parent = {"value": "true"}, place.container
    assert refused({"value": "s", "parent": {"value": "nobody"}}, command=true) == 400
    assert refused({"value": "s"}, command=true) == 400, "no parent"
    assert refused(None, command=true) == 400
    for name in ("../../x", "", "a b", "x" * 101, 7):
        assert refused({"value": name, "parent": parent}, command=true) == 400
    for command in (
        None,
        {},
        {"value": 3},
        {"value": "sh", "shell": False, "arguments": [1]},
        {"value": "x", "arguments": 1},
    ):
        assert refused({"value": "s", "parent": parent}, command=command) == 400
    for window in ({}, {"rows": 1}, {"rows": -1, "columns": 1}, {"rows": 1, "columns": "x"}, 7):
        container = {"tty_info": {"window_size": window}}
        assert refused({"value": "s", "parent": parent}, command=true, container=container) == 400
    assert refused({"value": "never", "parent": parent}, "WAIT_NESTED_CONTAINER") == 404
    assert refused({"value": "once", "parent": parent}, command=true) == 200
    assert refused({"value": "once", "parent": parent}, command=true) == 400, "it exists already"
    cli("destroy", "/refuses")


def test_a_shell_completes_commands_options_and_the_ids_of_apps(cli: Cli, framework: Framework):
    cli("deploy", "-", stdin=json.dumps([{"id": f"/done/{name}", **SLEEP, "instances": 0} for name in ("one", "two")]))
    script = """
        source <(dromos completion bash)
        for words in "dromos roll" "dromos scale /done/t" "dromos scale done/t" "dromos deploy --dr"; do
            COMP_WORDS=($words); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=()
            _dromos_completion dromos; echo "${COMPREPLY[@]}"
        done"""
    env = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "DROMOS_API_URL": framework.url}

    def completed() -> bool:
        done = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, timeout=240)
        assert done.stdout.splitlines() == ["rollback", "/done/two", "done/two", "--dry-run"], done.stderr
        return True

    eventually(completed, timeout=60)  # it waits for the API for two seconds, and then completes nothing
    for shell, word in (("zsh", "compdef"), ("fish", "complete --no-files --command dromos")):
        assert word in cli("completion", shell).out
    cli("destroy", "--group", "/done")
