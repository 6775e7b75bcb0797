"""After a reload HAProxy's old process may still answer on the socket: what it says is not believed, what it was told is told again.
And its master may still be about to load itself once more: it is not taken for gone, and the next reload waits for it."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nginx import haproxy_process
from nginx.layout import Layout
from tests.support.backends import backends
from tests.support.rig import Rig, instance, rig
from tests.support.waiting import eventually_async


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path / "edge", "haproxy") as found:
        yield found


@contextlib.asynccontextmanager
async def old_process_answers_first(layout: Layout, times: int) -> AsyncIterator[list[str]]:
    """In front of HAProxy's socket: so many connections reach a process of the configuration before. What that one was told."""
    path = layout.haproxy_socket
    real = path.rename(path.with_name("real.sock"))
    told: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        command = await reader.readline()
        if len(told) < times:
            told.append(command.decode().strip())
            writer.write(b"Name: HAProxy\ndescription: dromos-0\n\n\n")
        else:
            from_real, to_real = await asyncio.open_unix_connection(str(real))
            to_real.write(command)
            writer.write(await from_real.read())
            to_real.close()
        writer.close()

    server = await asyncio.start_unix_server(serve, str(path))
    try:
        yield told
    finally:
        server.close()
        real.rename(path)


async def test_what_an_old_process_was_told_is_told_to_the_new_one(edge: Rig) -> None:
    async with backends("one", "two") as (one, two):
        await edge.show(instance(one))
        async with old_process_answers_first(edge.layout, 2) as told:
            await edge.show(instance(two))
        assert len(told) == 2
        assert set(await edge.answers(4)) == {"two"}


async def test_servers_are_not_read_from_an_old_process(edge: Rig) -> None:
    async with backends("one", "two") as (one, two):
        await edge.show(instance(one), instance(one, "other"))
        edge.proxy._running = None  # type: ignore[attr-defined]  # as after a reload: to be read back
        async with old_process_answers_first(edge.layout, 2) as told:
            await edge.show(instance(one), instance(two), instance(one, "other"))
        assert len(told) == 2
        assert set(await edge.answers(8)) == {"one", "two"}


def children(pid: int) -> set[str]:
    return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def stop_with_a_new_worker(master: int, before: set[str]) -> None:
    """The process stands still from about the moment at which it has a new child: before it has loaded itself once more."""
    deadline = time.monotonic() + 30
    while not children(master) - before and time.monotonic() < deadline:
        pass  # a pause would be longer than that moment
    os.kill(master, signal.SIGSTOP)


async def test_a_reload_that_follows_at_once_is_not_lost(edge: Rig) -> None:
    async with backends("one") as (one,):
        await edge.show(instance(one))
        master = haproxy_process.settled(edge.layout)
        assert master
        stop = asyncio.to_thread(stop_with_a_new_worker, master.pid, children(master.pid))
        stopping = asyncio.create_task(stop)
        try:
            await edge.show(instance(one), instance(one, "second"))
            await stopping
            following = asyncio.create_task(edge.show(instance(one), instance(one, "second"), instance(one, "third")))
            await eventually_async(lambda: "third" in edge.layout.haproxy_config.read_text())
            assert not (await asyncio.wait({following}, timeout=0.3))[0], "it waits for the master"
        finally:
            await stopping
            os.kill(master.pid, signal.SIGCONT)
        await following
        assert set(await edge.answers(2, host="third.test")) == {"one"}


async def test_a_master_without_a_pid_file_for_a_moment_is_not_started_again(edge: Rig) -> None:
    async with backends("one") as (one,):
        await edge.show(instance(one))
        path = edge.layout.haproxy_pid
        aside = path.rename(path.with_name("aside"))
        assert await edge.proxy.ensure_running() is False
        aside.rename(path)
        assert haproxy_process.settled(edge.layout)
