"""Sandboxes on disk: names that are safe, owners, and the removal of old ones."""

import os
from pathlib import Path

import pytest

from embedded.mesos.durable import read_json, write_json
from embedded.mesos.runtimes.base import LaunchError
from embedded.mesos.sandbox import Layout, check_names, collect_garbage, ended_runs, give_to, make_run


def make(layout: Layout, executor: str, container: str, age: float = 0.0, now: float = 1_000_000.0) -> Path:
    run = layout.run("S0", "fw", executor, container)
    make_run(run)
    (run / "stdout").write_text("x")
    os.utime(run, (now - age, now - age))
    return run


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../../etc", "nul\0", "x" * 256])
def test_ids_that_are_no_file_names_are_refused(name):
    for ids in ((name, "e", "t"), ("fw", name, "t"), ("fw", "e", name)):
        with pytest.raises(LaunchError, match="cannot be a directory's name"):
            check_names(*ids)


def test_latest_points_to_the_newest_run(tmp_path):
    layout = Layout(tmp_path)
    first = make(layout, "t", "c1")
    assert (first.parent / "latest").resolve() == first
    second = make(layout, "t", "c2")
    assert (first.parent / "latest").resolve() == second
    assert sorted(path.name for path in first.parent.iterdir()) == ["c1", "c2", "latest"]


def test_old_sandboxes_go_by_age_and_by_number_and_those_in_use_stay(tmp_path):
    layout, now = Layout(tmp_path), 1_000_000.0
    runs = [make(layout, f"t{n}", f"c{n}", age=n * 100) for n in range(10)]  # t0 is the newest
    living = [runs[9]]
    assert ended_runs(layout.slaves, living) == list(reversed(runs[:9]))
    assert collect_garbage(layout.slaves, living, keep=100, keep_seconds=650, now=now) == 2
    assert [run.exists() for run in runs] == [True] * 7 + [False] * 2 + [True]
    assert collect_garbage(layout.slaves, living, keep=3, keep_seconds=10**6, now=now) == 4
    assert [run.exists() for run in runs] == [True] * 3 + [False] * 6 + [True]
    assert not (layout.slaves / "S0" / "frameworks" / "fw" / "executors" / "t8").exists(), "with the directories above"
    assert collect_garbage(layout.slaves, [], keep=0, keep_seconds=0, now=now) == 4
    assert list(layout.slaves.iterdir()) == []


def test_a_run_stays_when_an_older_one_of_the_task_goes(tmp_path):
    layout = Layout(tmp_path)
    make(layout, "t", "old", age=1000)
    new = make(layout, "t", "new")
    collect_garbage(layout.slaves, [], keep=1, keep_seconds=10**6, now=1_000_000.0)
    assert new.exists()
    assert (new.parent / "latest").resolve() == new


def test_a_new_owner_gets_all_but_what_links_point_to(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("x")
    sandbox = tmp_path / "sandbox"
    (sandbox / "sub").mkdir(parents=True)
    (sandbox / "sub" / "file").write_text("x")
    (sandbox / "link").symlink_to(outside)
    (sandbox / "dir").symlink_to(tmp_path)
    give_to(sandbox, 65534, 65534)
    assert (sandbox / "sub" / "file").stat().st_uid == 65534
    assert (sandbox / "link").lstat().st_uid == 65534
    assert (sandbox / "dir").lstat().st_uid == 65534
    assert outside.stat().st_uid == tmp_path.stat().st_uid == 0


def test_json_files_are_private_and_replaced_whole(tmp_path):
    path = tmp_path / "secret.json"
    write_json(path, {"a": 1})
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path], "no temporary file is left"


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff"])
def test_what_is_no_json_object_reads_as_nothing(tmp_path, content):
    (tmp_path / "f").write_bytes(content)
    assert read_json(tmp_path / "f") is None
    assert read_json(tmp_path / "missing") is None
