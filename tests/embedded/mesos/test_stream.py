"""Subscriptions: RecordIO in order, and nobody's slowness is another's."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from daemonkit.recordio import record
from embedded.mesos.stream import CHUNK_BYTES, Stream


async def drained(stream: Stream) -> list[bytes]:
    return [chunk async for chunk in stream.chunks()]


def stream(max_bytes: int = 10**9) -> Stream:
    return Stream(max_bytes=max_bytes, heartbeat=3600)


@given(st.lists(st.text(max_size=40), max_size=30))
def test_what_goes_in_comes_out_in_order(texts: list[str]):
    async def run() -> bytes:
        one = stream()
        for text in texts:
            one.send({"type": "X", "text": text})
        one.close()
        return b"".join(await drained(one))

    assert asyncio.run(run()) == b"".join(record({"type": "X", "text": text}) for text in texts)


def test_a_record_is_its_length_in_bytes_a_newline_and_its_json():
    assert record({"a": "ü"}) == b'10\n{"a":"\xc3\xbc"}'


async def test_waiting_events_are_sent_together_up_to_a_size():
    one = stream()
    for _ in range(100):
        one.send({"text": "x" * 10_000})
    one.close()
    chunks = await drained(one)

    assert 10 < len(chunks) < 30
    assert all(len(chunk) <= CHUNK_BYTES for chunk in chunks)


async def test_an_event_larger_than_a_chunk_is_sent_alone():
    one = stream()
    one.send({"text": "x" * (2 * CHUNK_BYTES)})
    one.send({"text": "small"})
    one.close()

    assert [len(chunk) > CHUNK_BYTES for chunk in await drained(one)] == [True, False]


async def test_a_client_that_does_not_read_is_cut_off_and_its_events_forgotten():
    slow = stream(max_bytes=1000)
    for _ in range(1000):
        slow.send({"text": "x" * 100})

    assert slow.closed
    assert await drained(slow) == []


async def test_a_reader_that_waits_is_woken_by_an_event_and_by_the_end():
    one = stream()
    reading = asyncio.create_task(drained(one))
    await asyncio.sleep(0)
    one.send({"n": 1})
    await asyncio.sleep(0)
    one.close()

    assert b"".join(await asyncio.wait_for(reading, 30)) == record({"n": 1})


async def test_heartbeats_come_at_once_and_again_until_the_end():
    one = Stream(max_bytes=10**6, heartbeat=0.01)
    one.start_heartbeats()
    chunks, beat, seen = one.chunks(), record({"type": "HEARTBEAT"}), b""
    while len(seen) < 3 * len(beat):  # several may wait to be read
        seen += await asyncio.wait_for(anext(chunks), 30)
    one.close()
    seen += b"".join([chunk async for chunk in chunks])
    assert seen == beat * (len(seen) // len(beat))
