"""The agent itself: its place on disk, its share of the machine, and that one task's trouble is not another's."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from daemonkit.errors import OperatorError
from embedded.mesos.agents import split_ports
from embedded.mesos.resources import Resources
from tests.support.mesos_agent import World, framework, task
from tests.support.mesos_agent import world as world
from tests.support.waiting import eventually_async


async def test_two_agents_on_one_directory_are_refused(world):
    w = await world()
    with pytest.raises(OperatorError, match=r"another embedded Mesos runs with the state of .*; stop it, or give"):
        await World(w.work_dir, {}).start()


async def test_tasks_of_an_agent_that_gets_a_new_id_are_ended(world):
    """The master has marked the old agent gone, and counts its tasks as lost."""
    w = await world()
    w.launch(task("t", "sleep 1000"))
    await w.master.until("t", "TASK_RUNNING")
    old = w.agent.id
    register = w.master.register
    w.master.register = lambda agent, tasks: register(agent, tasks) and register(_WithoutId(agent), tasks)
    await w.restart()
    assert w.agent.id != old
    await eventually_async(lambda: w.agent.runs == {})


class _WithoutId:
    def __init__(self, agent):
        self.agent = agent
        self.info = {**agent.info, "id": {"value": ""}}

    def __getattr__(self, name):
        return getattr(self.agent, name)


async def test_a_task_that_ends_is_forgotten_when_its_end_is_acknowledged(world):
    w = await world()
    w.master.acknowledges = False
    w.launch(task("t", "true"))
    for state in ("TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"):
        update = await w.master.until("t", state)
        assert ("fw", "t") in w.agent.runs
        w.master.acknowledge(update)
    await eventually_async(lambda: not w.agent.runs and not list((w.work_dir / "agent-1/meta/tasks").iterdir()))
    assert w.sandbox("t").is_dir()
    w.launch(task("t", "true"))
    update = await eventually_async(lambda: next((u for u in w.master.of("t")[3:]), None))
    assert update["state"] == "TASK_STARTING", "its id can be used again"


async def test_an_update_is_repeated_until_it_is_acknowledged(world):
    w = await world(update_retry=0.1)
    w.master.acknowledges = False
    w.launch(task("t", "true"))
    await eventually_async(lambda: len(w.master.updates) >= 3)
    assert {update["state"] for update in w.master.updates} == {"TASK_STARTING"}
    assert len({update["uuid"] for update in w.master.updates}) == 1


async def test_a_task_id_that_is_no_file_name_fails_alone(world):
    w = await world()
    w.launch(task("..", "true"), task("fine", "true"))
    assert "cannot be a directory's name" in (await w.master.until_ended(".."))["message"]
    await w.master.until("fine", "TASK_FINISHED")


async def test_ended_sandboxes_beyond_the_bound_go(world):
    w = await world(kept_sandboxes=2)
    for n in range(4):
        w.launch(task(f"t{n}", "true"))
        await w.master.until(f"t{n}", "TASK_FINISHED")
        await eventually_async(lambda: w.agent.runs == {})
    w.launch(task("alive", "sleep 1000"))
    await w.master.until("alive", "TASK_RUNNING")
    assert await w.agent.sweep() == 2
    assert [w.sandbox(f"t{n}").exists() for n in range(4)] == [False, False, True, True]
    assert w.sandbox("alive").exists()


async def test_the_v1_task_that_a_new_master_adopts_is_whole(world):
    w = await world()
    described = {
        "labels": {"labels": [{"key": "a", "value": "b"}]},
        "discovery": {"visibility": "CLUSTER", "name": "web"},
        "health_check": {"type": "COMMAND", "command": {"value": "true"}, "delay_seconds": 100.0},
    }
    w.launch(task("t", "sleep 1000", **described), framework_info=framework(roles=["web"]))
    await w.master.until("t", "TASK_RUNNING")
    await w.restart()
    [adopted] = w.master.registered[-1][1]
    assert {name: adopted[name] for name in described} == described
    assert (adopted["state"], adopted["framework_id"]["value"]) == ("TASK_RUNNING", "fw")
    assert [status["state"] for status in adopted["statuses"]] == ["TASK_STARTING", "TASK_RUNNING"]
    assert {item["allocation_info"]["role"] for item in adopted["resources"]} == {"web"}
    assert Resources.from_json(adopted["resources"]).scalar("cpus") == 0.1


async def test_stop_and_start_many_times_while_tasks_come_and_go(world):
    """Nothing is lost and nothing is told twice with another uuid."""
    w = await world()
    names = []
    for turn in range(5):
        for n in range(3):
            names.append(f"t{turn}-{n}")
            w.launch(task(names[-1], f"sleep 0.{n}; exit {n}"))
        await asyncio.sleep(0.02 * turn)
        await w.restart()
    for name in names:
        ended = await w.master.until_ended(name)
        states = w.master.states(name)
        assert len([state for state in states if state == ended["state"]]) == 1
        if ended.get("reason") != "REASON_AGENT_RESTARTED":
            # A task whose agent stopped before it could say "starting" is told as running by the next one.
            assert [state for state in states if state != "TASK_STARTING"] == ["TASK_RUNNING", ended["state"]]
            assert ended["message"] == f"Command exited with status {name[-1]}"


@pytest.mark.parametrize("end", ["stop", "destroy"])
async def test_an_agent_that_has_ended_leaves_its_loop_nothing_to_do(world, end):
    """Neither long after its start nor at once."""
    w = await world()
    w.launch(task("runs", "sleep 1000", max_completion_time={"nanoseconds": 10**15}), task("ends", "true"))
    await w.master.until("runs", "TASK_RUNNING")
    await w.master.until("ends", "TASK_FINISHED")
    with capture_logs() as logged:
        w.launch(task("begins", "sleep 1000"))
        await getattr(w.agent, end)()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await w.start()
        await getattr(w.agent, end)()
        assert asyncio.all_tasks() == {asyncio.current_task()}
    assert [line for line in logged if line["log_level"] in ("warning", "error")] == []


def ports(*spans):
    item = {"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": b, "end": e} for b, e in spans]}}
    return [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 4.0}}, item]


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 30)), min_size=1, max_size=4), st.integers(1, 7))
def test_ports_are_shared_out_without_overlap_and_without_rest(steps, count):
    spans, at = [], 1000
    for gap, length in steps:
        spans.append((at + gap, at + gap + length))
        at += gap + length + 1
    shares = split_ports(ports(*spans), count)
    assert all(share[0] == ports()[0] for share in shares)
    numbers = [
        [n for span in share[1]["ranges"]["range"] for n in range(span["begin"], span["end"] + 1)] for share in shares
    ]
    assert sorted(n for part in numbers for n in part) == [n for b, e in spans for n in range(b, e + 1)]
    assert max(map(len, numbers)) - min(map(len, numbers)) <= 1
