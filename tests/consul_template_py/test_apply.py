"""Targets are taken from what they have to what is wanted, on real files with real commands."""

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from consul_template_py import commands
from consul_template_py.apply import Applied, Applier, apply
from consul_template_py.commands import Command
from consul_template_py.files import FileOnDisk, Ownership, WantedFile
from consul_template_py.order import line
from consul_template_py.targets.base import Outcome
from consul_template_py.targets.command import Commands, CommandTarget, Files
from consul_template_py.token_bucket import Rate
from tests.support.waiting import eventually_async


def target(path: Path, *, roll_back: bool = True, **commands: str) -> CommandTarget:
    todo = Commands(**{name: Command.parse(words) for name, words in commands.items()}, roll_back=roll_back)  # type: ignore[arg-type]
    return CommandTarget("t", [path], todo)


def wanted(path: Path, text: str, **more: object) -> Files:
    return (WantedFile.of(path, text.encode(), **more),)  # type: ignore[arg-type]


def leftovers(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir() if entry.name.startswith(".")]


async def test_it_is_checked_swapped_reloaded_and_verified_in_that_order(tmp_path: Path) -> None:
    file, log = tmp_path / "f", tmp_path / "log"
    file.write_text("old")
    steps = target(
        file,
        check=f"echo check $(cat {file}) $(cat {{staged}}) >> {log}",
        reload=f"echo reload $(cat $DROMOS_FILES) >> {log}",
        verify=f"echo verify >> {log}",
    )
    result = await apply(steps, wanted(file, "new"), Applied())
    assert (result.outcome, result.would_write, result.did_write, result.did_reload) == ("applied", True, True, True)
    assert log.read_text().splitlines() == ["check old new", "reload new", "verify"]
    assert leftovers(tmp_path) == []


async def test_a_check_that_refuses_leaves_everything_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("old")
    steps = target(file, check="echo 'line 3: bad' >&2; false", reload=f"touch {tmp_path / 'reloaded'}")
    result = await apply(steps, wanted(file, "new"), Applied())
    assert result.outcome is Outcome.refused and "line 3: bad" in result.error and not result.did_write
    assert file.read_text() == "old" and not (tmp_path / "reloaded").exists() and leftovers(tmp_path) == []


@pytest.mark.parametrize("step", ["reload", "verify"])
async def test_a_failed_reload_or_verification_is_rolled_back(tmp_path: Path, step: str) -> None:
    file = tmp_path / "f"
    file.write_text("old")
    todo = {"reload": f"cat {file} >> {tmp_path / 'log'}; echo >> {tmp_path / 'log'}"}
    todo[step] = f"{todo.get(step, 'true')}; grep -q old {file}"
    result = await apply(target(file, **todo), wanted(file, "new"), Applied())
    assert result.outcome is Outcome.rolled_back and file.read_text() == "old"
    assert (tmp_path / "log").read_text() == "new\nold\n" and leftovers(tmp_path) == []


async def test_rolling_back_a_file_that_was_not_there_removes_it(tmp_path: Path) -> None:
    file = tmp_path / "f"
    result = await apply(target(file, reload=f"test ! -e {file}"), wanted(file, "new"), Applied())
    assert result.outcome is Outcome.rolled_back and not file.exists()


async def test_without_roll_back_the_file_stays_and_only_the_reload_is_tried_again(tmp_path: Path) -> None:
    file, applied = tmp_path / "f", Applied()
    steps = target(file, roll_back=False, reload=f"test -e {tmp_path / 'gate'}")
    first = await apply(steps, wanted(file, "new"), applied)
    assert first.outcome is Outcome.failed and first.did_write and file.read_text() == "new"
    (tmp_path / "gate").touch()
    second = await apply(steps, wanted(file, "new"), applied)
    assert second.outcome is Outcome.applied and second.did_reload and not second.did_write


async def test_what_is_in_place_already_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("same")
    result = await apply(target(file, reload=f"touch {tmp_path / 'reloaded'}"), wanted(file, "same"), Applied())
    assert result.outcome is Outcome.unchanged and not (tmp_path / "reloaded").exists()


async def test_an_unfinished_reload_is_remembered_by_a_note(tmp_path: Path) -> None:
    file, note = tmp_path / "f", tmp_path / "state" / "note"
    steps = target(file, roll_back=False, reload=f"test -e {tmp_path / 'gate'}")
    assert (await apply(steps, wanted(file, "new"), Applied(note))).outcome is Outcome.failed
    assert note.exists()
    (tmp_path / "gate").touch()
    later = target(file, roll_back=False, reload=f"test -e {tmp_path / 'gate'}")
    result = await apply(later, wanted(file, "new"), Applied(note))
    assert result.outcome is Outcome.applied and result.did_reload and not result.did_write and not note.exists()


async def test_a_change_of_the_file_by_others_is_mended(tmp_path: Path) -> None:
    file, applied = tmp_path / "f", Applied()
    steps = target(file, reload=f"echo x >> {tmp_path / 'log'}")
    await apply(steps, wanted(file, "mine"), applied)
    file.write_text("theirs")
    assert (await apply(steps, wanted(file, "mine"), applied)).did_write
    assert file.read_text() == "mine" and (tmp_path / "log").read_text() == "x\nx\n"


async def test_a_dry_run_says_what_it_would_do(tmp_path: Path) -> None:
    file = tmp_path / "f"
    result = await apply(target(file), wanted(file, "new"), Applied(), dry=True)
    assert (result.outcome, result.would_write, result.did_write) == (Outcome.would_apply, True, False)
    assert not file.exists()


async def test_a_file_that_cannot_be_written_is_said_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "in-the-way").write_text("a file")
    file = tmp_path / "in-the-way" / "f"
    result = await apply(target(file), wanted(file, "new"), Applied())
    assert result.outcome is Outcome.not_staged and "in-the-way" in result.error


async def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    """/dev/full's kin: a tmpfs that holds one page."""
    small = tmp_path / "small"
    small.mkdir()
    mount = await asyncio.create_subprocess_exec("mount", "-t", "tmpfs", "-o", "size=16k", "none", str(small))
    assert await mount.wait() == 0
    try:
        file = small / "f"
        file.write_text("old")
        result = await apply(target(file), wanted(file, "x" * 100_000), Applied())
        assert result.outcome is Outcome.not_staged and "No space left" in result.error
        assert file.read_text() == "old" and leftovers(small) == []
    finally:
        await (await asyncio.create_subprocess_exec("umount", str(small))).wait()


async def test_a_command_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    file, started = tmp_path / "f", tmp_path / "pid"
    words = f"sleep 1000 & echo $! > {started}; wait"
    for timeout in (0.5, 5.0, 30.0):  # as long as this machine needs to start it
        todo = Commands(reload=Command.parse(words, timeout=timeout))
        result = await apply(CommandTarget("t", [file], todo), wanted(file, "new"), Applied())
        assert result.outcome is Outcome.failed and f"no end within {timeout:g} s" in result.error
        if started.exists() and started.read_text():
            break
    pid = int(started.read_text())
    await eventually_async(lambda: _is_gone(pid))


async def test_a_command_that_is_given_up_in_the_moment_it_ends_is_given_up_all_the_same() -> None:
    """Else a reload that ends just as the process is told to stop would keep it from stopping, for ever."""
    running = asyncio.create_task(commands.run(Command.parse("sleep 0.1 & true")))
    while not (readers := [task for task in asyncio.all_tasks() if "_keep_end" in repr(task)]):
        await asyncio.sleep(0)
    readers[0].add_done_callback(lambda _: running.cancel())
    await asyncio.wait({running})
    assert running.cancelled()


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


# files


def test_permissions_owner_and_backup(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "f"
    on_disk = FileOnDisk(file)
    for text in ("one", "two"):
        (want,) = wanted(file, text, ownership=Ownership(0o640, 1234, 5678), backup=True)
        on_disk.stage(want)
        on_disk.swap(want)
        on_disk.discard()
    found = file.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o640, 1234, 5678)
    assert file.read_text() == "two" and (file.parent / "f.bak").read_text() == "one" and leftovers(file.parent) == []


def test_without_permissions_the_file_keeps_its_own(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("old")
    file.chmod(0o600)
    os.chown(file, 1234, 1234)
    (want,) = wanted(file, "new")
    on_disk = FileOnDisk(file)
    on_disk.stage(want)
    on_disk.swap(want)
    assert (stat.S_IMODE(file.stat().st_mode), file.stat().st_uid) == (0o600, 1234)
    (fresh,) = wanted(tmp_path / "g", "new")
    other = FileOnDisk(fresh.path)
    other.stage(fresh)
    other.swap(fresh)
    assert stat.S_IMODE(fresh.path.stat().st_mode) == 0o644


def test_a_symbolic_link_stays_and_what_it_points_to_is_written(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old")
    link.symlink_to(real)
    (want,) = wanted(link, "new")
    on_disk = FileOnDisk(link)
    on_disk.stage(want)
    on_disk.swap(want)
    assert link.is_symlink() and real.read_text() == "new"


# the loop


@contextlib.asynccontextmanager
async def applying(applier: "Applier[Files]") -> AsyncIterator[None]:
    task = asyncio.create_task(applier.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_many_wishes_while_a_reload_runs_become_one(tmp_path: Path) -> None:
    file, log = tmp_path / "f", tmp_path / "log"
    steps = target(
        file, reload=f"echo $(cat {file}) >> {log}; while ! test -e {tmp_path / 'gate'}; do sleep 0.01; done"
    )
    applier = Applier(steps)
    async with applying(applier):
        applier.want(wanted(file, "0"))
        await eventually_async(log.exists)
        for number in range(1, 50):
            applier.want(wanted(file, str(number)))
        (tmp_path / "gate").touch()
        assert (await applier.settled()).ok
    assert log.read_text().split() == ["0", "49"] and file.read_text() == "49"


async def test_reloads_keep_to_their_rate(tmp_path: Path) -> None:
    file, log = tmp_path / "f", tmp_path / "log"
    applier = Applier(target(file, reload=f"echo x >> {log}"), rate=Rate(5.0, 2))
    async with applying(applier):
        began = asyncio.get_running_loop().time()
        for number in range(4):
            applier.want(wanted(file, str(number)))
            assert (await applier.settled()).ok
        assert asyncio.get_running_loop().time() - began >= 0.39  # two at once, then one each 0.2 s
    assert log.read_text() == "x\n" * 4


async def test_a_failure_is_tried_again_with_what_is_wanted_by_then(tmp_path: Path) -> None:
    file = tmp_path / "f"
    applier = Applier(target(file, check="grep -q good {staged}"), first_retry=0.05, most_retry=0.1)
    async with applying(applier):
        applier.want(wanted(file, "bad"))
        assert not (await applier.settled()).ok
        await eventually_async(lambda: applier.state.failures >= 3)
        assert applier.state.next_try_at > 0 and not file.exists()
        applier.want(wanted(file, "good"))
        assert (await applier.settled()).ok
        assert applier.state.failures == 0 and file.read_text() == "good"


async def test_going_back_to_what_is_applied_ends_the_retries(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("good")
    applier = Applier(target(file, check="grep -q good {staged}"), first_retry=30)
    async with applying(applier):
        applier.want(wanted(file, "good"))
        await applier.settled()
        applier.want(wanted(file, "bad"))
        assert not (await applier.settled()).ok
        applier.want(wanted(file, "good"))
        assert (await applier.settled()).outcome is Outcome.unchanged


# The order of commands


@contextlib.asynccontextmanager
async def all_applying(*appliers: "Applier[Files]") -> AsyncIterator[tuple["Applier[Files]", ...]]:
    async with contextlib.AsyncExitStack() as stack:
        for applier in appliers:
            await stack.enter_async_context(applying(applier))
        yield appliers


async def in_a_line(folder: Path, *reloads: str, rates: Sequence[Rate] = ()) -> list[Applier[Files]]:
    """Appliers with these commands, of which a change has been asked in one pass."""
    appliers = []
    for number, reload in enumerate(reloads):
        todo = Commands(reload=Command.parse(reload, timeout=60))
        target, rate = CommandTarget(str(number), [folder / str(number)], todo), (rates or [Rate()] * 9)[number]
        appliers.append(Applier(target, rate=rate, first_retry=30))
    for (number, applier), place in zip(enumerate(appliers), line(len(appliers)), strict=True):
        applier.want(wanted(folder / str(number), "new"), place)
    return appliers


async def test_commands_run_one_after_the_other_when_all_files_are_in_place(tmp_path: Path) -> None:
    log = tmp_path / "log"
    slow = f"echo begin 0 $(ls {tmp_path} | tr '\\n' ' ') >> {log}; sleep 0.3; echo end 0 >> {log}"
    async with all_applying(
        *await in_a_line(tmp_path, slow, f"echo 1 >> {log}; false", f"echo 2 >> {log}")
    ) as appliers:
        await asyncio.gather(*(applier.settled() for applier in appliers))
    assert log.read_text().splitlines() == ["begin 0 0 1 2", "end 0", "1", "2"]


async def test_a_target_that_is_throttled_lets_the_others_pass(tmp_path: Path) -> None:
    log, places = tmp_path / "log", line(2)
    throttled, other = await in_a_line(tmp_path, f"echo 0 >> {log}", f"echo 1 >> {log}", rates=[Rate(0.01, 1), Rate()])
    async with all_applying(throttled, other):
        await asyncio.gather(throttled.settled(), other.settled())
        for number, (applier, place) in enumerate(zip((throttled, other), places, strict=True)):
            applier.want(wanted(tmp_path / str(number), "newer"), place)
        assert (await asyncio.wait_for(other.settled(), 30)).ok
        assert log.read_text().splitlines() == ["0", "1", "1"]
        assert [(tmp_path / name).read_text() for name in "01"] == ["new", "newer"]


async def test_a_target_of_which_something_newer_is_wanted_holds_nobody_up(tmp_path: Path) -> None:
    first, second = await in_a_line(tmp_path, "true", "true")
    first.want(wanted(tmp_path / "0", "newer"))  # and its loop has not even begun
    async with all_applying(second):
        assert (await asyncio.wait_for(second.settled(), 30)).ok
