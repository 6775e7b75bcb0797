"""Docker's multiplexed output: read whole however it is cut, and copied once however often it is read."""

import asyncio
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded.mesos.runtimes.docker_logs import Position, Reading
from embedded.mesos.runtimes.docker_stream import DockerStreamError, DockerStreams, Frame, FrameParser, unix_time

STREAMS = st.sampled_from([1, 2])


def encoded(stream: int, data: bytes) -> bytes:
    return struct.pack(">BxxxI", stream, len(data)) + data


@given(st.lists(st.tuples(STREAMS, st.binary(max_size=50))), st.lists(st.integers(1, 20)))
def test_frames_come_out_whole_however_the_stream_is_cut(frames, cuts):
    data = b"".join(encoded(stream, content) for stream, content in frames)
    parser, found, sizes = FrameParser(stamped=False), [], [*cuts, len(data) + 1]
    for size in sizes:
        found += parser.feed(data[:size])
        data = data[size:]
    assert [(frame.stream, frame.data) for frame in found] == frames


def test_stamps_are_taken_off():
    parser = FrameParser(stamped=True)
    [frame] = parser.feed(encoded(2, b"2026-11-21T03:56:10.123456789Z two words\n"))
    assert frame == Frame(2, "2026-11-21T03:56:10.123456789Z", b"two words\n")


def test_a_terminals_output_is_refused():
    with pytest.raises(DockerStreamError, match="not multiplexed"):
        FrameParser(stamped=True).feed(b"2026-11-21T03:56:10Z plain text\n")


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [("1970-01-01T00:00:01.000000002Z", "1.000000002"), ("2026-11-21T03:56:10Z", "1795233370.0")],
)
def test_since_keeps_the_nanoseconds(stamp, seconds):
    assert unix_time(stamp) == seconds


@given(
    st.lists(st.tuples(STREAMS, st.integers(0, 3)), max_size=30),
    st.lists(st.integers(0, 30), max_size=4),
)
def test_every_frame_is_copied_once_however_often_the_reading_breaks_off(steps, breaks):
    """Stamps grow within a stream, several frames may share one, and the two streams are told in any order."""
    clocks = {1: 0, 2: 0}
    history = []
    for number, (stream, later) in enumerate(steps):
        clocks[stream] += later
        history.append(Frame(stream, f"{clocks[stream]:05}", str(number).encode()))
    positions = {1: Position(), 2: Position()}
    copied: list[Frame] = []
    for end in [*breaks, len(history)]:
        reading = Reading(positions)
        since = reading.since
        copied += reading.fresh([frame for frame in history[:end] if frame.stamp >= since])
    assert sorted(copied, key=lambda frame: int(frame.data)) == history
    for stream in (1, 2):
        assert [frame for frame in copied if frame.stream == stream] == [f for f in history if f.stream == stream]


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1", b"HTTP/1.1 101 ", b"garbage\r\n\r\n", b"x" * 100_000])
async def test_a_docker_that_breaks_off_or_talks_nonsense_is_an_error_in_words(tmp_path, answer):
    async def talks(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    async with await asyncio.start_unix_server(talks, tmp_path / "docker.sock"):
        with pytest.raises((DockerStreamError, ConnectionError)):
            await DockerStreams(f"unix://{tmp_path}/docker.sock").attach_exec("id", tty=False)
