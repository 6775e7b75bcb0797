"""Updates arrive in order, each again and again until it is acknowledged; a full disk holds them back and loses none."""

import asyncio
import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded.mesos import updates
from embedded.mesos.durable import read_json
from embedded.mesos.updates import UpdateQueue, UpdateStream
from tests.support.waiting import eventually_async

HEALTH = "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED"


def status(number: int, state: str = "TASK_RUNNING", reason: str | None = None) -> dict:
    return {"uuid": f"u{number}", "state": state, "number": number, **({"reason": reason} if reason else {})}


@pytest.fixture
async def stream(tmp_path):
    """(a stream, what it has sent); it runs until the test ends."""
    sent: list[int] = []
    made = UpdateStream(
        tmp_path / "updates.json", lambda s: sent.append(s["number"]), first_retry=0.05, longest_retry=0.2
    )
    running = asyncio.create_task(made.run())
    yield made, sent
    running.cancel()
    await asyncio.wait([running])


async def test_the_next_update_waits_for_the_acknowledgement_of_the_one_before(stream):
    made, sent = stream
    made.put(status(1))
    made.put(status(2))
    await eventually_async(lambda: sent.count(1) >= 2, what="sent again")
    assert set(sent) == {1}
    assert made.acknowledge("u1")
    await eventually_async(lambda: 2 in sent)
    assert sent == sorted(sent)


async def test_a_late_or_wrong_acknowledgement_changes_nothing(stream):
    made, sent = stream
    made.put(status(1))
    made.put(status(2))
    await eventually_async(lambda: sent)
    assert not made.acknowledge("u2")
    assert not made.acknowledge("other")
    assert made.acknowledge("u1")
    assert not made.acknowledge("u1")
    await eventually_async(lambda: 2 in sent)


async def test_it_ends_when_the_terminal_update_is_acknowledged(tmp_path):
    sent: list[int] = []
    made = UpdateStream(tmp_path / "updates.json", lambda s: sent.append(s["number"]), first_retry=600.0)
    running = asyncio.create_task(made.run())
    made.put(status(1, "TASK_FINISHED"))
    made.put(status(2, "TASK_RUNNING"))
    await eventually_async(lambda: sent == [1])
    assert not running.done()
    made.acknowledge("u1")
    await asyncio.wait_for(running, 30)
    assert sent == [1], "nothing follows a terminal update"


async def test_what_is_sent_is_on_disk_before(tmp_path):
    path = tmp_path / "updates.json"
    on_disk: list[list[str]] = []
    made = UpdateStream(
        path, lambda s: on_disk.append([update["uuid"] for update in (read_json(path) or {})["pending"]])
    )
    running = asyncio.create_task(made.run())
    made.put(status(1))
    made.put(status(2))
    await eventually_async(lambda: on_disk)
    assert on_disk[0] == ["u1", "u2"]
    running.cancel()
    await asyncio.wait([running])
    again = UpdateStream(path, lambda s: None)
    assert [update["uuid"] for update in again.queue.pending] == ["u1", "u2"]


async def test_the_time_between_repeats_grows_up_to_a_bound(tmp_path):
    times: list[float] = []
    loop = asyncio.get_running_loop()
    made = UpdateStream(tmp_path / "u.json", lambda s: times.append(loop.time()), first_retry=0.05, longest_retry=0.2)
    running = asyncio.create_task(made.run())
    made.put(status(1))
    # Doubling without a bound, the tenth would come after 25 s.
    await eventually_async(lambda: len(times) >= 10)
    running.cancel()
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(gap >= least - 0.01 for gap, least in zip(gaps, [0.05, 0.1, *[0.2] * 7], strict=False))


async def test_a_new_update_does_not_hasten_the_repeat_of_the_first(tmp_path):
    path, sent = tmp_path / "updates.json", []
    made = UpdateStream(path, lambda s: sent.append(s["number"]), first_retry=600.0)
    running = asyncio.create_task(made.run())
    made.put(status(1))
    await eventually_async(lambda: sent)
    for number in range(2, 20):
        made.put(status(number))
        await eventually_async(lambda number=number: len(read_json(path)["pending"]) == number)
    running.cancel()
    await asyncio.wait([running])
    assert sent == [1]


async def test_a_cancellation_is_not_lost_in_a_change_that_comes_with_it(tmp_path):
    """Nor is anything written after it, over what another one has written meanwhile."""
    path, sent = tmp_path / "updates.json", []
    for number in range(20):
        made = UpdateStream(path, sent.append, first_retry=600.0)
        running = asyncio.create_task(made.run())
        made.put(status(number))
        await eventually_async(lambda: sent)
        made.put(status(100))
        if number % 2:
            await asyncio.sleep(0)
        running.cancel()
        done, _ = await asyncio.wait([running], timeout=30)
        assert done, "it ends"
        path.write_text("{}")
        sent.clear()
    assert path.read_text() == "{}"


async def test_a_full_disk_holds_updates_back_until_there_is_room(tmp_path, monkeypatch):
    full = True
    write = updates.write_json

    def write_or_fail(path: Path, value: dict) -> None:
        if full:
            raise OSError(28, "No space left on device")
        write(path, value)

    monkeypatch.setattr(updates, "write_json", write_or_fail)
    sent: list[int] = []
    made = UpdateStream(tmp_path / "updates.json", lambda s: sent.append(s["number"]), first_retry=600.0)
    running = asyncio.create_task(made.run())
    made.put(status(1))
    loop = asyncio.get_running_loop()
    start = loop.time()
    await eventually_async(lambda: loop.time() > start + 0.3)
    assert sent == []
    full = False
    await eventually_async(lambda: sent == [1])
    running.cancel()


def test_results_of_checks_beyond_the_bound_are_merged_and_nothing_else():
    queue = UpdateQueue(most=3)
    for number in range(10):
        queue.put(status(number, reason=HEALTH))
    assert [update["number"] for update in queue.pending] == [0, 1, 9]
    queue.put(status(10, "TASK_KILLED"))
    assert [update["number"] for update in queue.pending] == [0, 1, 9, 10]


@given(
    st.lists(
        st.one_of(
            st.just(("put", "TASK_RUNNING")),
            st.just(("put", "TASK_KILLING")),
            st.just(("put", "TASK_KILLED")),
            st.just(("acknowledge", "")),
        )
    )
)
def test_what_is_acknowledged_is_what_was_put_in_order_and_nothing_after_the_end(steps):
    queue = UpdateQueue()
    put: list[int] = []
    acknowledged: list[int] = []
    for number, (step, state) in enumerate(steps):
        if step == "put":
            ended = queue.ended
            queue.put(status(number, state))
            if not ended:
                put.append(number)
        elif queue.head:
            acknowledged.append(queue.head["number"])
            assert queue.acknowledge(queue.head["uuid"])
    assert acknowledged == put[: len(acknowledged)]
    assert [update["number"] for update in queue.pending] == put[len(acknowledged) :]
    states = [update["state"] for update in queue.history]
    assert all(a != b for a, b in itertools.pairwise(states)), "one entry for each run of equal states"
    assert queue.done == (queue.ended and not queue.pending)


async def test_a_framework_that_is_back_hears_at_once(tmp_path):
    sent: list[int] = []
    made = UpdateStream(tmp_path / "u.json", lambda s: sent.append(s["number"]), first_retry=600.0)
    running = asyncio.create_task(made.run())
    made.put(status(1))
    await eventually_async(lambda: sent == [1])
    made.resend()
    await eventually_async(lambda: sent == [1, 1])
    made.acknowledge("u1")
    made.resend()
    made.put(status(2))
    await eventually_async(lambda: sent == [1, 1, 2])
    running.cancel()
