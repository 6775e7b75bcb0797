"""A command beside a task, through the agent's LAUNCH_NESTED_CONTAINER_SESSION, ATTACH_CONTAINER_INPUT and WAIT_NESTED_CONTAINER.

The launch's answer is the command's output. What it is to read, and the size of its terminal, go in a request of their own, from a thread.
"""

import base64
import contextlib
import os
import select
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import orjson
import requests

from daemonkit.recordio import Records, record
from dromos.api import CONNECT_TIMEOUT, Json
from dromos.errors import CommandError, NotReachableError
from dromos.sandbox import AGENT_TIMEOUT, Place
from dromos.terminal import Size

SILENCE_SECONDS = 300.0  # the agent sends heartbeats more often
HEARTBEAT_SECONDS = 30.0
LAUNCH = "LAUNCH_NESTED_CONTAINER_SESSION"
ATTACH = "ATTACH_CONTAINER_INPUT"
WAIT = "WAIT_NESTED_CONTAINER"
PIECE = 32 * 1024
MOST_RECORD_BYTES = 16 * 1024 * 1024
RECORDIO = {"Content-Type": "application/recordio", "Message-Content-Type": "application/json"}


@dataclass(frozen=True)
class Input:
    """`fd` is read from, None: the command finds the end of its input at once. `size`: it has a terminal, and this is its window."""

    fd: int | None = None
    size: Size | None = None


class AgentSession:
    def __init__(self, place: Place, command: tuple[str, ...], given: Input) -> None:
        self._place, self._command, self._given = place, command, given
        self._id: Json = {"value": str(uuid.uuid4()), "parent": place.container}
        self._wake_read, self._wake_write = os.pipe()
        self._sizes: list[Size] = []
        self._over = False
        self.input_problem = ""

    # --- output

    def output(self) -> Iterator[tuple[str, bytes]]:
        """(STDOUT or STDERR, data) until the command has ended. Raises CommandError, NotReachableError."""
        response = self._launch()
        sender = threading.Thread(target=self._send_input, name="session-input", daemon=True)
        sender.start()
        try:
            records = Records(MOST_RECORD_BYTES)
            for piece in response.iter_content(chunk_size=None):
                for message in map(orjson.loads, records.feed(piece)):
                    if message.get("type") == "DATA":
                        yield message["data"]["type"], base64.b64decode(message["data"].get("data", ""))
        except requests.RequestException as error:
            raise NotReachableError(f"{self._place.agent_url} broke the session off: {error}") from None
        except (ValueError, KeyError, AttributeError, TypeError):
            raise CommandError(f"what answers at {self._place.agent_url} does not speak as a Mesos agent") from None
        finally:
            self._over = True
            os.close(self._wake_write)
            response.close()

    def _launch(self) -> requests.Response:
        command: Json = {"shell": False, "value": self._command[0], "arguments": list(self._command)}
        wanted: Json = {"container_id": self._id, "command": command}
        if self._given.size:
            wanted["container"] = {"type": "MESOS", "tty_info": {"window_size": self._given.size.json}}
            command["environment"] = {"variables": [{"name": "TERM", "value": os.environ.get("TERM", "xterm")}]}
        response = _post(self._place, LAUNCH, wanted, stream=True)
        if not response.ok:
            text = response.text.strip()[:300] or response.reason
            raise CommandError(
                f"the agent of {self._place.task_id} runs no command beside it: {response.status_code} {text}"
            )
        return response

    def exit_code(self) -> int:
        """As a shell would give it: 128 + n for a command that signal n ended. Raises CommandError, NotReachableError."""
        response = _post(self._place, WAIT, {"container_id": self._id})
        if not response.ok:
            text = response.text.strip()[:200]
            raise CommandError(f"how the command ended is not known: {response.status_code} {text}")
        status = response.json()[WAIT.lower()].get("exit_status")
        if status is None:
            raise CommandError("how the command ended is not known: the agent gives no exit status")
        code = os.waitstatus_to_exitcode(int(status))
        return code if code >= 0 else 128 - code

    # --- input

    def resize(self, size: Size) -> None:
        """May be called by a signal's handler."""
        self._sizes.append(size)
        if not self._over:
            with contextlib.suppress(OSError):
                os.write(self._wake_write, b"\n")

    def _send_input(self) -> None:
        url = f"{self._place.agent_url}/api/v1"
        try:
            response = requests.post(url, data=self._input(), headers=RECORDIO, timeout=(CONNECT_TIMEOUT, None))
            why = "" if response.ok else f"{response.status_code} {response.text.strip()[:200]}"
        except requests.RequestException as error:
            why = str(error)
        if why and not self._over:
            self.input_problem = why
        os.close(self._wake_read)

    def _input(self) -> Iterator[bytes]:
        """RecordIO of the calls: which session, then what there is to read, and the window's sizes."""
        yield _call({"type": "CONTAINER_ID", "container_id": self._id})
        if self._given.size:
            yield _control("TTY_INFO", {"window_size": self._given.size.json})
        if self._given.fd is None:
            yield _data(b"")
            if self._given.size is None:
                return
        reads = [self._wake_read, *([self._given.fd] if self._given.fd is not None else [])]
        while True:
            ready, _, _ = select.select(reads, [], [], HEARTBEAT_SECONDS)
            if not ready:
                yield _control("HEARTBEAT", {"interval": {"nanoseconds": int(HEARTBEAT_SECONDS * 1e9)}})
            if self._wake_read in ready:
                if not os.read(self._wake_read, PIECE):
                    return
                while self._sizes:
                    yield _control("TTY_INFO", {"window_size": self._sizes.pop(0).json})
            if self._given.fd in ready and self._given.fd is not None:
                data = os.read(self._given.fd, PIECE)
                yield _data(data)
                if not data:
                    reads.remove(self._given.fd)


def _call(content: Json) -> bytes:
    return record({"type": ATTACH, ATTACH.lower(): content})


def _data(data: bytes) -> bytes:
    piece = {"type": "STDIN", "data": base64.b64encode(data).decode()}
    return _call({"type": "PROCESS_IO", "process_io": {"type": "DATA", "data": piece}})


def _control(kind: str, content: Json) -> bytes:
    control = {"type": kind, kind.lower(): content}
    return _call({"type": "PROCESS_IO", "process_io": {"type": "CONTROL", "control": control}})


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
