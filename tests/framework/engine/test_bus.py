"""The bus alone: numbered, replayed, bounded."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.engine.bus import Bus, Subscription, TooSlow


async def taken(subscription: Subscription, count: int) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    async with asyncio.timeout(30):
        async for announcement in subscription:
            found.append((announcement.id, announcement.type))
            if len(found) == count:
                return found
    return found


def publish(bus: Bus, *types: str) -> None:
    for kind in types:
        bus.publish(kind, 0.0, {})


async def test_a_listener_hears_what_comes_while_it_listens_and_nothing_before():
    bus = Bus()
    publish(bus, "before")
    async with bus.subscribe() as one:
        assert bus.listeners == 1
        publish(bus, "a", "b")
        assert await taken(one, 2) == [(2, "a"), (3, "b")]
        waiting = asyncio.create_task(taken(one, 1))
        await asyncio.sleep(0)
        publish(bus, "c")
        assert await waiting == [(4, "c")]
    assert bus.listeners == 0
    publish(bus, "after")


async def test_a_listener_may_choose_types():
    bus = Bus()
    async with bus.subscribe({"b", "c"}) as one:
        publish(bus, "a", "b", "a", "c")
        assert await taken(one, 2) == [(2, "b"), (4, "c")]


@settings(max_examples=40)
@given(st.integers(0, 12), st.integers(1, 6), st.integers(0, 15), st.sets(st.sampled_from("ab")))
def test_a_replay_is_what_is_kept_after_the_id_and_of_the_types(count: int, history: int, after: int, types: set[str]):
    async def play() -> list[tuple[int, str]]:
        bus = Bus(history=history)
        publish(bus, *("ab"[number % 2] for number in range(count)))
        async with bus.subscribe(types, after=after) as one:
            bus.close()
            return [(announcement.id, announcement.type) async for announcement in one]

    every = [(number + 1, "ab"[number % 2]) for number in range(count)][-history:]
    start = after if after <= count else 0  # an id from an earlier life of the daemon: all that is kept is news
    assert asyncio.run(play()) == [one for one in every if one[0] > start and (not types or one[1] in types)]


async def test_one_that_is_too_slow_gets_what_was_buffered_and_is_cut_off_and_others_are_not():
    bus = Bus(buffer=3)
    async with bus.subscribe() as slow, bus.subscribe() as quick:
        for number in range(5):
            publish(bus, f"e{number}")
            assert await taken(quick, 1) == [(number + 1, f"e{number}")]
        assert bus.listeners == 1
        heard: list[Any] = []
        with pytest.raises(TooSlow):
            async for announcement in slow:
                heard.append(announcement.id)
        assert heard == [1, 2, 3]


async def test_a_replay_longer_than_the_buffer_is_too_slow_too():
    bus = Bus(history=10, buffer=3)
    publish(bus, *"abcde")
    async with bus.subscribe(after=0) as one:
        with pytest.raises(TooSlow):
            async for _ in one:
                pass


async def test_the_end_comes_after_what_is_buffered():
    bus = Bus()
    async with bus.subscribe() as one:
        publish(bus, "a", "b")
        bus.close()
        assert [announcement.type async for announcement in one] == ["a", "b"]
        assert bus.listeners == 0
    async with bus.subscribe() as late:
        publish(bus, "c")
        assert await taken(late, 1) == [(3, "c")], "a closed bus may still be heard: closing ends those who listen"


async def test_times_are_marathons():
    bus = Bus()
    async with bus.subscribe() as one:
        bus.publish("a", 0.5, {"k": 1})
        async for announcement in one:
            assert (announcement.timestamp, dict(announcement.fields)) == ("1970-01-01T00:00:00.500Z", {"k": 1})
            break
