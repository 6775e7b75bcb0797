"""Takes any target from what it has to what is wanted: stage, check, swap, reload, verify, and roll back when that goes wrong.

What is *written* and what is *applied* are kept apart. A file may be in place while the reload that should have followed failed, or
was never reached because the process died: then the next run sees a file that is equal, and must reload all the same. So a note of an
unfinished reload is on the disk before the swap, and goes only when the reload is done.

`Applier` adds time: wanted configurations are coalesced (the latest wins), reloads are bounded by a token bucket, failures are tried
again with back-off for ever, and one target's trouble is its own.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from consul_template_py import token_bucket
from consul_template_py.errors import NoRollBackError
from consul_template_py.order import ALONE, Place
from consul_template_py.targets.base import ApplyResult, Outcome, Target
from consul_template_py.token_bucket import Rate
from daemonkit.backoff import Backoff
from daemonkit.logs import get_logger

log = get_logger(__name__)
C = TypeVar("C")


class Applied:
    """The fingerprint that the running thing runs by, as far as is known. With a `note` it outlives this process."""

    def __init__(self, note: Path | None = None) -> None:
        self._note = note
        self.fingerprint: str | None = None
        self.pending = note is not None and note.exists()

    def begin(self) -> None:
        """A swap is about to happen: from here on only a finished reload makes the target applied."""
        self.fingerprint, self.pending = None, True
        if self._note is not None:
            self._note.parent.mkdir(parents=True, exist_ok=True)
            self._note.write_text("a reload is due\n")

    def done(self, fingerprint: str | None) -> None:
        self.fingerprint, self.pending = fingerprint, False
        if self._note is not None:
            self._note.unlink(missing_ok=True)


async def apply(
    target: Target[C], wanted: C, applied: Applied, *, dry: bool = False, place: Place = ALONE
) -> ApplyResult:
    """One attempt. Never raises for what the target does; the result says what happened. It reloads when its `place` is next.

    At the first attempt of a process a target that has in place what is wanted counts as applied, unless a reload is pending.
    """
    fingerprint = target.fingerprint(wanted)
    try:
        written = await target.written()
    except Exception as error:  # then it is to be written, and staging it will say what is wrong
        log.warning("cannot tell what is in place", target=target.name, error=_say(error))
        written = None
    if applied.fingerprint is None and not applied.pending and written == fingerprint:
        applied.fingerprint = fingerprint
    would_write, would_reload = written != fingerprint, applied.fingerprint != fingerprint
    plan = ApplyResult(Outcome.unchanged, fingerprint, would_write=would_write, would_reload=would_reload)
    if not would_write and not would_reload:
        return plan
    if dry:
        return replace(plan, outcome=Outcome.would_apply)
    try:
        return await _attempt(target, wanted, applied, plan, place)
    finally:
        try:
            await target.discard()
        except Exception as error:
            log.warning("could not remove what was staged", target=target.name, error=str(error))


async def _attempt(target: Target[C], wanted: C, applied: Applied, plan: ApplyResult, place: Place) -> ApplyResult:
    if plan.would_write:
        try:
            await target.stage(wanted)
        except Exception as error:
            return replace(plan, outcome=Outcome.not_staged, error=_say(error))
        try:
            await target.check()
        except Exception as error:
            return replace(plan, outcome=Outcome.refused, error=_say(error))
        had_before = applied.fingerprint
        try:
            applied.begin()
            await target.swap()
        except Exception as error:
            return replace(plan, outcome=Outcome.failed, error=_say(error))
        plan = replace(plan, did_write=True)
    else:
        had_before = None
    await place.next()
    try:
        await target.reload()
        plan = replace(plan, did_reload=True)
        await target.verify()
    except Exception as error:
        if not plan.did_write:
            return replace(plan, outcome=Outcome.failed, error=_say(error))
        return await _rolled_back(target, applied, replace(plan, error=_say(error)), had_before)
    applied.done(plan.fingerprint)
    return replace(plan, outcome=Outcome.applied)


async def _rolled_back(target: Target[C], applied: Applied, plan: ApplyResult, had_before: str | None) -> ApplyResult:
    try:
        await target.roll_back()
    except NoRollBackError:
        return replace(plan, outcome=Outcome.failed)
    except Exception as error:
        return replace(plan, outcome=Outcome.failed, error=f"{plan.error}; the roll-back failed too: {_say(error)}")
    applied.done(had_before)
    return replace(plan, outcome=Outcome.rolled_back)


def _say(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error) or repr(error)


@dataclass(slots=True)
class TargetState:
    """What a status page shows of a target. Times are epoch seconds, 0 for never."""

    wanted: str = ""
    applied: str | None = None
    last: ApplyResult | None = None
    last_applied_at: float = 0.0
    last_failed_at: float = 0.0
    failures: int = 0  # in a row
    next_try_at: float = 0.0  # 0 when none is due


class Applier(Generic[C]):
    """Keeps one target at what was last wanted of it. `want()` never waits; `run()` is the loop.

    `rate` bounds attempts that change something. `first_retry`/`most_retry` bound the back-off, in seconds. A configuration that was
    refused or rolled back is tried again too, since what made it fail may lie outside of it.
    """

    def __init__(
        self,
        target: Target[C],
        *,
        note: Path | None = None,
        rate: Rate = Rate(),  # noqa: B008  a frozen value
        first_retry: float = 1.0,
        most_retry: float = 60.0,
        dry: bool = False,
        on_result: Callable[[ApplyResult], None] = lambda result: None,
    ) -> None:
        self.target = target
        self.state = TargetState()
        self._applied = Applied(note)
        self._rate, self._bucket = rate, token_bucket.full(rate, time.monotonic())
        self._backoff = Backoff(first_retry, most_retry)
        self._dry = dry
        self._on_result = on_result
        self._wanted: C | None = None
        self._place = ALONE
        self._news = asyncio.Event()
        self._settled = asyncio.Event()

    def want(self, wanted: C, place: Place = ALONE) -> None:
        """The latest call wins; those that an attempt has not begun with are forgotten."""
        self._place.leave()
        self._wanted, self._place = wanted, place
        self.state.wanted = self.target.fingerprint(wanted)
        self._settled.clear()
        self._news.set()

    async def settled(self) -> ApplyResult:
        """Waits until an attempt with what is wanted now has ended, well or not."""
        await self._settled.wait()
        assert self.state.last is not None
        return self.state.last

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            result = await self._try()
            while not result.ok:
                delay = self._backoff.next()
                self.state.next_try_at = time.time() + delay
                try:
                    async with asyncio.timeout(delay):
                        await self._news.wait()
                    if self.target.fingerprint(self._need()) != result.fingerprint:
                        self._backoff.reset()  # something else is wanted: that is a first try
                except TimeoutError:
                    pass
                self._news.clear()
                result = await self._try()
            self._backoff.reset()

    async def _try(self) -> ApplyResult:
        await self._wait_for_token()
        wanted, place, self._place = self._need(), self._place, ALONE
        try:
            result = await apply(self.target, wanted, self._applied, dry=self._dry, place=place)
        except Exception as error:
            log.exception("applying failed in an unforeseen way", target=self.target.name)
            result = ApplyResult(Outcome.failed, self.target.fingerprint(wanted), error=_say(error))
        finally:
            place.leave()
        self._note_result(result)
        if self._wanted is wanted:
            self._settled.set()
        return result

    async def _wait_for_token(self) -> None:
        if self.target.fingerprint(self._need()) == self._applied.fingerprint:
            return
        while True:
            self._bucket, delay = token_bucket.take(self._rate, self._bucket, time.monotonic())
            if delay <= 0:
                return
            self._place.leave()  # the others do not wait for it
            await asyncio.sleep(delay)

    def _need(self) -> C:
        assert self._wanted is not None
        return self._wanted

    def _note_result(self, result: ApplyResult) -> None:
        state, now = self.state, time.time()
        state.last, state.applied, state.next_try_at = result, self._applied.fingerprint, 0.0
        if not result.ok:
            state.failures += 1
            state.last_failed_at = now
            log.error("not applied", target=self.target.name, outcome=result.outcome.value, error=result.error)
        else:
            state.failures = 0
            if result.outcome is Outcome.applied:
                state.last_applied_at = now
                log.info("applied", target=self.target.name, wrote=result.did_write, reloaded=result.did_reload)
        self._on_result(result)
