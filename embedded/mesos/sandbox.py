"""Where tasks live on disk.

    <work dir>/slaves/<agent id>/frameworks/<framework id>/executors/<task id>/runs/<container id>/    a task's sandbox
    <work dir>/slaves/<agent id>/frameworks/<framework id>/executors/<executor id>/runs/<container id>/containers/<container id>/
                                                                                                       a sandbox of a task group
    <work dir>/meta/agent.json                                                                         the agent's id
    <work dir>/meta/tasks/<container id>/                                                              what is needed after a restart

`runs/latest` points to the newest run, and a group's `tasks/<task id>` to the task's sandbox, as in Mesos.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from embedded.mesos.runtimes.base import LaunchError

_LONGEST_NAME = 255


@dataclass(frozen=True)
class Layout:
    work_dir: Path

    @property
    def meta(self) -> Path:
        return self.work_dir / "meta"

    @property
    def slaves(self) -> Path:
        return self.work_dir / "slaves"

    def meta_of(self, container_id: str) -> Path:
        return self.meta / "tasks" / container_id

    def run(self, agent_id: str, framework_id: str, executor_id: str, container_id: str) -> Path:
        """The ids have passed `check_names`."""
        return self.slaves / agent_id / "frameworks" / framework_id / "executors" / executor_id / "runs" / container_id


def check_names(framework_id: str, executor_id: str, task_id: str) -> None:
    """Raises LaunchError for an id that is no file name."""
    for what, name in (("framework", framework_id), ("executor", executor_id), ("task", task_id)):
        if not name or name in (".", "..") or "/" in name or "\0" in name or len(name.encode()) > _LONGEST_NAME:
            raise LaunchError(f"Failed to create the sandbox: {what} id {name!r} cannot be a directory's name")


def make_run(run: Path) -> None:
    """Makes a run's directory and points `latest` to it. Raises OSError."""
    run.mkdir(parents=True, mode=0o755)
    latest = run.parent / f".latest-{run.name}"
    latest.symlink_to(run.name)
    latest.rename(run.parent / "latest")


def make_child(run: Path, container_id: str, task_id: str) -> Path:
    """The sandbox of one task of a group whose run is `run`."""
    sandbox = run / "containers" / container_id
    sandbox.mkdir(parents=True)
    (run / "tasks").mkdir(exist_ok=True)
    (run / "tasks" / task_id).symlink_to(sandbox)
    return sandbox


def give_to(sandbox: Path, uid: int, gid: int) -> None:
    """Makes a user the owner of a sandbox and all in it, never of what a link in it points to."""
    os.chown(sandbox, uid, gid, follow_symlinks=False)
    for directory, directories, files in os.walk(sandbox, followlinks=False):
        for name in (*directories, *files):
            os.chown(Path(directory) / name, uid, gid, follow_symlinks=False)


def ended_runs(slaves: Path, living: Collection[Path]) -> list[Path]:
    """The runs that no living task uses, oldest first."""
    runs = [
        path for path in slaves.glob("*/frameworks/*/executors/*/runs/*") if not path.is_symlink() and path.is_dir()
    ]
    used = {str(path) for path in living}
    found = []
    for run in runs:
        if str(run) not in used:
            with contextlib.suppress(FileNotFoundError):
                found.append((run.stat().st_mtime, run))
    return [run for _, run in sorted(found)]


def collect_garbage(
    slaves: Path, living: Collection[Path], *, keep: int, keep_seconds: float, now: float | None = None
) -> int:
    """Removes sandboxes of ended tasks: those older than `keep_seconds`, and the oldest beyond `keep`. Returns how many."""
    runs = ended_runs(slaves, living)
    oldest = (time.time() if now is None else now) - keep_seconds
    doomed = runs[: max(0, len(runs) - keep)]
    for run in runs[len(doomed) :]:
        with contextlib.suppress(FileNotFoundError):
            if run.stat().st_mtime < oldest:
                doomed.append(run)
    for run in doomed:
        shutil.rmtree(run, ignore_errors=True)
        _remove_empty_parents(run, slaves)
    return len(doomed)


def _remove_empty_parents(run: Path, slaves: Path) -> None:
    latest = run.parent / "latest"
    if latest.is_symlink() and not latest.exists():
        latest.unlink(missing_ok=True)
    for directory in run.parents:
        if directory == slaves:
            return
        try:
            directory.rmdir()
        except OSError:
            return
