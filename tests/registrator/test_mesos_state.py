"""What a Mesos master says, from either of its interfaces, and what its events make of it."""

from typing import Any

import pytest

from registrator.errors import SourceError
from registrator.model import Health, Phase, Port
from registrator.sources.mesos_state import MesosState, agent_address, app_id_of, state_of_v0

Json = dict[str, Any]
UUID = "b29f12d0-e560-11f1-a68f-02fc00000001"
TASK_ID = f"shop_web.instance-{UUID}._app.1"


def agent(id: str = "S1", address: str = "10.0.0.7") -> Json:
    return {"agent_info": {"id": {"value": id}, "hostname": "box"}, "pid": f"slave(1)@{address}:5051"}


def task(id: str = TASK_ID, state: str = "TASK_RUNNING", **fields: Any) -> Json:
    return {
        "name": "web.shop",
        "task_id": {"value": id},
        "framework_id": {"value": "F"},
        "agent_id": {"value": "S1"},
        "state": state,
        "resources": [{"name": "ports", "ranges": {"range": [{"begin": 31000, "end": 31001}]}}],
        "discovery": {"name": "/shop/web", "ports": {"ports": [{"number": 31000, "name": "http", "protocol": "tcp"}]}},
        "statuses": [status(id, state)],
        **fields,
    }


def status(id: str = TASK_ID, state: str = "TASK_RUNNING", address: str = "172.17.0.2", **fields: Any) -> Json:
    infos = [{"ip_addresses": [{"protocol": "IPv4", "ip_address": address}]}]
    return {"task_id": {"value": id}, "state": state, "container_status": {"network_infos": infos}, **fields}


def state(*tasks: Json, **more: Any) -> MesosState:
    body = {
        "get_agents": {"agents": more.pop("agents", [agent()]), "recovered_agents": more.pop("recovered", [])},
        "get_frameworks": {
            "frameworks": [{"framework_info": {"id": {"value": "F"}}, "connected": more.pop("connected", True)}]
        },
        "get_tasks": {"tasks": list(tasks), **more},
    }
    return MesosState(body, most_ended=100)


def updated(state: str, id: str = TASK_ID, **fields: Any) -> Json:
    return {"type": "TASK_UPDATED", "task_updated": {"status": status(id, state, **fields), "state": state}}


def test_a_task_is_an_instance_at_its_agent_s_address() -> None:
    found = state(task()).look().instances[TASK_ID]
    assert (found.app, found.framework, found.phase, found.health) == (
        "/shop/web",
        "F",
        Phase.RUNNING,
        Health.UNCHECKED,
    )
    assert found.ports == (
        Port(0, name="http", host_port=31000, host_address="10.0.0.7", own_port=31000, own_address="172.17.0.2"),
    )


DOCKER_BRIDGE = {"docker": {"network": "BRIDGE", "port_mappings": [{"host_port": 31000, "container_port": 80}]}}
DOCKER_USER = {"docker": {"network": "USER"}, "network_infos": [{"name": "weave"}]}
CNI = {
    "type": "MESOS",
    "network_infos": [{"name": "calico", "port_mappings": [{"host_port": 31000, "container_port": 80}]}],
}


def ports(*numbers: int) -> Json:
    return {"name": "/shop/web", "ports": {"ports": [{"number": number} for number in numbers]}}


@pytest.mark.parametrize(
    ("container", "numbers", "host_port", "own_port", "reachable"),
    [
        ({}, (31000,), 31000, 31000, False),
        ({"docker": {"network": "HOST"}}, (31000,), 31000, 31000, False),
        ({"docker": {"network": "HOST"}}, (8080,), 8080, 8080, False),
        (DOCKER_BRIDGE, (31000,), 31000, 80, False),
        (DOCKER_USER, (8080,), None, 8080, True),
        (CNI, (31000,), 31000, 80, False),
        (CNI, (8080,), None, 8080, True),
    ],
)
def test_which_ports_are_the_host_s_and_which_the_container_s_own(
    container: Json, numbers: tuple[int, ...], host_port: int | None, own_port: int, reachable: bool
) -> None:
    found = state(task(container=container, discovery=ports(*numbers))).look().instances[TASK_ID].ports[0]
    assert (found.host_port, found.own_port, found.own_reachable) == (host_port, own_port, reachable)


def test_without_declared_ports_those_it_holds_count_within_reason() -> None:
    assert [p.host_port for p in state(task(discovery={})).look().instances[TASK_ID].ports] == [31000, 31001]
    wide = [{"name": "ports", "ranges": {"range": [{"begin": 1, "end": 65535}]}}]
    assert len(state(task(discovery={}, resources=wide)).look().instances[TASK_ID].ports) == 64


@pytest.mark.parametrize(
    ("discovery", "task_id", "app"),
    [
        ("/shop/web", TASK_ID, "/shop/web"),
        ("web.shop", TASK_ID, "/shop/web"),
        ("web.shop", f"shop_web.{UUID}", "/shop/web"),
        ("web.shop", f"shop_web.marathon-{UUID}", "/shop/web"),
        ("batch", "ct:1:0:job:", "/batch"),
        ("", "ct:1:0:job:", "/job"),
    ],
)
def test_the_app_of_a_task(discovery: str, task_id: str, app: str) -> None:
    assert app_id_of(task_id, discovery, "job") == app


@pytest.mark.parametrize(
    ("pid", "hostname", "address"),
    [
        ("slave(1)@10.0.0.7:5051", "box", "10.0.0.7"),
        ("slave(1)@[fd00::7]:5051", "box", "fd00::7"),
        ("slave(1)@0.0.0.0:5051", "10.0.0.8", "10.0.0.8"),
        ("", "box", ""),
    ],
)
def test_the_address_of_an_agent(pid: str, hostname: str, address: str) -> None:
    assert agent_address({"pid": pid, "agent_info": {"hostname": hostname}}) == address


@pytest.mark.parametrize(
    ("statuses", "check", "health"),
    [
        ([{}], None, Health.UNCHECKED),
        ([{}], {"http": {"port": 80}}, Health.UNKNOWN),
        ([{"healthy": True}], {"http": {"port": 80}}, Health.HEALTHY),
        ([{"healthy": True}, {"healthy": False}], None, Health.UNHEALTHY),
        ([{"healthy": False}, {"healthy": True}, {}], None, Health.HEALTHY),
    ],
)
def test_health_is_what_mesos_checks_last_said(statuses: list[Json], check: Json | None, health: Health) -> None:
    found = state(task(statuses=[status(**item) for item in statuses], health_check=check)).look()
    assert found.instances[TASK_ID].health is health


def test_events_keep_the_copy_current() -> None:
    copy = state()
    assert copy.apply({"type": "TASK_ADDED", "task_added": {"task": task(state="TASK_STAGING", statuses=[])}})
    assert copy.look().instances[TASK_ID].phase is Phase.STARTING
    assert copy.apply(updated("TASK_RUNNING", address="172.17.0.9"))
    assert copy.look().instances[TASK_ID].phase is Phase.RUNNING
    assert copy.look().instances[TASK_ID].ports[0].own_address == "172.17.0.9"
    assert not copy.apply(updated("TASK_RUNNING", address="172.17.0.9")), "nothing new"
    assert copy.apply(updated("TASK_RUNNING", address="172.17.0.9", healthy=False))
    assert copy.apply(updated("TASK_KILLING"))
    assert copy.look().instances[TASK_ID].draining
    assert copy.apply(updated("TASK_KILLED"))
    look = copy.look()
    assert (dict(look.instances), look.ended) == ({}, {TASK_ID})
    assert not copy.apply({"type": "HEARTBEAT"})
    assert not copy.apply({"type": "SOMETHING_NEW"})


@pytest.mark.parametrize(
    ("last", "present", "ended"),
    [
        ("TASK_FINISHED", False, True),
        ("TASK_FAILED", False, True),
        ("TASK_GONE", False, True),
        ("TASK_LOST", False, False),
        ("TASK_ERROR", False, False),
        ("TASK_UNREACHABLE", True, False),
        ("TASK_INVENTED_LATER", False, False),
    ],
)
def test_only_final_states_are_an_end(last: str, present: bool, ended: bool) -> None:
    copy = state(task())
    copy.apply(updated(last))
    assert (TASK_ID in copy.look().instances, TASK_ID in copy.look().ended) == (present, ended)


def test_a_task_whose_agent_is_unreachable_is_still_there_and_may_come_back() -> None:
    copy = state(unreachable_tasks=[task(state="TASK_UNREACHABLE")])
    assert copy.look().instances[TASK_ID].phase is Phase.UNREACHABLE
    copy.apply(updated("TASK_RUNNING"))
    assert copy.look().instances[TASK_ID].phase is Phase.RUNNING


def test_completed_tasks_have_ended() -> None:
    done = [task("a", "TASK_FINISHED"), task("b", "TASK_LOST")]
    assert state(completed_tasks=done).look().ended == {"a"}


@pytest.mark.parametrize(
    ("more", "tasks", "why"),
    [
        ({}, [task()], ""),
        ({}, [], ""),
        ({"agents": []}, [], "no agent is registered with the master"),
        ({"recovered": [{"id": {"value": "S2"}}]}, [task()], "1 agents have not come back to the master yet"),
        ({"connected": False}, [task()], ""),
        ({"connected": False}, [], "no task runs, and no framework is connected that would start any"),
    ],
)
def test_when_absence_proves_nothing(more: Json, tasks: list[Json], why: str) -> None:
    look = state(*tasks, **more).look()
    assert (look.complete, look.why_incomplete) == (not why, why)


def test_an_agent_that_comes_back_completes_the_state() -> None:
    copy = state(recovered=[{"id": {"value": "S2"}}])
    copy.apply({"type": "AGENT_ADDED", "agent_added": {"agent": agent("S2")}})
    assert copy.look().complete


def test_state_of_an_older_interface_says_the_same() -> None:
    v0 = {
        "slaves": [{"id": "S1", "hostname": "box", "pid": "slave(1)@10.0.0.7:5051"}],
        "recovered_slaves": [],
        "frameworks": [
            {
                "id": "F",
                "connected": True,
                "tasks": [
                    {
                        "id": TASK_ID,
                        "name": "web.shop",
                        "framework_id": "F",
                        "slave_id": "S1",
                        "state": "TASK_RUNNING",
                        "resources": {"cpus": 0.1, "ports": "[31000-31001, 31005-31005]"},
                        "labels": [{"key": "a", "value": "b"}],
                        "discovery": task()["discovery"],
                        "statuses": [status()],
                    }
                ],
                "completed_tasks": [
                    {"id": "old", "framework_id": "F", "slave_id": "S1", "state": "TASK_KILLED", "resources": {}}
                ],
            }
        ],
    }
    look = MesosState(state_of_v0(v0), most_ended=10).look()
    labelled = task(labels={"labels": [{"key": "a", "value": "b"}]})
    assert look.instances == state(labelled).look().instances
    assert (look.ended, look.frameworks) == ({"old"}, {"F"})


@pytest.mark.parametrize(
    "broken", [{}, {"get_agents": []}, {"get_agents": {}, "get_frameworks": {}, "get_tasks": {"tasks": [1]}}]
)
def test_what_is_no_state_is_a_source_s_error_and_not_an_empty_cluster(broken: Json) -> None:
    with pytest.raises(SourceError):
        MesosState(broken, most_ended=10)
    with pytest.raises(SourceError):
        state_of_v0({"slaves": [{}], **broken})


def test_one_task_that_cannot_be_read_is_there_without_ports_and_hides_no_other() -> None:
    odd = task("odd", discovery={"ports": {"ports": [{"number": "many"}]}})
    found = state(odd, task()).look().instances
    assert set(found) == {"odd", TASK_ID}
    assert found["odd"].ports == ()
