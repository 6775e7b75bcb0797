import asyncio
import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from daemonkit.stalls import Longest, StallWatch


async def test_a_loop_that_stands_still_is_told():
    registry = CollectorRegistry()
    watch = StallWatch("x", registry)
    running = asyncio.create_task(watch.run())
    await asyncio.sleep(0.05)
    time.sleep(0.3)  # what nobody should do in a loop
    await asyncio.sleep(0.05)
    running.cancel()

    def figure(name: str, **labels: str) -> Any:
        return registry.get_sample_value(name, labels)

    assert figure("x_loop_longest_stall_seconds") > 0.25
    assert figure("x_loop_stall_seconds_count") - figure("x_loop_stall_seconds_bucket", le="0.25") >= 1
    assert figure("x_loop_longest_busy_seconds") < figure("x_loop_longest_stall_seconds"), "it slept, it did not work"
    watch.close()
    assert figure("x_loop_stall_seconds_count") is None


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 1)), min_size=1))
def test_the_longest_is_that_of_the_window(steps: list[tuple[float, float]]):
    longest, now, seen = Longest(10.0), 0.0, []
    for step, value in steps:
        now += step
        seen.append((now, value))
        longest.add(now, value)
        assert longest.of(now) == max(value for when, value in seen if when >= now - 10.0)
