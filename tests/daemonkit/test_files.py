"""Files that are there as a whole or not at all."""

import stat
from pathlib import Path

import pytest

from daemonkit.files import write_atomically


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_replaced_with_the_mode_that_it_is_to_have(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / ("x" * 240)
    for data, mode in (("text", 0o644), (b"bytes", 0o600)):
        write_atomically(path, data, mode=mode, durable=durable)
        assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (
            data.encode() if isinstance(data, str) else data,
            mode,
        )
    assert list(tmp_path.iterdir()) == [path]


def test_where_it_cannot_be_replaced_all_is_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomically(tmp_path / "place", "text")
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "nowhere" / "file", "text")
    assert [entry.name for entry in tmp_path.iterdir()] == ["place"]
