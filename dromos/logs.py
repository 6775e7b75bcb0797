"""`dromos logs`: what tasks wrote to stdout and stderr, read from the sandbox through the Mesos agent."""

import base64
import time
from dataclasses import dataclass, field

import click
import orjson

from dromos.context import Context, pass_context
from dromos.errors import CommandError
from dromos.sandbox import MissingError, Place, agent_call, find_place, last_failure, short, tasks_of
from dromos.specs import SpecName

CHUNK = 64 * 1024
POLL_SECONDS = 0.5
COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "bright_red")


@dataclass
class LogFile:
    """One file of one sandbox, read forward from `offset`."""

    place: Place
    stream: str
    colour: str = "cyan"
    offset: int = 0
    _rest: bytes = field(default=b"", init=False)

    def read_lines(self, *, to_the_end: bool = False) -> list[str]:
        """The complete lines that have come since the last call; with `to_the_end` also a last one without its newline."""
        text = self._rest
        size = self.offset + 1
        while self.offset < size:
            data, size = self._read(CHUNK)
            self.offset += len(data)
            text += data
            if not data:
                break
        *lines, self._rest = text.split(b"\n")
        if to_the_end and self._rest:
            lines.append(self._rest)
            self._rest = b""
        return [line.decode(errors="replace") for line in lines]

    def skip_to(self, lines: int) -> list[str]:
        """Reads all that there is; the last `lines` of it."""
        if not lines:
            _, self.offset = self._read(0)
            return []
        return self.read_lines()[-lines:]

    def _read(self, length: int) -> tuple[bytes, int]:
        """(what there is at `offset`, the size of the file)"""
        wanted = {"path": f"{self.place.directory}/{self.stream}", "offset": self.offset, "length": length}
        try:
            found = agent_call(self.place.agent_url, "READ_FILE", wanted)
        except MissingError:
            if self.offset:
                raise
            return b"", 0  # nothing has been written yet, or, by what could not even be launched, never was
        return base64.b64decode(found.get("data", "")), int(found["size"])


@click.command()
@click.argument("apps_or_tasks", nargs=-1, required=True, metavar="APP_OR_TASK…", type=SpecName())
@click.option("-f", "--follow", is_flag=True, help="go on until interrupted, new instances included")
@click.option("--stderr", "streams", flag_value="stderr", help="stderr instead of stdout")
@click.option("--both", "streams", flag_value="stdout stderr", help="stdout and stderr, each line marked")
@click.option("--stdout", "streams", flag_value="stdout", help="stdout, which is what is shown of running tasks anyhow")
@click.option(
    "-n", "--tail", default=100, show_default=True, type=click.IntRange(min=0), help="how many lines of the past"
)
@pass_context
def logs(context: Context, apps_or_tasks: tuple[str, ...], follow: bool, streams: str, tail: int) -> None:
    """The output of the tasks of apps and pods, or of single tasks. With several, each line says whose it is.

    Of an app of which nothing runs, both streams of the last task that failed.
    """
    reading = _Reading(context, apps_or_tasks, tuple((streams or "").split()), tail)
    reading.look_for_tasks(must_exist=True)
    reading.begin(follow)
    while follow:
        time.sleep(POLL_SECONDS)
        reading.go_on()
        reading.look_for_tasks(must_exist=False)
        reading.begin(follow)


class _Reading:
    """All the files that are read, the new ones of new tasks among them."""

    def __init__(self, context: Context, names: tuple[str, ...], streams: tuple[str, ...], tail: int) -> None:
        self._context, self._names, self._streams, self._tail = context, names, streams, tail
        self._new: list[LogFile] = []
        self._open: list[LogFile] = []
        self._known: set[str] = set()

    def look_for_tasks(self, *, must_exist: bool) -> None:
        for name in self._names:
            try:
                tasks = tasks_of(self._context.api, name, must_exist=must_exist)
            except CommandError:  # where nothing runs it is the one that ended that is asked about
                if not self._look_for_failure(name):
                    raise
                continue
            for task_id, agent_id in tasks:
                if task_id in self._known:
                    continue
                place = find_place(self._context.api, task_id, agent_id)
                if place is not None:
                    self._add(place, self._streams or ("stdout",))

    def _look_for_failure(self, name: str) -> bool:
        """Whether there is a task that failed, with its sandbox."""
        failure = last_failure(self._context.api, name)
        place = find_place(self._context.api, failure["taskId"], failure["slaveId"]) if failure else None
        if not failure or place is None:
            return False
        click.echo(
            f"nothing of {failure['appId']} runs; {short(failure['taskId'])} was the last that failed, on {failure['host']}"
            f" at {failure['timestamp']} ({failure['state']}: {failure['message']}):",
            err=True,
        )
        self._add(place, self._streams or ("stdout", "stderr"))
        return True

    def _add(self, place: Place, streams: tuple[str, ...]) -> None:
        colour = COLOURS[len(self._known) % len(COLOURS)]
        self._known.add(place.task_id)
        self._new += [LogFile(place, stream, colour) for stream in streams]

    def begin(self, follow: bool) -> None:
        new, self._new = self._new, []
        self._open += new
        for file in new:
            past = file.skip_to(self._tail) if follow else file.read_lines(to_the_end=True)[-self._tail :]
            self._print(file, past if self._tail else [])

    def go_on(self) -> None:
        for file in list(self._open):
            try:
                self._print(file, file.read_lines())
            except CommandError:  # the sandbox is gone with its task
                self._open.remove(file)

    def _print(self, file: LogFile, lines: list[str]) -> None:
        several = len({one.stream for one in self._open}) > 1
        labelled = len(self._known) > 1 or several
        mark = file.place.label + (f" {file.stream}" if several else "")
        for line in lines:
            if self._context.as_json:
                document = {"task": file.place.task_id, "stream": file.stream, "line": line}
                click.echo(orjson.dumps(document).decode())
            else:
                click.echo(f"{click.style(mark, fg=file.colour)} {line}" if labelled else line)
