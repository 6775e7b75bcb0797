"""`dromos exec`: a command beside a running task."""

import contextlib
import os
import sys

import click

from dromos.agent_session import AgentSession, Input
from dromos.context import Context, pass_context
from dromos.errors import CommandError
from dromos.sandbox import find_place, tasks_of
from dromos.specs import SpecName
from dromos.terminal import raw, size_of, watching_size


@click.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("-i", "--interactive", is_flag=True, help="let the command read stdin")
@click.option("-t", "--tty", is_flag=True, help="give the command a terminal, of the size of this one")
@click.argument("instance", type=SpecName())
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND…")
@pass_context
def execute(context: Context, instance: str, command: tuple[str, ...], interactive: bool, tty: bool) -> None:
    """Run COMMAND beside a task, in its sandbox and container, and exit as it does.

    INSTANCE is a task, an instance, the short name that `dromos logs` prints, or an app (its oldest task). COMMAND is run as it stands;
    for a pipe or a variable: `dromos exec /web -- sh -c 'env | sort'`. A shell to work in: `dromos exec -it /web sh`.
    """
    command = command[1:] if command[0] == "--" else command
    if not command:
        raise click.UsageError("which command is to run?")
    fd = _stdin() if interactive or tty else None
    if tty and (fd is None or not os.isatty(fd)):
        raise CommandError("stdin is not a terminal: leave -t out, the command gets its input without")
    task_id, agent_id = tasks_of(context.api, instance)[0]
    place = find_place(context.api, task_id, agent_id)
    if place is None or not place.container:
        raise CommandError(f"{task_id} does not run yet")
    given = Input(fd if interactive else None, size_of(fd) if tty and fd is not None else None)
    session = AgentSession(place, command, given)
    out, err = bytearray(), bytearray()
    with contextlib.ExitStack() as stack:
        if tty and fd is not None:
            stack.enter_context(watching_size(fd, session.resize))
            if interactive:
                stack.enter_context(raw(fd))
        for kind, data in session.output():
            if context.as_json:
                (err if kind == "STDERR" else out).extend(data)
            else:
                stream = sys.stderr if kind == "STDERR" else sys.stdout
                click.echo(data, file=stream.buffer, nl=False)
    code = session.exit_code()
    if interactive and session.input_problem:
        click.echo(f"the command did not get all of its input: {session.input_problem}", err=True)
    if context.as_json:
        document = {"task": task_id, "exitCode": code}
        texts = {"stdout": out.decode(errors="replace"), "stderr": err.decode(errors="replace")}
        context.show([], [], {**document, **texts})
    click.get_current_context().exit(code)


def _stdin() -> int:
    try:
        return sys.stdin.fileno()
    except (AttributeError, OSError):
        raise CommandError("stdin is closed: leave -i out, the command finds its input empty") from None
