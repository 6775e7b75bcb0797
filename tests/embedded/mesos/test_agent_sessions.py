"""Commands beside a task, in a process' sandbox and in a Docker container alike; and what the agent's API makes of odd input."""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.routing import Mount

from daemonkit.http import bind, serving
from daemonkit.recordio import Records, record
from embedded.mesos.agent_http import agent_routes
from embedded.mesos.runtimes.base import Session, Terminal
from tests.support.mesos_agent import container, task
from tests.support.mesos_agent import world as world
from tests.support.waiting import eventually_async

Json = dict[str, Any]
Begin = Callable[..., Awaitable[Session]]


@pytest.fixture(params=["process", "docker"])
async def begin(request: pytest.FixtureRequest, world: Any) -> AsyncIterator[Begin]:
    """Begins a command beside a task that sleeps, whose COLOUR is blue."""
    sleeping: Json = {"env": {"COLOUR": "blue"}}
    if request.param == "docker":
        w = await world(docker_url=request.getfixturevalue("dockerd").url)
        sleeping["container"] = container(request.getfixturevalue("busybox"))
    else:
        w = await world()
    w.launch(task("t", "sleep 1000", **sleeping))
    await w.master.until("t", "TASK_RUNNING")
    begun: list[Session] = []

    async def begin(*words: str, terminal: Terminal | None = None) -> Session:
        command = {"shell": False, "value": words[0], "arguments": list(words)}
        begun.append(await w.agent.runs[("fw", "t")].container.session(command, terminal))
        return begun[-1]

    yield begin
    for session in begun:
        await session.end()


async def outputs(session: Session) -> dict[str, bytes]:
    found = {"STDOUT": b"", "STDERR": b""}
    async with asyncio.timeout(60):
        while piece := await session.read():
            found[piece[0]] += piece[1]
    return found


async def until(session: Session, text: bytes) -> bytes:
    seen = b""
    async with asyncio.timeout(60):
        while text not in seen:
            piece = await session.read()
            assert piece, seen
            seen += piece[1]
    return seen


async def test_streams_environment_and_status_are_the_commands(begin: Begin) -> None:
    session = await begin("sh", "-c", 'echo "$COLOUR"; echo wrong >&2; exit 7')
    assert await outputs(session) == {"STDOUT": b"blue\n", "STDERR": b"wrong\n"}
    assert await session.wait() == 7 << 8


async def test_a_command_reads_what_is_written_to_it_up_to_its_end(begin: Begin) -> None:
    session = await begin("sh", "-c", "wc -c; echo over")
    piece, count = b"x" * 10_000, 50

    async def feed() -> None:
        for _ in range(count):
            await session.write(piece)
        await session.end_input()

    feeding = asyncio.create_task(feed())
    assert (await outputs(session))["STDOUT"].split() == [b"500000", b"over"]
    await feeding


async def test_a_command_that_reads_nothing_holds_nobody_up(begin: Begin) -> None:
    session = await begin("sh", "-c", "exec <&-; sleep 0.2")

    async def feed() -> None:
        for _ in range(20):
            await session.write(b"x" * 100_000)

    feeding = asyncio.create_task(feed())
    await outputs(session)
    assert await session.wait() == 0
    await session.end()
    await asyncio.wait_for(feeding, 60)


async def test_a_terminal_has_a_size_that_changes_and_keys_that_interrupt(begin: Begin) -> None:
    session = await begin(
        "sh", "-c", 'trap "stty size" WINCH; tty; while sleep 0.1; do :; done', terminal=Terminal(33, 101)
    )
    assert b"/dev/" in await until(session, b"\r\n")
    await session.resize(Terminal(20, 70))
    await until(session, b"20 70")
    await session.write(b"\x03")
    await outputs(session)
    assert await session.wait() in (2, 130 << 8), "SIGINT"


async def test_the_size_is_there_from_the_beginning(begin: Begin) -> None:
    """Docker sets it a moment after the command has begun: what is begun is handed over with it."""
    session = await begin("sh", "-c", "read line; stty size", terminal=Terminal(33, 101))
    await session.write(b"now\n")
    assert (await outputs(session))["STDOUT"] == b"now\r\n33 101\r\n"


async def test_a_session_that_is_ended_takes_its_command_with_it(begin: Begin) -> None:
    seconds = str(1_000_000 + os.getpid())
    session = await begin("sh", "-c", f"echo here; exec sleep {seconds}")
    await until(session, b"here")
    assert await eventually_async(lambda: running(seconds))
    await session.end()
    await eventually_async(lambda: not running(seconds))


def running(word: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if word.encode() in words and words[0].endswith(b"sleep"):
            found.append(path.parent.name)
    return found


# --- the agent's API


@pytest.fixture
async def agent_url(world: Any) -> AsyncIterator[tuple[str, Json]]:
    """(the address of an agent's calls, the container of a task that sleeps)"""
    w = await world()
    sock = bind("127.0.0.1", 0, what="agent", mend="")
    app = Starlette(routes=[Mount("/slave(1)", routes=agent_routes(w.agent))])
    async with serving(app, sock):
        w.launch(task("t", "sleep 1000"))
        running = await w.master.until("t", "TASK_RUNNING")
        yield f"http://127.0.0.1:{sock.getsockname()[1]}/slave(1)/api/v1", running["container_status"]["container_id"]


def attach(**content: Any) -> Json:
    return {"type": "ATTACH_CONTAINER_INPUT", "attach_container_input": content}


def stdin(data: object) -> Json:
    return attach(type="PROCESS_IO", process_io={"type": "DATA", "data": {"type": "STDIN", "data": data}})


async def send(url: str, *pieces: bytes, kind: str = "application/json") -> tuple[int, str]:
    headers = {"Content-Type": "application/recordio", "Message-Content-Type": kind}
    async with aiohttp.ClientSession() as http, http.post(url, data=b"".join(pieces), headers=headers) as response:
        return response.status, await response.text()


async def test_input_that_is_none_is_refused(agent_url: tuple[str, Json]) -> None:
    url, parent = agent_url
    name = {"value": "one", "parent": parent}
    this = record(attach(type="CONTAINER_ID", container_id=name))
    launch = {"container_id": name, "command": {"value": "cat"}}
    call = {"type": "LAUNCH_NESTED_CONTAINER_SESSION", "launch_nested_container_session": launch}
    async with aiohttp.ClientSession() as http, http.post(url, json=call) as session:
        assert session.status == 200
        for pieces, status in (
            ([], 400),
            ([b"7\n"], 400),
            ([b"x\n"], 400),
            ([b"9999999999\n"], 400),
            ([record({"type": "GET_STATE"})], 400),
            ([record(stdin(""))], 400),
            ([record(attach(type="CONTAINER_ID"))], 400),
            ([record(attach(type="CONTAINER_ID", container_id={"value": "other", "parent": parent}))], 500),
            ([this, record(stdin(7))], 400),
            ([this, record(stdin("%%%"))], 400),
            ([this, record(attach(type="PROCESS_IO", process_io={"type": "CONTROL", "control": {}}))], 400),
            ([this, this], 400),
        ):
            found = await send(url, *pieces)
            assert found[0] == status, (pieces, found)
        assert (await send(url, this, kind="application/x-protobuf"))[0] == 415
        async with http.post(url, json=attach(type="CONTAINER_ID", container_id=name)) as wrong:
            assert wrong.status == 415
        hello = base64.b64encode(b"hello").decode()
        assert (await send(url, this, record(stdin(hello)), record(stdin("")))) == (200, "")
        messages = [json.loads(found) for found in Records(10_000).feed(await session.read())]
    told = [message["data"] for message in messages if message["type"] == "DATA"]
    assert told == [{"type": "STDOUT", "data": hello}], "one bad client is no end"
    assert (await send(url, this))[0] == 500, "it is over"


@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(1, 9))
def test_records_are_found_however_they_are_cut(records: list[bytes], cut: int) -> None:
    whole = b"".join(b"%d\n%s" % (len(one), one) for one in records)
    reading, found = Records(40), []
    for start in range(0, len(whole), cut):
        found += reading.feed(whole[start : start + cut])
    assert found == records
