"""Only sandboxes can be read, whatever a path says and whatever a task has put into its sandbox."""

import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded.mesos.errors import CallError
from embedded.mesos.files import MOST_READ_BYTES, Jail, text_of


@pytest.fixture
def jail(tmp_path):
    (tmp_path / "slaves" / "run").mkdir(parents=True)
    (tmp_path / "slaves" / "run" / "stdout").write_bytes(b"0123456789")
    (tmp_path / "secret").write_text("secret")
    return Jail(lambda: [tmp_path / "slaves"])


def refused(jail, path):
    with pytest.raises(CallError) as error:
        jail.read(str(path), 0, None)
    return error.value.status


def test_a_file_is_read_in_parts(jail, tmp_path):
    path = str(tmp_path / "slaves" / "run" / "stdout")
    assert jail.read(path, 0, None) == (b"0123456789", 10)
    assert jail.read(path, 3, 4) == (b"3456", 10)
    assert jail.read(path, 10, 4) == (b"", 10)
    assert jail.read(path, 99, None) == (b"", 10)


def test_one_answer_is_bounded(jail, tmp_path):
    (tmp_path / "slaves" / "big").write_bytes(b"x" * (MOST_READ_BYTES + 1))
    assert len(jail.read(str(tmp_path / "slaves" / "big"), 0, 10**9)[0]) == MOST_READ_BYTES


@pytest.mark.parametrize("path", ["/etc/passwd", "slaves/run/stdout", "", "/", "/proc/self/environ", "/slaves/\0x"])
def test_paths_outside_are_not_found(jail, path):
    assert refused(jail, path) == 404


def test_dots_do_not_lead_out(jail, tmp_path):
    assert refused(jail, tmp_path / "slaves" / ".." / "secret") == 404
    assert refused(jail, f"{tmp_path}/slaves-evil/../secret") == 404


def test_a_directory_with_a_longer_name_is_not_the_same(jail, tmp_path):
    (tmp_path / "slaves-too").mkdir()
    (tmp_path / "slaves-too" / "f").write_text("x")
    assert refused(jail, tmp_path / "slaves-too" / "f") == 404


def test_links_out_of_the_sandbox_are_not_followed(jail, tmp_path):
    run = tmp_path / "slaves" / "run"
    (run / "file").symlink_to(tmp_path / "secret")
    (run / "up").symlink_to("../..")
    (run / "latest").symlink_to(run)
    assert refused(jail, run / "file") == 404
    assert refused(jail, run / "up" / "secret") == 404
    with pytest.raises(CallError):
        jail.browse(str(run / "up"))
    assert jail.read(str(run / "latest" / "stdout"), 0, 1) == (b"0", 10), "links within are fine"
    assert {"file", "up"} <= {entry["path"].rpartition("/")[2] for entry in jail.browse(str(run))}
    assert next(entry for entry in jail.browse(str(run)) if entry["path"].endswith("/file"))["mode"][0] == "l"


@pytest.mark.timeout(60)
def test_pipes_and_sockets_neither_block_nor_answer(jail, tmp_path):
    run = tmp_path / "slaves" / "run"
    os.mkfifo(run / "pipe")
    assert refused(jail, run / "pipe") == 400
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(run / "socket"))
        assert refused(jail, run / "socket") in (400, 404)


@given(st.text(min_size=1).filter(lambda t: "�" not in t), st.integers(1, 20))
def test_a_text_read_in_pieces_comes_out_whole(text, step):
    """A reader goes on after the bytes of the text that it got, as clients do."""
    data = text.encode(errors="ignore")
    expected = data.decode()
    offset, found = 0, ""
    size = max(step, 4)
    while offset < len(data):
        piece = data[offset : offset + size]
        told = text_of(piece, at_end=offset + len(piece) >= len(data))
        assert told, "every read makes progress"
        found += told
        offset += len(told.encode())
    assert found == expected


@given(st.binary())
def test_bytes_that_are_no_text_never_fail(data):
    assert isinstance(text_of(data, at_end=False), str)
