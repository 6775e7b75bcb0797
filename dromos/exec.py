"""`dromos exec`: a command beside a running task, by the Mesos agent's LAUNCH_NESTED_CONTAINER_SESSION."""

import base64
import os
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import click
import orjson
import requests

from dromos.api import CONNECT_TIMEOUT, Json
from dromos.context import Context, pass_context
from dromos.errors import CommandError, NotReachableError
from dromos.sandbox import AGENT_TIMEOUT, Place, find_place, tasks_of
from dromos.specs import SpecName

SILENCE_SECONDS = 300.0  # the agent sends heartbeats more often
LAUNCH = "LAUNCH_NESTED_CONTAINER_SESSION"
WAIT = "WAIT_NESTED_CONTAINER"


@click.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("instance", type=SpecName())
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND…")
@pass_context
def execute(context: Context, instance: str, command: tuple[str, ...]) -> None:
    """Run COMMAND beside a task, in its sandbox and container, and exit as it does.

    INSTANCE is a task, an instance, the short name that `dromos logs` prints, or an app (its oldest task). COMMAND is run as it stands;
    for a pipe or a variable: `dromos exec /web -- sh -c 'env | sort'`.
    """
    command = command[1:] if command[0] == "--" else command
    if not command:
        raise click.UsageError("which command is to run?")
    task_id, agent_id = tasks_of(context.api, instance)[0]
    place = find_place(context.api, task_id, agent_id)
    if place is None or not place.container:
        raise CommandError(f"{task_id} does not run yet")
    session = {"value": str(uuid.uuid4()), "parent": place.container}
    out, err = bytearray(), bytearray()
    for kind, data in _output(place, session, command):
        if context.as_json:
            (err if kind == "STDERR" else out).extend(data)
        else:
            stream = sys.stderr if kind == "STDERR" else sys.stdout
            click.echo(data, file=stream.buffer, nl=False)
    code = _exit_code(place, session)
    if context.as_json:
        document = {"task": task_id, "exitCode": code}
        texts = {"stdout": out.decode(errors="replace"), "stderr": err.decode(errors="replace")}
        context.show([], [], {**document, **texts})
    click.get_current_context().exit(code)


def _output(place: Place, session: Json, command: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """(STDOUT or STDERR, data) until the command has ended."""
    info = {"shell": False, "value": command[0], "arguments": list(command)}
    response = _post(place, LAUNCH, {"container_id": session, "command": info}, stream=True)
    if not response.ok:
        text = response.text.strip()[:300]
        raise CommandError(
            f"the agent of {place.task_id} runs no command beside it: {response.status_code} {text or response.reason}"
        )
    try:
        for message in records(response.iter_content(chunk_size=None)):
            if message.get("type") == "DATA":
                yield message["data"]["type"], base64.b64decode(message["data"].get("data", ""))
    except requests.RequestException as error:
        raise NotReachableError(f"{place.agent_url} broke the session off: {error}") from None


def records(pieces: Iterator[bytes]) -> Iterator[Any]:
    """The JSON messages of a RecordIO stream: each its length in decimal, a newline, and that many bytes."""
    held = b""
    for piece in pieces:
        held += piece
        while (at := held.find(b"\n")) >= 0:
            length = int(held[:at])
            if len(held) < at + 1 + length:
                break
            yield orjson.loads(held[at + 1 : at + 1 + length])
            held = held[at + 1 + length :]


def _exit_code(place: Place, session: Json) -> int:
    """As a shell would give it: 128 + n for a command that signal n ended."""
    response = _post(place, WAIT, {"container_id": session})
    if not response.ok:
        raise CommandError(f"how the command ended is not known: {response.status_code} {response.text.strip()[:200]}")
    status = response.json()[WAIT.lower()].get("exit_status")
    if status is None:
        raise CommandError("how the command ended is not known: the agent gives no exit status")
    code = os.waitstatus_to_exitcode(int(status))
    return code if code >= 0 else 128 - code


def _post(place: Place, kind: str, content: Json, *, stream: bool = False) -> requests.Response:
    headers = {"Accept": "application/recordio", "Message-Accept": "application/json"} if stream else {}
    try:
        return requests.post(
            f"{place.agent_url}/api/v1",
            json={"type": kind, kind.lower(): content},
            headers=headers,
            stream=stream,
            timeout=(CONNECT_TIMEOUT, SILENCE_SECONDS if stream else AGENT_TIMEOUT),
        )
    except requests.RequestException as error:
        raise NotReachableError(f"{place.agent_url} does not answer: {error}") from None
