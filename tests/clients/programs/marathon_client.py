"""The life of an app by way of the PyPI client `marathon`: run by that client's own Python, with the API's address as argument."""

import collections
import collections.abc
import json
import sys
import time

collections.Iterable = collections.abc.Iterable  # the client is older than Python 3.10

from marathon import MarathonClient  # noqa: E402
from marathon.exceptions import ConflictError, MarathonHttpError, NotFoundError  # noqa: E402
from marathon.models import MarathonApp, MarathonGroup, MarathonHealthCheck  # noqa: E402

client = MarathonClient(sys.argv[1])


def wait(condition, what, timeout=60):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def settled():
    wait(lambda: not client.list_deployments(), "no deployment runs")


assert client.ping() == b'"pong"'
assert client.get_info().framework_id
assert "leader" in client.get_leader()
assert "gauges" in client.get_metrics()

# create
app = MarathonApp(
    cmd="python3 -m http.server $PORT0",
    cpus=0.1,
    mem=32,
    instances=1,
    labels={"tier": "web"},
    health_checks=[MarathonHealthCheck(protocol="HTTP", path="/", interval_seconds=1, grace_period_seconds=30)],
)
created = client.create_app("/clients/web", app)
assert created.id == "/clients/web" and created.deployments[0].id
try:
    client.create_app("/clients/web", app)
    raise AssertionError("created twice")
except ConflictError as error:
    assert "already exists" in str(error)
settled()
found = client.get_app("/clients/web", embed_tasks=True)
assert found.tasks_running == 1 and found.tasks_healthy == 1
task = found.tasks[0]
assert task.state == "TASK_RUNNING" and task.started_at and len(task.ports) == 1
assert task.health_check_results[0].alive
assert [a.id for a in client.list_apps(label="tier==web")] == ["/clients/web"]
assert client.list_apps(embed_tasks=True)[0].tasks
assert client.list_tasks("/clients/web")[0].id == task.id
assert client.list_endpoints()[0].task_id == task.id

# scale, by number and by difference
assert client.scale_app("/clients/web", 3)["deploymentId"]
settled()
client.scale_app("/clients/web", delta=-1)
settled()
assert client.get_app("/clients/web").tasks_running == 2

# update, with and without nulls and empty collections
change = MarathonApp(env={"A": "b"})
assert client.update_app("/clients/web", change)["version"]
settled()
whole = client.get_app("/clients/web")
assert whole.env == {"A": "b"}
versions = client.list_versions("/clients/web")
assert len(versions) >= 2
assert client.get_version("/clients/web", versions[-1]).env in ({}, None)
client.rollback_app("/clients/web", versions[-1])
settled()
assert not client.get_app("/clients/web").env
client.scale_app("/clients/web", 3)  # the first version wanted one
settled()
client.restart_app("/clients/web", force=True)
settled()

# kill, and scale by it
tasks = client.list_tasks("/clients/web")
killed = client.kill_task("/clients/web", tasks[0].id, scale=True)
settled()
wait(lambda: len(client.list_tasks("/clients/web")) == len(tasks) - 1, "one task less")
assert client.kill_given_tasks([client.list_tasks("/clients/web")[0].id])

# failure
checks = [MarathonHealthCheck(protocol="HTTP", path="/")]  # without one, to have run at all would be enough
client.create_app("/clients/bad", MarathonApp(cmd="exit 3", cpus=0.1, mem=32, backoff_seconds=60, health_checks=checks))
wait(lambda: client.get_app("/clients/bad").last_task_failure, "a failure is shown")
failure = client.get_app("/clients/bad").last_task_failure
assert failure.state == "TASK_FAILED" and "3" in failure.message
# Its model of the queue does not know `role`, which Marathon has shown there since 1.9; so the queue is read plainly.
# The instance that was killed above may still be waiting there, too.
waiting = client._do_request("GET", "/v2/queue").json()["queue"]
[queued] = [item for item in waiting if item["app"]["id"] == "/clients/bad"]
assert queued["delay"]["timeLeftSeconds"] > 0 and not queued["delay"]["overdue"]
client.reset_delay("/clients/bad")
[deployment] = client.list_deployments()
assert deployment.affected_apps == ["/clients/bad"] and deployment.steps
assert client.delete_deployment(deployment.id, force=True) == {}
settled()
for refused in (MarathonApp(cmd="x", args=["y"]), MarathonApp(cmd="x", cpus=-1)):
    try:
        client.create_app("/clients/refused", refused)
        raise AssertionError("an invalid app was created")
    except MarathonHttpError as error:
        assert error.status_code == 422, error

# groups
client.create_group(
    MarathonGroup(id="/clients-group", apps=[MarathonApp(id="/clients-group/a", cmd="sleep 100", mem=32, cpus=0.1)])
)
settled()
assert [a.id for a in client.get_group("/clients-group").apps] == ["/clients-group/a"]
client.scale_group("/clients-group", 2)
settled()
assert client.get_app("/clients-group/a").instances == 2
client.delete_group("/clients-group", force=True)
settled()

# events; a stream begins with the news of itself
stream = client.event_stream(event_types=["event_stream_attached", "deployment_info", "deployment_success"])
assert next(stream).remote_address
changed = client.update_app("/clients/web", MarathonApp(labels={"a": "b"}))
info, success = next(stream), next(stream)
assert info.event_type == "deployment_info" and info.plan.id == changed["deploymentId"]
assert info.plan.target.groups[0]["apps"][0]["labels"] == {"a": "b"} and info.plan.original.groups
assert success.event_type == "deployment_success" and success.id == changed["deploymentId"]
raw = client.event_stream(raw=True, event_types=["event_stream_attached", "status_update_event"])
assert json.loads(next(raw))["eventType"] == "event_stream_attached"
client.scale_app("/clients/web", delta=1, force=True)
while json.loads(next(raw))["appId"] != "/clients/web":  # the one that fails may fail again
    pass

settled()

# delete
for app_id in ("/clients/web", "/clients/bad"):
    assert client.delete_app(app_id)["deploymentId"]
settled()
try:
    client.get_app("/clients/web")
    raise AssertionError("it is still there")
except NotFoundError:
    print("lived and died")
