"""Task groups: each task on its own, all of them ending when one ends badly."""

from tests.support.mesos_agent import container, grace, task
from tests.support.mesos_agent import world as world
from tests.support.waiting import eventually_async


async def test_the_tasks_of_a_group_run_each_on_its_own_below_one_executor(world):
    w = await world()
    w.launch_group(task("a", "echo $MESOS_EXECUTOR_ID; sleep 1000"), task("b", "sleep 1000"))
    running = [await w.master.until(name, "TASK_RUNNING") for name in ("a", "b")]
    parents = {update["container_status"]["container_id"]["parent"]["value"] for update in running}
    assert len(parents) == 1
    assert {update["executor_id"]["value"] for update in running} == {"pod"}
    await eventually_async(lambda: w.output("a") == "pod\n")
    run = w.sandbox("a").parent.parent
    assert run.name in parents
    assert (run / "tasks" / "a").resolve() == w.sandbox("a")


async def test_a_task_that_fails_ends_the_group(world):
    w = await world()
    bad = "while [ ! -e go ]; do sleep 0.02; done; exit 3"
    w.launch_group(task("good", "sleep 1000"), task("bad", bad), task("done", "true"))
    await w.master.until("bad", "TASK_RUNNING")
    await w.master.until("done", "TASK_FINISHED")
    (w.sandbox("bad") / "go").touch()
    assert (await w.master.until_ended("bad"))["message"] == "Command exited with status 3"
    assert (await w.master.until_ended("good"))["state"] == "TASK_KILLED"
    await eventually_async(lambda: w.master.exited == [("fw", "pod", 0)])


async def test_the_end_of_a_group_is_told_once_however_many_of_it_are_forgotten_at_the_same_moment(world):
    w = await world()
    names = ("a", "b", "c", "d")
    w.launch_group(*(task(name, "while [ ! -e go ]; do sleep 0.02; done") for name in names))
    for name in names:
        await w.master.until(name, "TASK_RUNNING")
    w.master.acknowledges = False
    for name in names:
        (w.sandbox(name) / "go").touch()
    for end in [await w.master.until(name, "TASK_FINISHED") for name in names]:
        w.master.acknowledge(end)
    await eventually_async(lambda: list((w.work_dir / "agent-1" / "meta" / "tasks").iterdir()) == [])
    await eventually_async(lambda: w.master.exited)
    assert w.master.exited == [("fw", "pod", 0)]


async def test_a_task_that_ends_well_leaves_the_others_running(world):
    w = await world()
    w.launch_group(task("short", "true"), task("long", "sleep 1000"))
    await w.master.until("short", "TASK_FINISHED")
    await eventually_async(lambda: ("fw", "short") not in w.agent.runs)
    await w.master.until("long", "TASK_RUNNING")
    assert w.master.states("long")[-1] == "TASK_RUNNING"
    assert w.master.exited == []


async def test_killing_one_ends_all(world):
    w = await world()
    w.launch_group(task("a", "sleep 1000"), task("b", "sleep 1000"))
    await w.master.until("b", "TASK_RUNNING")
    w.agent.kill("fw", "a", grace(1))
    assert (await w.master.until_ended("a"))["state"] == "TASK_KILLED"
    assert (await w.master.until_ended("b"))["state"] == "TASK_KILLED"


async def test_one_that_cannot_be_launched_ends_the_group(world):
    w = await world()
    w.launch_group(task("a", "sleep 1000"), task("b", "true", uris=[{"value": "/no/such/file"}]))
    assert (await w.master.until_ended("b"))["reason"] == "REASON_CONTAINER_LAUNCH_FAILED"
    assert (await w.master.until_ended("a"))["state"] == "TASK_KILLED"


async def test_a_group_is_a_group_after_a_restart_too(world):
    w = await world()
    w.launch_group(task("a", "while [ ! -e go ]; do sleep 0.02; done; exit 1"), task("b", "sleep 1000"))
    await w.master.until("a", "TASK_RUNNING")
    await w.master.until("b", "TASK_RUNNING")
    await w.restart()
    adopted = {t["task_id"]["value"]: t["executor_id"]["value"] for t in w.master.registered[-1][1]}
    assert adopted == {"a": "pod", "b": "pod"}
    (w.sandbox("a") / "go").touch()
    assert (await w.master.until_ended("a"))["state"] == "TASK_FAILED"
    assert (await w.master.until_ended("b"))["state"] == "TASK_KILLED"


async def test_tasks_of_a_group_share_a_volume_and_may_be_containers(world, dockerd, busybox):
    w = await world(docker_url=dockerd.url)
    shared = {
        "mode": "RW",
        "container_path": "shared",
        "source": {"type": "SANDBOX_PATH", "sandbox_path": {"type": "PARENT", "path": "common"}},
    }
    w.launch_group(
        task(
            "writer",
            "echo hello > shared/new; mv shared/new shared/note; sleep 1000",
            container={"type": "MESOS", "volumes": [shared]},
        ),
        task(
            "reader",
            "while ! cat $MESOS_SANDBOX/shared/note 2>/dev/null; do sleep 0.05; done; sleep 1000",
            container=container(busybox, volumes=[shared]),
        ),
    )
    await eventually_async(lambda: w.output("reader") == "hello\n", 60)
