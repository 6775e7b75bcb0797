"""Watches against the embedded and the real Consul: what a subscriber hears, and when."""

import asyncio
import threading
from pathlib import Path

import pytest

from consul_template_py.query import KeyQuery, ServiceQuery, ServicesQuery, TreeQuery
from consul_template_py.sources.consul import ConsulSettings
from consul_template_py.watch import Watched, Watcher
from tests.support.consul import ConsulServer, OwnConsul
from tests.support.waiting import eventually_async


def settings(consul: ConsulServer, **more: object) -> ConsulSettings:
    return ConsulSettings.model_validate({"address": consul.url, **more})


async def test_a_watch_hears_of_the_first_value_and_of_each_change(any_consul: ConsulServer) -> None:
    name = any_consul.name()
    async with Watcher(settings(any_consul)) as watcher:
        web = watcher.watch(ServiceQuery(name))
        assert (await web.changed()).value == ()
        any_consul.register(name, "a", port=80, address="10.0.0.1", status="passing")
        state = await web.changed()
        assert [(i.id, i.address, i.port) for i in state.value] == [("a", "10.0.0.1", 80)]
        any_consul.set_status("a", "critical")
        assert (await web.changed()).value == ()
        assert state.version == 3


async def test_a_change_of_another_service_is_no_event(any_consul: ConsulServer) -> None:
    mine, other, heard = any_consul.name(), any_consul.name(), []
    async with Watcher(settings(any_consul)) as watcher:
        watcher.watch(ServicesQuery(), lambda state: heard.append(state.version))
        await eventually_async(lambda: heard)
        any_consul.register(mine, "a", port=1)
        await eventually_async(lambda: len(heard) == 2)
        any_consul.register(mine, "b", port=2)  # wakes the query, but the names and tags are the same
        any_consul.register(other, "c", port=3)
        await eventually_async(lambda: len(heard) == 3)
    assert heard == [1, 2, 3]


async def test_equal_queries_share_a_watch_that_ends_with_the_last_subscription(any_consul: ConsulServer) -> None:
    async with Watcher(settings(any_consul)) as watcher:
        first, second = watcher.watch(KeyQuery("a")), watcher.watch(KeyQuery("a"))
        assert first.state is second.state
        first.close()
        assert len(watcher.states) == 1
        second.close()
        second.close()
        assert watcher.states == []


async def test_a_late_subscriber_is_told_what_is_known(any_consul: ConsulServer) -> None:
    any_consul.put("known", "yes")
    async with Watcher(settings(any_consul)) as watcher:
        await watcher.watch(KeyQuery("known")).changed()
        told: list[Watched[str | None]] = []
        watcher.watch(KeyQuery("known"), told.append)
        await eventually_async(lambda: told)
        assert told[0].value == "yes"


async def test_absent_keys_are_an_answer(any_consul: ConsulServer) -> None:
    async with Watcher(settings(any_consul)) as watcher:
        key, tree = watcher.watch(KeyQuery("no/such")), watcher.watch(TreeQuery("no"))
        assert (await key.changed()).value is None
        assert (await tree.changed()).value == ()
        any_consul.put("no/such", "ö")
        assert (await key.changed()).value == "ö"
        assert [(pair.key, pair.value) for pair in (await tree.changed()).value] == [("such", "ö")]


async def test_more_watches_than_connections_take_turns(any_consul: ConsulServer) -> None:
    names = [any_consul.name() for _ in range(12)]
    async with Watcher(settings(any_consul, max_connections=3, turn=0.5)) as watcher:
        watches = {name: watcher.watch(ServiceQuery(name)) for name in names}
        for watch in watches.values():
            await watch.changed()
        assert connections_to(any_consul.port) <= 3 + 1, "those of the watches, and the test's own"
        for name in names:
            any_consul.register(name, port=1)
        async with asyncio.timeout(60):
            for name, watch in watches.items():
                assert [i.name for i in (await watch.changed()).value] == [name]


def connections_to(port: int) -> int:
    """How many are established, counted once, at the client's end."""
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(remote.endswith(f":{port:04X}") and state == "01" for _, _, remote, state, *_ in lines)


async def test_a_watch_is_one_task_and_no_thread(real_consul: ConsulServer) -> None:
    before = len(asyncio.all_tasks()), threading.active_count()
    async with Watcher(settings(real_consul)) as watcher:
        watches = [watcher.watch(ServiceQuery(f"service-{number}")) for number in range(40)]
        for watch in watches:
            await watch.changed()
        assert len(asyncio.all_tasks()) == before[0] + 40
        assert threading.active_count() <= before[1]  # one of an earlier test may end only now


async def test_an_outage_keeps_the_value_says_so_and_ends_by_itself(own_any_consul: OwnConsul) -> None:
    own_any_consul.put("k", "1")
    async with Watcher(settings(own_any_consul), most_retry=0.5) as watcher:
        heard: list[tuple[str | None, bool]] = []
        watch = watcher.watch(KeyQuery("k"), lambda state: heard.append((state.value, state.fresh)))
        await watch.changed()
        own_any_consul.kill()
        await eventually_async(lambda: watch.state.error)
        assert watch.state.value == "1" and not watch.state.fresh and watch.state.stale_since
        own_any_consul.start()
        own_any_consul.put("k", "2")
        await watch.changed()
        assert watch.state.fresh and not watch.state.error
    assert heard[0] == ("1", True) and ("1", False) in heard and heard[-1] == ("2", True)


@pytest.mark.parametrize("address", ["nonsense://x", "http://", "ftp://host"])
def test_an_address_that_cannot_be_used_is_one_line(address: str) -> None:
    with pytest.raises(Exception, match="is not an address"):
        Watcher(ConsulSettings(address=address))
