import os
import subprocess
import sys

from dromos.up.process import PidFile, Process, rotate, start
from tests.support.waiting import eventually


def sleeper(*extra: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", f"{';'.join(extra)}\nimport time; print('up', flush=True); time.sleep(60)"], stdout=-1
    )


def test_a_process_is_known_by_its_pid_and_its_start():
    child = sleeper("0")
    process = Process.of(child.pid)
    assert process is not None and process.alive
    assert not Process(process.pid, process.started - 1).alive, "the same pid, used by another process"
    child.kill()
    child.wait()
    assert not process.alive
    assert Process.of(child.pid) is None


def test_what_has_ended_but_was_not_collected_is_not_alive():
    child = sleeper("0")
    process = Process.of(child.pid)
    assert process is not None
    child.kill()
    eventually(lambda: not process.alive)
    child.wait()


def test_stop_waits_for_a_clean_end():
    child = sleeper("import signal", "signal.signal(15, lambda *_: exit(7))")
    assert child.stdout is not None
    child.stdout.readline()
    process = Process.of(child.pid)
    assert process is not None
    process.stop(grace=60)
    assert child.wait() == 7


def test_stop_kills_what_ignores_it():
    child = sleeper("import signal", "signal.signal(15, signal.SIG_IGN)")
    assert child.stdout is not None
    child.stdout.readline()
    process = Process.of(child.pid)
    assert process is not None
    process.stop(grace=0.2)
    assert child.wait() == -9


def test_a_pid_file_gives_back_only_a_living_process(tmp_path):
    file = PidFile(tmp_path / "run" / "x.json")
    assert file.read() is None
    child = sleeper("0")
    process = Process.of(child.pid)
    assert process is not None
    file.write(process)
    assert file.read() == process
    child.kill()
    child.wait()
    assert file.read() is None
    file.path.write_text("not json")
    assert file.read() is None


def test_a_started_program_has_its_own_session_and_appends_to_its_log(tmp_path):
    log = tmp_path / "logs" / "x.log"
    for _ in range(2):
        child = start(
            (sys.executable, "-c", "import os; print(os.getsid(0) == os.getpid())"), log=log, environment=os.environ
        )
        assert child.wait() == 0
    assert log.read_text() == "True\nTrue\n"


def test_a_log_over_its_limit_moves_aside_and_starts_anew(tmp_path):
    log = tmp_path / "x.log"
    with log.open("ab") as writer:
        writer.write(b"a" * 100)
        writer.flush()
        rotate(log, limit=100)
        assert log.stat().st_size == 100
        writer.write(b"b")
        writer.flush()
        rotate(log, limit=100)
        writer.write(b"new")
        writer.flush()
    assert (tmp_path / "x.log.1").read_bytes() == b"a" * 100 + b"b"
    assert log.read_bytes() == b"new"
