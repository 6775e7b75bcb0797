"""Tasks: launched, refused, ended, killed; and the updates that tell of it."""

import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.mesos import Mesos
from tests.support.scheduler import Json, Scheduler, amount, ranges, scalar, scheduling, task
from tests.support.waiting import eventually_async


async def test_a_task_starts_runs_and_ends(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        offer = await scheduler.offer()
        info = task(offer, command="exit 0")
        await scheduler.launch(offer, info)
        statuses = [await scheduler.update(info["task_id"]["value"]) for _ in range(3)]

        assert [status["state"] for status in statuses] == ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"]
        for status in statuses:
            assert status["agent_id"] == offer["agent_id"]
            assert status["executor_id"] == info["task_id"]
            assert status["source"] == "SOURCE_EXECUTOR"
            assert abs(status["timestamp"] - time.time()) < 60
            assert status["container_status"]["container_id"]["value"]
        (network,) = statuses[1]["container_status"]["network_infos"]
        assert network["ip_addresses"] == [{"protocol": "IPv4", "ip_address": "127.0.0.1"}]
        assert len({status["uuid"] for status in statuses}) == 3
        assert statuses[-1]["message"] == "Command exited with status 0"


@pytest.mark.parametrize(
    ("command", "state", "message"),
    [
        ("exit 3", "TASK_FAILED", "Command exited with status 3"),
        ("kill -9 $$", "TASK_FAILED", "Command terminated with signal 9"),
        ("sleep 0.2", "TASK_FINISHED", "Command exited with status 0"),
        ("sleep 0.2; exit 7", "TASK_FAILED", "Command exited with status 7"),
    ],
)
async def test_the_message_tells_how_a_command_ended(mesos: Mesos, command: str, state: str, message: str):
    async with scheduling(mesos.url) as scheduler:
        info, _ = await scheduler.running(command=command)
        status = await scheduler.update(info["task_id"]["value"])

        assert (status["state"], status["message"]) == (state, message)


async def test_one_accept_launches_many_tasks_in_many_operations(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        offer = await scheduler.offer()
        infos = [task(offer) for _ in range(4)]
        await scheduler.accept(
            [offer],
            [
                {"type": "LAUNCH", "launch": {"task_infos": infos[:3]}},
                {"type": "LAUNCH", "launch": {"task_infos": infos[3:]}},
            ],
            refuse_seconds=0,
        )
        for info in infos:
            await scheduler.update(info["task_id"]["value"], "TASK_RUNNING")

        left = await scheduler.offer()
        assert (amount(left, "cpus"), amount(left, "mem")) == (3.6, 4096 - 4 * 32)


async def refused(scheduler: Scheduler, offer: Json, info: Json) -> str:
    """Launches a task that is invalid; the message of its TASK_ERROR."""
    await scheduler.launch(offer, info)
    status = await scheduler.update(info["task_id"]["value"])
    assert (status["state"], status["source"]) == ("TASK_ERROR", "SOURCE_MASTER")
    assert status["reason"] == "REASON_TASK_INVALID"
    assert status["agent_id"] == info["agent_id"]
    assert "uuid" not in status, "it is not to be acknowledged"
    message: str = status["message"]
    return message


def changed(info: Json, fields: Json) -> Json:
    """With other fields; None takes one away."""
    return {name: value for name, value in (info | fields).items() if value is not None}


def check(**fields: Any) -> Json:
    return {"health_check": fields}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"task_id": {"value": "a/b"}}, "'a/b' contains invalid characters"),
        ({"task_id": {"value": ""}}, "ID must not be empty"),
        ({"task_id": {"value": ".."}}, "'..' is disallowed"),
        ({"task_id": {"value": "a" * 256}}, "ID must not be greater than 255 characters"),
        ({"agent_id": {"value": "other"}}, "Task uses invalid agent other while agent "),
        ({"resources": []}, "Task uses no resources"),
        ({"command": None}, "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present"),
        (
            {"command": {"value": "true", "environment": {"variables": [{"name": "A"}]}}},
            "Task's `CommandInfo` is invalid: Environment variable 'A' of type 'VALUE' must have a value set",
        ),
        (
            {"command": {"value": "true", "environment": {"variables": [{"name": "A", "type": "SECRET"}]}}},
            "Task's `CommandInfo` is invalid: Environment variable 'A' of type 'SECRET' must have a secret set",
        ),
        (
            {"container": {"type": "DOCKER"}},
            "Task's `ContainerInfo` is invalid: DockerInfo 'docker' is not set for DOCKER typed ContainerInfo",
        ),
        (check(), "Task uses invalid health check: HealthCheck must specify 'type'"),
        (check(type="HTTP"), "Task uses invalid health check: Expecting 'http' to be set for HTTP health check"),
        (check(type="TCP"), "Task uses invalid health check: Expecting 'tcp' to be set for TCP health check"),
        (
            check(type="COMMAND"),
            "Task uses invalid health check: Expecting 'command' to be set for COMMAND health check",
        ),
        (
            check(type="COMMAND", command={}),
            "Task uses invalid health check: Command health check must contain 'shell command'",
        ),
        (
            check(type="HTTP", http={"port": 80, "path": "x"}),
            "Task uses invalid health check: The path 'x' of HTTP health check must start with '/'",
        ),
        (
            check(type="HTTP", http={"port": 80, "scheme": "ftp"}),
            "Task uses invalid health check: Unsupported HTTP health check scheme: 'ftp'",
        ),
        (
            check(type="TCP", tcp={"port": 80}, delay_seconds=-1),
            "Task uses invalid health check: Expecting 'delay_seconds' to be non-negative",
        ),
        (
            {"check": {"type": "COMMAND"}},
            "Task uses invalid check: Expecting 'command' to be set for COMMAND check",
        ),
        (
            {"kill_policy": {"grace_period": {"nanoseconds": -1}}},
            "Task's 'kill_policy.grace_period' must be non-negative",
        ),
    ],
)
async def test_an_invalid_task_is_an_error(mesos: Mesos, fields: Json, message: str):
    async with scheduling(mesos.url) as scheduler:
        offer = await scheduler.offer()

        assert (await refused(scheduler, offer, changed(task(offer), fields))).startswith(message)


async def test_more_than_the_offer_holds_is_an_error(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        offer = await scheduler.offer()
        role = offer["allocation_info"]["role"]
        message = await refused(scheduler, offer, task(offer, cpus=5))

        assert message.startswith(
            f"Total resources cpus(allocated: {role}):5; mem(allocated: {role}):32 required by task and its executor"
            " is more than available "
        )
        assert f"cpus(allocated: {role}):4" in message


@pytest.mark.parametrize(
    ("resource", "message"),
    [
        (scalar("cpus", -1), "Resource 'cpus(allocated: {role}):-1' is invalid: Invalid scalar resource: value <= 0"),
        (
            ranges("ports", (31005, 31001)),
            "Resource 'ports(allocated: {role}):[31005-31001]' is invalid: Invalid ranges resource: begin > end",
        ),
        (scalar("gpus", 1), "Total resources gpus(allocated: {role}):1 required by task and its executor is more than"),
        (
            ranges("ports", (80, 80)),
            "Total resources ports(allocated: {role}):[80-80] required by task and its executor is more than",
        ),
    ],
)
async def test_impossible_resources_are_an_error(mesos: Mesos, resource: Json, message: str):
    async with scheduling(mesos.url) as scheduler:
        offer = await scheduler.offer()
        allocated = resource | {"allocation_info": offer["allocation_info"]}
        told = await refused(scheduler, offer, task(offer, resources=[allocated]))

        assert told.startswith(message.format(role=offer["allocation_info"]["role"]))


async def test_resources_of_another_role_are_an_error(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        offer = await scheduler.offer()
        other = scalar("cpus", 0.1, allocation_info={"role": "other"})

        assert (await refused(scheduler, offer, task(offer, resources=[other]))).startswith("Total resources cpus")


async def test_an_id_in_use_is_an_error_while_the_first_task_runs_on(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        info, _ = await scheduler.running()
        task_id = info["task_id"]["value"]
        await scheduler.call("REVIVE")
        offer = await scheduler.offer()

        assert await refused(scheduler, offer, task(offer, task_id)) == f"Task has duplicate ID: {task_id}"
        await scheduler.reconcile({"task_id": info["task_id"]})
        assert (await scheduler.update(task_id))["state"] == "TASK_RUNNING"


async def test_an_invalid_task_does_not_keep_the_others_of_its_accept_from_running(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        offer = await scheduler.offer()
        good, bad = task(offer), task(offer, cpus=4)
        await scheduler.launch(offer, good, bad, refuse_seconds=0)

        assert (await scheduler.update(bad["task_id"]["value"]))["state"] == "TASK_ERROR"
        await scheduler.update(good["task_id"]["value"], "TASK_RUNNING")
        assert amount(await scheduler.offer(), "cpus") == 3.9


async def test_fractions_beyond_a_thousandth_are_rounded(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        offer = await scheduler.offer()
        await scheduler.launch(offer, task(offer, cpus=0.1004), refuse_seconds=0)

        assert amount(await scheduler.offer(), "cpus") == 3.9


async def test_the_resources_of_a_task_are_free_when_it_ends_even_before_it_is_acknowledged(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        offer = await scheduler.offer()
        info = task(offer, cpus=4.0, command="exit 0")
        await scheduler.launch(offer, info, refuse_seconds=0)
        await scheduler.update(info["task_id"]["value"])
        await scheduler.update(info["task_id"]["value"])
        ended = await scheduler.update(info["task_id"]["value"], acknowledge=False)
        assert ended["state"] == "TASK_FINISHED"

        freed = 0.0
        while freed < 4.0:
            freed += sum(amount(offer, "cpus") or 0.0 for offer in await scheduler.offers())
        state = mesos.get(f"/frameworks?framework_id={scheduler.framework_id}")["frameworks"][0]
        assert [task["state"] for task in state["tasks"]] == ["TASK_FINISHED"], "the framework has not acknowledged it"
        await scheduler.acknowledge(ended)
        await scheduler.reconcile({"task_id": info["task_id"]})
        assert (await scheduler.update(info["task_id"]["value"]))["state"] == "TASK_LOST"


def grace(seconds: float) -> Json:
    """A KillPolicy."""
    return {"grace_period": {"nanoseconds": int(seconds * 10**9)}}


async def test_a_killed_task_ends_as_killed(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        info, _ = await scheduler.running()
        await scheduler.kill(info["task_id"]["value"], agent_id=info["agent_id"], kill_policy=grace(600))
        status = await scheduler.update(info["task_id"]["value"])

        assert (status["state"], status["message"]) == ("TASK_KILLED", "Command terminated with signal 15")


async def test_a_framework_that_knows_the_state_hears_that_its_task_is_being_killed(mesos: Mesos):
    killing = [{"type": "MULTI_ROLE"}, {"type": "TASK_KILLING_STATE"}]
    async with scheduling(mesos.url, capabilities=killing) as scheduler:
        info, _ = await scheduler.running()
        await scheduler.kill(info["task_id"]["value"])
        statuses = [await scheduler.update(info["task_id"]["value"]) for _ in range(2)]

        assert [status["state"] for status in statuses] == ["TASK_KILLING", "TASK_KILLED"]


async def test_a_task_that_does_not_heed_sigterm_is_killed_after_the_grace_period_of_the_call(
    mesos: Mesos, tmp_path: Path
):
    async with scheduling(mesos.url) as scheduler:
        deaf = f"trap '' TERM; touch {tmp_path}/deaf; exec sleep 3600"
        info, _ = await scheduler.running(command=deaf, kill_policy=grace(1800))
        if not mesos.simulated:
            await eventually_async((tmp_path / "deaf").exists)
        start = time.monotonic()
        await scheduler.kill(info["task_id"]["value"], kill_policy=grace(0.7))
        status = await scheduler.update(info["task_id"]["value"], "TASK_KILLED")

        assert time.monotonic() - start >= 0.5
        assert status["message"] == "Command terminated with signal 9"


@pytest.mark.parametrize(
    ("capabilities", "state"), [([], "TASK_LOST"), ([{"type": "PARTITION_AWARE"}], "TASK_UNKNOWN")]
)
async def test_killing_an_unknown_task_is_answered_like_a_reconciliation(
    mesos: Mesos, capabilities: list[Json], state: str
):
    async with scheduling(mesos.url, capabilities=[{"type": "MULTI_ROLE"}, *capabilities]) as scheduler:
        await scheduler.kill("no-such-task")
        status = await scheduler.update("no-such-task")

        assert (status["state"], status["reason"]) == (state, "REASON_RECONCILIATION")
        assert status["message"] == "Reconciliation: Task is unknown"


async def test_an_update_holds_back_the_next_until_it_is_acknowledged_and_comes_again(mesos: Mesos):
    resend = 2.0 if not mesos.real else 10.0
    async with scheduling(mesos.url) as scheduler:
        offer = await scheduler.offer()
        info = task(offer)
        start = time.monotonic()
        await scheduler.launch(offer, info)
        first = await scheduler.update(info["task_id"]["value"], acknowledge=False)
        again = await scheduler.update(info["task_id"]["value"], acknowledge=False)

        assert first["state"] == again["state"] == "TASK_STARTING"
        assert first["uuid"] == again["uuid"]
        assert time.monotonic() - start > resend * 0.8
        await scheduler.acknowledge(again)
        assert (await scheduler.update(info["task_id"]["value"]))["state"] == "TASK_RUNNING"


@pytest.mark.parametrize(
    ("mem", "message"),
    [
        (32, "Executor 'small' uses no disk"),
        (1, "Executor 'small' uses less memory (1MB) than the minimum required (32MB)"),
    ],
)
async def test_a_group_whose_executor_is_too_small_is_an_error_for_each_of_its_tasks(
    mesos: Mesos, mem: float, message: str
):
    async with scheduling(mesos.url) as scheduler:
        offer = await scheduler.offer()
        tasks = [task(offer), task(offer)]
        executor = {
            "type": "DEFAULT",
            "executor_id": {"value": "small"},
            "framework_id": {"value": scheduler.framework_id},
            "resources": [
                scalar("cpus", 1, allocation_info=offer["allocation_info"]),
                scalar("mem", mem, allocation_info=offer["allocation_info"]),
            ],
        }
        group = {"executor": executor, "task_group": {"tasks": tasks}}
        await scheduler.accept([offer], [{"type": "LAUNCH_GROUP", "launch_group": group}])

        for info in tasks:
            status = await scheduler.update(info["task_id"]["value"])
            assert (status["state"], status["reason"]) == ("TASK_ERROR", "REASON_TASK_GROUP_INVALID")
            assert status["message"] == message


async def test_tasks_end_with_their_framework(mesos: Mesos):
    async with scheduling(mesos.url) as scheduler:
        info, _ = await scheduler.running()
        framework_id = scheduler.framework_id
        await scheduler.teardown()
        await scheduler.until_closed()
        completed = mesos.get("/frameworks")["completed_frameworks"]

        torn_down = next(framework for framework in completed if framework["id"] == framework_id)
        assert torn_down["tasks"] == []
        assert [(t["id"], t["state"]) for t in torn_down["completed_tasks"]] == [
            (info["task_id"]["value"], "TASK_KILLED")
        ]


def reservation(offer: Json, resource: Json) -> Json:
    """The resource as reserved for the offer's role by the framework's principal."""
    role = offer["allocation_info"]
    return resource | {"role": role["role"], "reservation": {"principal": "operator"}, "allocation_info": role}


async def test_reserved_resources_and_volumes_are_offered_as_such(mesos: Mesos):
    async with scheduling(mesos.url, principal="operator") as scheduler:
        offer = await scheduler.offer()
        disk = reservation(offer, scalar("disk", 100))
        volume = disk | {
            "disk": {
                "persistence": {"id": "v1", "principal": "operator"},
                "volume": {"container_path": "data", "mode": "RW"},
            }
        }
        reserve = {"resources": [reservation(offer, scalar("cpus", 1)), disk]}
        await scheduler.accept(
            [offer],
            [
                {"type": "RESERVE", "id": {"value": "reserve"}, "reserve": reserve},
                {"type": "CREATE", "id": {"value": "create"}, "create": {"volumes": [volume]}},
            ],
            refuse_seconds=0,
        )
        finished = [(await scheduler.next("UPDATE_OPERATION_STATUS"))["update_operation_status"] for _ in "12"]
        assert [update["status"]["state"] for update in finished] == ["OPERATION_FINISHED"] * 2
        assert [update["status"]["operation_id"]["value"] for update in finished] == ["reserve", "create"]
        assert all(update["status"]["uuid"]["value"] for update in finished)

        again = await scheduler.offer()
        role = offer["allocation_info"]["role"]
        mine = [resource for resource in again["resources"] if resource["role"] == role]
        assert sorted(resource["name"] for resource in mine) == ["cpus", "disk"]
        assert all(resource["reservation"] == {"principal": "operator"} for resource in mine)
        assert next(r for r in mine if r["name"] == "disk")["disk"]["persistence"]["id"] == "v1"
        assert (amount(again, "cpus"), amount(again, "disk")) == (4.0, 4096.0)

        await scheduler.accept(
            [again],
            [
                {"type": "DESTROY", "destroy": {"volumes": [volume]}},
                {"type": "UNRESERVE", "unreserve": reserve},
            ],
            refuse_seconds=0,
        )
        plain = await scheduler.offer()
        assert {resource["role"] for resource in plain["resources"]} == {"*"}


async def test_an_operation_that_cannot_be_is_told_only_if_it_has_an_id(mesos: Mesos):
    async with scheduling(mesos.url, principal="operator") as scheduler:
        offer = await scheduler.offer()
        reserve = {"resources": [reservation(offer, scalar("cpus", 100))]}
        await scheduler.accept(
            [offer],
            [
                {"type": "RESERVE", "reserve": reserve},
                {"type": "RESERVE", "id": {"value": "named"}, "reserve": reserve},
            ],
            refuse_seconds=0,
        )
        update = await scheduler.next("UPDATE_OPERATION_STATUS")

        status = update["update_operation_status"]["status"]
        assert (status["operation_id"]["value"], status["state"]) == ("named", "OPERATION_ERROR")
        assert "does not contain cpus" in status["message"]
        assert amount(await scheduler.offer(), "cpus") == 4.0
