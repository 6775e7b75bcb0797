"""The status updates of one task: in order, each on disk before it is sent, and sent again until it is acknowledged.

Only the first unacknowledged update is on its way; the next follows its acknowledgement. `UpdateQueue` is the decision,
`UpdateStream` the task around it that writes, sends and waits.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daemonkit.backoff import Backoff
from daemonkit.lifecycle import sleep_or_stop
from daemonkit.logs import get_logger
from embedded.mesos.durable import read_json, write_json
from embedded.mesos.records import TERMINAL

log = get_logger(__name__)
Json = dict[str, Any]

_OF_RUNNING = ("REASON_TASK_HEALTH_CHECK_STATUS_UPDATED", "REASON_TASK_CHECK_STATUS_UPDATED")


@dataclass
class UpdateQueue:
    """`pending` are the unacknowledged updates, the first of them on its way; `latest` the newest of all; `history` the last
    of each run of equal states. A check's results beyond `most` take the place of the one before."""

    most: int = 100
    pending: list[Json] = field(default_factory=list)
    history: list[Json] = field(default_factory=list)
    passed_on: Json | None = None  # the newest acknowledged or sent one

    @property
    def latest(self) -> Json | None:
        return self.history[-1] if self.history else None

    @property
    def head(self) -> Json | None:
        return self.pending[0] if self.pending else None

    @property
    def ended(self) -> bool:
        """True once a terminal update is in; nothing follows it."""
        return bool(self.history) and self.history[-1]["state"] in TERMINAL

    @property
    def done(self) -> bool:
        """True once the terminal update is acknowledged."""
        return self.ended and not self.pending

    def put(self, status: Json) -> None:
        if self.ended:
            return
        if len(self.pending) >= max(2, self.most) and all(
            update.get("reason") in _OF_RUNNING for update in (self.pending[-1], status)
        ):
            self.pending.pop()
        self.pending.append(status)
        if self.history and self.history[-1]["state"] == status["state"]:
            self.history.pop()
        self.history.append(status)

    def acknowledge(self, uuid: str) -> bool:
        """False for an update that is not the one on its way: a late or repeated acknowledgement."""
        if not self.pending or self.pending[0]["uuid"] != uuid:
            return False
        self.passed_on = self.pending.pop(0)
        return True

    def to_json(self) -> Json:
        return {"pending": self.pending, "history": self.history, "passed_on": self.passed_on}


class UpdateStream:
    """`send` is called with an update when it is due, again and again; `run` returns when the last is acknowledged."""

    def __init__(
        self,
        path: Path,
        send: Callable[[Json], None],
        *,
        first_retry: float = 10.0,
        longest_retry: float = 600.0,
        most: int = 100,
    ) -> None:
        saved = read_json(path) or {}
        self.queue = UpdateQueue(most, saved.get("pending", []), saved.get("history", []), saved.get("passed_on"))
        self._path = path
        self._send = send
        self._retry = (first_retry, longest_retry)
        self._changed = asyncio.Event()
        self._unsaved = False
        self._silent = self._resend = False
        self.volatile = False  # of a task that was never written down: nothing of it is to be found after a restart

    def put(self, status: Json) -> None:
        self.queue.put(status)
        self._unsaved = True
        self._changed.set()

    def acknowledge(self, uuid: str) -> bool:
        known = self.queue.acknowledge(uuid)
        if known:
            self._unsaved = True
            self._changed.set()
        return known

    def resend(self) -> None:
        """Whoever missed the update on its way is there again."""
        self._resend = True
        self._changed.set()

    def silence(self) -> None:
        """Nobody is to hear of the task any more: what is pending counts as acknowledged, and so does what follows."""
        self._silent = True
        self._changed.set()

    async def run(self) -> None:
        while not self.queue.done:
            if self._silent:
                self.queue.pending.clear()
                if self.queue.ended:
                    return
            await self._save()
            head = self.queue.head
            if head:
                await self._send_until_acknowledged(head)
            else:
                await self._changed.wait()
                self._changed.clear()

    async def _send_until_acknowledged(self, update: Json) -> None:
        first, longest = self._retry
        waits = Backoff(first=first, most=longest, jitter=0.0)
        while self._awaits(update):
            self.queue.passed_on = update
            self._resend = False
            self._send(update)
            delay = waits.next()
            loop = asyncio.get_running_loop()
            due = loop.time() + delay
            while self._awaits(update) and not self._resend and (left := due - loop.time()) > 0:
                await sleep_or_stop(left, self._changed)
                self._changed.clear()
                await self._save()

    def _awaits(self, update: Json) -> bool:
        return self.queue.head is update and not self._silent

    async def _save(self) -> None:
        """A full disk holds updates back for as long as it lasts."""
        waits = Backoff(most=5.0)
        while self._unsaved and not self.volatile:
            self._unsaved = False
            try:
                await self._write(self.queue.to_json())
            except OSError as error:
                self._unsaved = True
                delay = waits.next()
                log.error(
                    "a task's state cannot be saved, its updates wait",
                    path=str(self._path),
                    error=str(error),
                    retry_in=delay,
                )
                await asyncio.sleep(delay)

    async def _write(self, queue: Json) -> None:
        """Brought to its end: what is written after a cancellation would lie over what the next agent wrote."""
        writing = asyncio.ensure_future(asyncio.to_thread(write_json, self._path, queue))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait([writing])
            raise
