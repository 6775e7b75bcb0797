"""Finding the leading master, and following it while masters come, go, redirect and lack an event stream."""

import asyncio
import contextlib
import json
import socket
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from daemonkit.http import serving
from registrator.errors import SourceError
from registrator.model import Phase
from registrator.sources.mesos import MesosSource
from registrator.sources.mesos_masters import Masters
from tests.support.mesos import running_real_mesos
from tests.support.mesos_apps import HTTP, launch_app
from tests.support.processes import free_port
from tests.support.scheduler import scheduling
from tests.support.waiting import eventually_async
from tests.support.zookeeper import Ensemble


def source(*masters: str, resubscribe: float = 60.0) -> MesosSource:
    return MesosSource(masters, timeout=60, resubscribe=resubscribe, poll=0.05, most_ended=100, max_bytes=1 << 24)


@contextlib.asynccontextmanager
async def answering(answer: Callable[[Request], Response]) -> AsyncIterator[str]:
    """A server whose every answer is the test's; its base URL."""

    async def endpoint(request: Request) -> Response:
        await request.body()
        return answer(request)

    sock = socket.create_server(("127.0.0.1", 0))
    routes = [Route("/{path:path}", endpoint, methods=["GET", "POST"])]
    async with serving(Starlette(routes=routes), sock, grace=0.1):
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


@contextlib.asynccontextmanager
async def watching(one: MesosSource) -> AsyncIterator[list[str]]:
    """The reasons that the source has hinted at so far."""
    hints: list[str] = []
    stop = asyncio.Event()
    task = asyncio.create_task(one.watch(hints.append, stop))
    try:
        yield hints
    finally:
        stop.set()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await one.close()


@pytest.mark.xdist_group("zookeeper")
async def test_the_leader_is_the_master_that_zookeeper_lists_first(
    ensemble: Ensemble, request: pytest.FixtureRequest
) -> None:
    path = f"/{uuid.uuid4().hex}"
    client = KazooClient(hosts=ensemble.hosts)
    request.addfinalizer(client.close)
    request.addfinalizer(client.stop)
    client.start(timeout=60)
    for number, port in ((12, 5052), (9, 5051)):
        data = json.dumps({"address": {"ip": "10.0.0.1", "port": port}}).encode()
        client.create(f"{path}/json.info_{number:010}", data, makepath=True)
    client.create(f"{path}/log_replicas", b"")
    masters = Masters([ensemble.address(path)], timeout=60)

    assert await masters.urls() == ["http://10.0.0.1:5051"]

    client.delete(f"{path}/json.info_0000000009")
    assert await masters.urls() == ["http://10.0.0.1:5051"], "remembered"
    masters.forget()
    assert await masters.urls() == ["http://10.0.0.1:5052"]


@pytest.mark.xdist_group("zookeeper")
@pytest.mark.parametrize("path", ["/nothing-here", "/"])
async def test_without_a_leader_the_source_fails_and_says_so(ensemble: Ensemble, path: str) -> None:
    with pytest.raises(SourceError, match=ensemble.hosts):
        await source(ensemble.address(path)).look(fresh=True)


async def test_a_zookeeper_that_is_away_is_a_source_s_error() -> None:
    with pytest.raises(SourceError, match="does not answer"):
        await Masters([f"zk://127.0.0.1:{free_port()}/mesos"], timeout=0.5).urls()


async def test_a_standby_s_redirect_is_followed_though_it_has_no_scheme(real_mesos) -> None:
    leader = real_mesos()
    location = f"//{leader.address}/master/redirected"
    async with answering(lambda _: Response(status_code=307, headers={"Location": location})) as standby:
        one = source(standby)
        assert (await one.look(fresh=True)).why_incomplete.startswith("no task runs")
        await one.close()


async def test_a_master_that_fails_or_is_gone_is_passed_over(real_mesos) -> None:
    leader = real_mesos()
    async with answering(lambda _: Response(status_code=503)) as recovering:
        one = source(f"http://127.0.0.1:{free_port()}", recovering, leader.url)
        await one.look(fresh=True)
        await one.close()


@pytest.mark.parametrize(
    "answer",
    [
        Response(status_code=503),
        Response(status_code=403),
        Response(b"<html>", status_code=200),
        JSONResponse([]),
        JSONResponse({}),
        JSONResponse({"get_state": {}}),
        JSONResponse({"get_state": {"get_tasks": {}, "get_agents": {}, "get_frameworks": None}}),
    ],
)
async def test_an_answer_that_is_no_state_is_a_failure_and_not_an_empty_cluster(answer: Response) -> None:
    async with answering(lambda _: answer) as master:
        one = source(master)
        with pytest.raises(SourceError):
            await one.look(fresh=True)
        await one.close()


async def test_redirects_in_a_circle_end() -> None:
    where: list[str] = []
    async with answering(lambda _: Response(status_code=307, headers={"Location": where[0]})) as master:
        where.append(master)
        one = source(master)
        with pytest.raises(SourceError, match="circle"):
            await one.look(fresh=True)
        await one.close()


async def test_a_master_without_the_operator_api_is_polled_at_its_state() -> None:
    task = {
        "id": "t",
        "name": "t",
        "framework_id": "F",
        "slave_id": "S",
        "state": "TASK_RUNNING",
        "resources": {"ports": "[1-1]"},
    }
    state = {
        "slaves": [{"id": "S", "hostname": "box", "pid": "slave(1)@10.0.0.1:5051"}],
        "frameworks": [{"id": "F", "tasks": [task]}],
    }

    def old_master(request: Request) -> Response:
        return JSONResponse(state) if request.url.path == "/state" else Response(status_code=404)

    async with answering(old_master) as master:
        one = source(master)
        async with watching(one) as hints:
            await eventually_async(lambda: hints.count("poll") > 2)
            assert [port.host_port for port in (await one.look(fresh=False)).instances["t"].ports] == [1]


async def test_the_stream_keeps_the_copy_current_without_asking_again(real_mesos) -> None:
    mesos = real_mesos()
    one = source(mesos.url)
    async with watching(one) as hints, scheduling(mesos.url) as scheduler:
        await eventually_async(lambda: "subscribed to the master" in hints)
        task = await launch_app(scheduler, "/web", HTTP)
        await eventually_async(lambda: "mesos TASK_UPDATED" in hints)

        async def seen() -> bool:
            found = (await one.look(fresh=False)).instances.get(task)
            return found is not None and found.phase is Phase.RUNNING

        await eventually_async(seen)

        async def is_current() -> bool:
            fresh, copy = await one.look(fresh=True), await one.look(fresh=False)
            return fresh.instances == copy.instances

        await eventually_async(is_current)
        await scheduler.kill(task)

        async def ended() -> bool:
            return task in (await one.look(fresh=False)).ended

        await eventually_async(ended)


async def test_the_copy_is_made_anew_from_time_to_time(real_mesos) -> None:
    mesos = real_mesos()
    async with watching(source(mesos.url, resubscribe=0.2)) as hints, scheduling(mesos.url) as scheduler:
        await launch_app(scheduler, "/a", HTTP)
        await eventually_async(lambda: hints.count("subscribed to the master") >= 1)
        # Any event after the deadline ends the old stream.
        await launch_app(scheduler, "/b", HTTP)
        await launch_app(scheduler, "/c", HTTP)
        await eventually_async(lambda: hints.count("subscribed to the master") >= 2)


async def test_a_master_that_dies_makes_looks_fail_and_one_that_comes_back_is_followed_again(tmp_path: Path) -> None:
    port = free_port()
    one = source(f"http://127.0.0.1:{port}")
    async with watching(one) as hints:
        with running_real_mesos(tmp_path, port=port):
            await eventually_async(lambda: "subscribed to the master" in hints)
        await eventually_async(lambda: "the master's stream ended" in hints)
        with pytest.raises(SourceError):
            await one.look(fresh=False)
        before = len(hints)
        with running_real_mesos(tmp_path, port=port):
            await eventually_async(lambda: "subscribed to the master" in hints[before:], 30)
            assert not (await one.look(fresh=False)).instances
