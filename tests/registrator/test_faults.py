"""Consul or a source away, hanging, refusing, restarting; and a long churn with all of that, after which all is as it ought to be."""

import json
import random
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.consul import ConsulServer, OwnConsul, running_real_consul, two_real_servers
from tests.support.marathon import Marathon
from tests.support.proxy import Faults, Proxy
from tests.support.registrator import Registrator, running_registrator
from tests.support.waiting import eventually

Start = Callable[..., Registrator]


@pytest.fixture
def marathon() -> Iterator[Marathon]:
    with Marathon().serving() as api:
        yield api


@pytest.fixture
def proxy(real_consul: ConsulServer) -> Iterator[Proxy]:
    with Proxy(real_consul.host, real_consul.port).running() as one:
        yield one


def ours(consul: ConsulServer) -> dict[str, dict[str, object]]:
    """The agent's services that have our mark."""
    found = consul.http.get("agent/services").json()
    return {id: service for id, service in found.items() if service["Meta"].get("dromos-owner") == "dromos"}


@pytest.mark.parametrize(
    "faults", [Faults(refuse=True), Faults(hang=True), Faults(status=500), Faults(status=429), Faults(status=503)]
)
def test_while_consul_is_away_nothing_is_lost_and_all_of_it_is_there_when_it_is_back(
    faults: Faults, proxy, marathon, real_consul, registrator: Start
) -> None:
    marathon.put_app("/web")
    first = marathon.put_task("/web", ports=[31001])
    daemon = registrator(sources=["framework"], marathon=[marathon.url], consul=proxy.url, timeout=1, verify=1)
    eventually(lambda: len(ours(real_consul)) == 1)

    proxy.set(faults)
    marathon.drop_task("/web", first)
    marathon.announce("status_update_event", taskId=first, taskStatus="TASK_KILLED")
    marathon.put_task("/web", ports=[31002])
    marathon.announce("status_update_event")
    eventually(lambda: "Consul" in daemon.health().json()["parts"]["consul"]["why"])
    assert daemon.health().status_code == 503

    proxy.set()
    eventually(lambda: [service["Port"] for service in ours(real_consul).values()] == [31002])
    eventually(lambda: daemon.health().status_code == 200)


def test_a_consul_that_lost_its_services_gets_them_again(
    own_real_consul: OwnConsul, marathon, registrator: Start
) -> None:
    marathon.put_app("/web")
    marathon.put_task("/web", ports=[31001])
    registrator(sources=["framework"], marathon=[marathon.url], consul=own_real_consul.url, verify=0.5)
    id = next(iter(eventually(lambda: ours(own_real_consul))))
    own_real_consul.deregister(id)
    eventually(lambda: ours(own_real_consul))


def test_a_consul_that_is_killed_and_started_again_needs_no_writes(
    own_real_consul: OwnConsul, marathon, registrator: Start
) -> None:
    marathon.put_app("/web")
    marathon.put_task("/web", ports=[31001])
    daemon = registrator(sources=["framework"], marathon=[marathon.url], consul=own_real_consul.url, verify=0.5)
    eventually(lambda: ours(own_real_consul) and daemon.writes() == 1)
    own_real_consul.kill()
    eventually(lambda: daemon.health().status_code == 503)
    own_real_consul.start()
    eventually(lambda: daemon.health().status_code == 200)
    assert daemon.writes() == 1
    assert ours(own_real_consul)


def test_a_registrator_that_is_killed_takes_nothing_away_and_comes_back_without_a_write(
    marathon, real_consul, registrator: Start, tmp_path
) -> None:
    marathon.put_app("/web")
    kept, gone = (marathon.put_task("/web", ports=[port]) for port in (31001, 31002))
    settings = {"sources": ["framework"], "marathon": [marathon.url], "consul": real_consul.url}
    with running_registrator(tmp_path, **settings):
        eventually(lambda: len(ours(real_consul)) == 2)
    assert len(ours(real_consul)) == 2

    marathon.drop_task("/web", gone)
    daemon = registrator(**settings)
    eventually(lambda: [service["Meta"]["dromos-task"] for service in ours(real_consul).values()] == [kept])
    eventually(lambda: daemon.writes() == 1)


def test_while_consul_has_no_leader_nothing_is_lost_and_all_of_it_is_in_the_catalog_when_one_is_elected(
    marathon, registrator: Start, tmp_path
) -> None:
    marathon.put_app("/web")
    kept, gone = (marathon.put_task("/web", ports=[port]) for port in (31001, 31002))
    with two_real_servers(tmp_path) as (consul, second):
        daemon = registrator(
            sources=["framework"], marathon=[marathon.url], consul=consul.url, tcp_check_interval=0, verify=1, timeout=2
        )

        def catalog() -> set[str]:
            found = consul.http.get("catalog/service/web", stale="").json()
            return {service["ServiceMeta"]["dromos-task"] for service in found}

        eventually(lambda: catalog() == {kept, gone}, 60)
        eventually(lambda: daemon.writes() >= 2)
        writes = daemon.writes()
        second.kill()
        eventually(lambda: consul.http.get("catalog/nodes").status_code == 500, 60, what="no leader")
        marathon.drop_task("/web", gone)
        marathon.announce("status_update_event", taskId=gone, taskStatus="TASK_KILLED")
        new = marathon.put_task("/web", ports=[31003])
        marathon.announce("status_update_event", taskId=new, taskStatus="TASK_RUNNING")
        # The agent takes it all the same; the catalog cannot.
        eventually(lambda: {str(s["Meta"]["dromos-task"]) for s in ours(consul).values()} == {kept, new}, 60)
        assert catalog() == {kept, gone}
        second.start(60)
        eventually(lambda: catalog() == {kept, new}, 120)
        assert daemon.writes() - writes <= 2, "without a leader a write may be done and not answered"


def test_a_consul_that_starts_over_with_its_index_at_the_beginning_gets_all_of_it_again(
    marathon, registrator: Start, tmp_path
) -> None:
    """A dev agent keeps nothing: its services are gone, and its index is lower than any that was seen."""
    marathon.put_app("/web")
    task = marathon.put_task("/web", ports=[31001])
    with running_real_consul(tmp_path) as consul:
        for number in range(50):
            consul.put("k", str(number))
        registrator(sources=["framework"], marathon=[marathon.url], consul=consul.url, tcp_check_interval=0, verify=1)
        eventually(lambda: [s["Meta"]["dromos-task"] for s in ours(consul).values()] == [task])
        before = int(consul.http.get("catalog/services").headers["X-Consul-Index"])
        consul.kill()
        consul.start()
        eventually(lambda: [s["Meta"]["dromos-task"] for s in ours(consul).values()] == [task])
        assert int(consul.http.get("catalog/service/web").headers["X-Consul-Index"]) < before


def test_a_service_that_consul_refuses_hinders_no_other(marathon, real_consul, registrator: Start) -> None:
    # Script checks are not allowed on this agent, as they are not by default.
    marathon.put_app("/scripted", labels={"SERVICE_CHECK_SCRIPT": "true"})
    marathon.put_task("/scripted", ports=[31001])
    marathon.put_app("/web")
    marathon.put_task("/web", ports=[31002])
    daemon = registrator(sources=["framework"], marathon=[marathon.url], consul=real_consul.url)
    eventually(lambda: [service["Service"] for service in ours(real_consul).values()] == ["web"])
    (why,) = eventually(lambda: daemon.status()["refused"]).values()
    assert "Scripts are disabled" in why

    def problems() -> dict[str, str]:
        return {item["app"]: item["services"][0]["problem"] for item in daemon.status()["instances"]}

    eventually(lambda: "Scripts are disabled" in problems()["/scripted"])
    assert problems()["/web"] == ""


STEPS = 220
APPS, PER_APP = 20, 5


@pytest.mark.slow
def test_after_a_churn_with_faults_consul_equals_the_truth_at_hardly_more_than_the_fewest_writes(
    proxy, marathon, real_consul, registrator: Start
) -> None:
    """Instances come, drain, fall ill and end, while Consul and the framework are away, overloaded or empty now and then."""
    chance = random.Random(5)
    port = 20000

    def start_task(app: str) -> None:
        nonlocal port
        port += 1
        task = marathon.put_task(app, ports=[port])
        marathon.announce("status_update_event", taskId=task, taskStatus="TASK_RUNNING")

    for number in range(APPS):
        marathon.put_app(f"/app-{number}")
        for _ in range(PER_APP):
            start_task(f"/app-{number}")
    daemon = registrator(
        process=True,
        sources=["framework"],
        marathon=[marathon.url],
        consul=proxy.url,
        timeout=1,
        confirm_after=0.3,
        resync=5,
        verify=1,
        # Nobody serves at these ports, unless another test does: an instance that passes alone would have to go on serving.
        tcp_check_interval=0,
    )
    eventually(lambda: len(ours(real_consul)) == APPS * PER_APP)

    truth = marathon.apps
    faults = (
        None,
        Faults(status=429, share=0.3),
        None,
        Faults(refuse=True),
        Faults(status=503, share=0.5),
        None,
        Faults(hang=True),
    )
    for step in range(STEPS):
        if step % 20 == 0:
            proxy.set(chance.choice(faults))
            marathon.status = chance.choice((200, 200, 503))
            marathon.apps = chance.choice((truth, truth, {}))
        app = chance.choice(sorted(truth))
        # The steps are made on the truth, whatever is shown at the moment.
        shown, marathon.apps = marathon.apps, truth
        task = chance.choice(truth[app]["tasks"])["id"]
        if chance.random() < 0.5:
            marathon.put_task(app, task, draining=True)
            marathon.announce("instance_draining_event", taskId=task)
        else:
            marathon.drop_task(app, task)
            start_task(app)
            if chance.random() < 0.8:  # an event may be lost
                marathon.announce("status_update_event", taskId=task, taskStatus="TASK_KILLED")
        marathon.apps = shown
        time.sleep(0.05)
    proxy.set()
    marathon.apps, marathon.status = truth, 200
    marathon.announce("status_update_event")

    wanted = {task["id"]: bool(task.get("draining")) for app in truth.values() for task in app["tasks"]}

    def settled() -> bool:
        there = {str(service["Meta"]["dromos-task"]): id for id, service in ours(real_consul).items()}
        maintained = {
            check["ServiceID"]
            for check in real_consul.http.get("agent/checks").json().values()
            if check["CheckID"].startswith("_service_maintenance:")
        }
        # One that drained before it was ever registered is not to be.
        return {
            task for task, drains in wanted.items() if not drains
        } <= there.keys() <= wanted.keys() and maintained == {id for task, id in there.items() if wanted[task]}

    eventually(settled, 60, what="Consul equals the truth")
    eventually(lambda: daemon.health().status_code == 200)
    steps = [
        (line["event"], line["id"]) for line in map(json.loads, daemon.log.read_text().splitlines()) if "id" in line
    ]
    fewest = len({step for step in steps if step[0] in ("registered", "changed", "drains", "removed")})
    assert fewest > 2 * APPS * PER_APP
    assert daemon.writes() <= 1.2 * fewest
    eventually(lambda: daemon.metric("dromos_registrator_services") == len(ours(real_consul)))
