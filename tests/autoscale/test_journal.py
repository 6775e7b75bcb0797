from structlog.testing import capture_logs

from autoscale.journal import Entry, Journal


def entry(at: float, app: str = "/a", outcome: str = "held", instances: int = 2, decided: int = 2) -> Entry:
    return Entry(at, app, instances, decided, "because", outcome)  # type: ignore[arg-type]


def journal(tmp_path, **bounds: int) -> Journal:
    return Journal(tmp_path, **{"max_bytes": 1_000_000, "in_memory": 1000, **bounds})


def test_entries_are_found_by_app_newest_last(tmp_path):
    kept = journal(tmp_path)
    for at, app in enumerate(["/a", "/b", "/a", "/b", "/a"]):
        kept.note(entry(at, app, outcome="scaled"))
    assert [found.at for found in kept.of("/a")] == [0, 2, 4]
    assert [found.at for found in kept.of("/a", most=1)] == [4]
    assert [found.at for found in kept.of(since=3)] == [3, 4]
    assert kept.of("/none") == []


def test_what_was_done_is_known_after_a_restart(tmp_path):
    kept = journal(tmp_path)
    kept.note(entry(1))
    kept.note(entry(2, outcome="scaled", decided=5))
    assert [found.decided for found in journal(tmp_path).of("/a")] == [2, 5]


def test_holding_still_is_written_once_a_minute_and_every_action_is_written(tmp_path):
    kept = journal(tmp_path)
    for second in range(0, 130, 2):
        kept.note(entry(second))
    kept.note(entry(131, outcome="refused"))
    kept.note(entry(132, outcome="scaled"))
    assert [found.at for found in kept.of("/a")] == [0, 60, 120, 131, 132]
    kept.note(entry(133))
    kept.note(entry(135))
    assert [found.at for found in kept.of("/a")][-3:] == [132, 133, 135], "the latest look is always there"
    written = [found.at for found in journal(tmp_path).of()]
    assert written == [0, 60, 120, 131, 132, 133]


def test_the_files_stay_within_their_bound(tmp_path):
    kept = journal(tmp_path, max_bytes=20_000)
    for second in range(2000):
        kept.note(entry(second, outcome="scaled"))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 20_000 + 500
    assert journal(tmp_path, max_bytes=20_000).of()[-1].at == 1999


def test_a_line_that_a_crash_cut_short_is_passed_over(tmp_path):
    journal(tmp_path).note(entry(1, outcome="scaled"))
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(b'{"at": 2, "app": "/a", "inst')
    assert [found.at for found in journal(tmp_path).of()] == [1]


def test_a_journal_that_cannot_be_written_still_remembers(tmp_path):
    (tmp_path / "file").write_text("in the way")
    kept = journal(tmp_path / "file")
    kept.note(entry(1, outcome="scaled"))
    assert [found.at for found in kept.of()] == [1]


def test_what_memory_has_no_room_for_is_found_on_disk(tmp_path):
    kept = journal(tmp_path, in_memory=10)
    for at in range(50):
        kept.note(entry(at, "/a" if at < 5 else "/b", outcome="scaled"))
    assert [found.at for found in kept.of("/a")] == [0, 1, 2, 3, 4]
    assert [found.at for found in kept.of("/b", most=30)] == list(range(20, 50))


def test_apps_that_come_and_go_do_not_fill_it(tmp_path):
    kept = journal(tmp_path, in_memory=10)
    for at in range(100):
        kept.note(entry(at, f"/{at}", outcome="scaled"))
    assert len(kept._kept) == len(kept._newest) == 10


def test_a_clock_that_is_set_back_does_not_silence_it(tmp_path):
    kept = journal(tmp_path)
    assert kept.note(entry(5000))
    assert not kept.note(entry(5002)) and kept.note(entry(1000)) and not kept.note(entry(1002))


def test_lines_of_another_shape_are_passed_over(tmp_path):
    journal(tmp_path).note(entry(1, outcome="scaled"))
    whole = (tmp_path / "journal.jsonl").read_bytes()
    for damaged in (whole.replace(b'"at":1', b'"at":null'), whole.replace(b'"/a"', b"7"), b"[]\n", b"\xff\n"):
        with (tmp_path / "journal.jsonl").open("ab") as file:
            file.write(damaged)
    kept = journal(tmp_path)
    assert [found.at for found in kept.of()] == [1]
    assert kept.note(entry(2, outcome="scaled")) and [found.at for found in kept.of("/a")] == [1, 2]


def test_a_disk_that_cannot_be_written_is_told_once_and_when_that_is_over(tmp_path):
    (tmp_path / "d").write_text("in the way")
    kept = journal(tmp_path / "d")
    with capture_logs() as told:
        for at in range(5):
            kept.note(entry(at, outcome="scaled"))
        (tmp_path / "d").unlink()
        for at in range(5, 10):
            kept.note(entry(at, outcome="scaled"))
    assert [line["event"] for line in told] == ["the journal cannot be written", "the journal is written again"]
    assert [found.at for found in journal(tmp_path / "d").of()] == [5, 6, 7, 8, 9]
