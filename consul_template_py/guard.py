"""The shrink guard: data that suddenly holds much less than before is doubted before it is believed. Pure.

A Consul agent that has just restarted, or a server cut off in an election, may answer with few services or none. Believed at once,
that empties every configuration made from it. So a drop past the limits is held back: a consistent read must confirm it, and it must
last for `hold_down` seconds. A drop that does not last was never seen; a confirmed one goes through, since an operator may well mean it.
Of a server whose index has gone backwards, as while it has yet to read all of its log again, any drop is held back.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Guard:
    """`min_instances`: fewer is doubted. `max_drop_percent`: a larger drop at once is doubted; 100 turns that off.
    `hold_down`: seconds that a doubted drop must last."""

    min_instances: int = 0
    max_drop_percent: float = 100.0
    hold_down: float = 0.0

    @property
    def active(self) -> bool:
        return self.min_instances > 0 or self.max_drop_percent < 100


@dataclass(frozen=True, slots=True)
class Doubt:
    """A drop that is being held back. `since` is when it was first seen, `confirmed` whether a consistent read agreed."""

    since: float
    confirmed: bool = False


@dataclass(frozen=True, slots=True)
class Believe:
    pass


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep what is there. `confirm`: ask for a consistent read. `again_at`: judge again then at the latest."""

    doubt: Doubt
    why: str
    confirm: bool
    again_at: float


def judge(
    guard: Guard, before: int | None, offered: int, doubt: Doubt | None, now: float, *, behind: bool = False
) -> Believe | Hold:
    """`before` is the count last believed, None where there is none yet; `doubt` the one of the last `Hold`, if it still holds.
    `behind`: the answer is of a server that may know less than one before did, so any drop is doubted.

    A caller sets `doubt.confirmed` (by `confirmed(doubt)`) once a consistent read has given the same count or fewer.
    """
    why = _doubtful(guard, before, offered, behind)
    if not why:
        return Believe()
    doubt = doubt or Doubt(since=now)
    until = doubt.since + guard.hold_down
    if doubt.confirmed and now >= until:
        return Believe()
    return Hold(doubt, why, confirm=not doubt.confirmed, again_at=until)


def confirmed(doubt: Doubt) -> Doubt:
    return Doubt(doubt.since, confirmed=True)


def _doubtful(guard: Guard, before: int | None, offered: int, behind: bool) -> str:
    if before is None:
        # At the start there is nothing to lose but the file of an earlier run: the same floor protects it.
        return (
            f"{offered} instances, fewer than min_instances {guard.min_instances}"
            if offered < guard.min_instances
            else ""
        )
    if offered >= before:
        return ""
    if behind:
        return f"{before} -> {offered} instances, of a server whose index has gone backwards"
    if offered < guard.min_instances:
        return f"{before} -> {offered} instances, fewer than min_instances {guard.min_instances}"
    drop = 100 * (before - offered) / before
    if drop > guard.max_drop_percent:
        return f"{before} -> {offered} instances, a drop of {drop:.0f} %, more than max_drop_percent {guard.max_drop_percent:g}"
    return ""
