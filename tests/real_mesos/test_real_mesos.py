"""The real Apache Mesos that other tests stand on: it is what it says, and it runs command tasks."""

from tests.real_mesos.build import built_mesos
from tests.support.mesos import MesosFactory
from tests.support.scheduler import scheduling


def test_it_is_built_once_and_found_again():
    first = built_mesos()
    made = (first / "libmesos.so").stat().st_mtime_ns

    assert built_mesos() == first
    assert (first / "libmesos.so").stat().st_mtime_ns == made


async def test_it_is_mesos_1_11_with_as_many_agents_as_asked_for(real_mesos: MesosFactory):
    mesos = real_mesos(agents=2, resources="cpus:2;mem:512;disk:512;ports:[4000-4009]")

    state = mesos.get("/state")

    assert state["version"] == "1.11.0"
    assert {slave["pid"] for slave in state["slaves"]} == {f"slave({n})@{mesos.address}" for n in (1, 2)}
    assert {slave["resources"]["ports"] for slave in state["slaves"]} == {"[4000-4009]"}


async def test_a_command_task_runs_and_its_exit_status_is_told(real_mesos: MesosFactory):
    mesos = real_mesos()
    async with scheduling(mesos.url) as scheduler:
        task, _ = await scheduler.running(command="exit 3")
        status = await scheduler.update(task["task_id"]["value"], "TASK_FAILED")

    assert status["message"] == "Command exited with status 3"
