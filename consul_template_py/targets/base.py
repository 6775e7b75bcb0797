"""The seam between a wanted configuration and the thing that runs by it.

A target takes a configuration through stage → check → swap → reload → verify, and can roll back. What each step means the target
knows; the order, the rules and the retries are `apply.py`'s, the same for all targets.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

C = TypeVar("C")
C_contra = TypeVar("C_contra", contravariant=True)


class Target(Protocol[C_contra]):
    """Steps raise TargetError (CheckError, ReloadError, VerifyError) or OSError; whatever they raise is the operator's to read.

    No step is called while another runs.
    """

    @property
    def name(self) -> str: ...

    def fingerprint(self, wanted: C_contra) -> str:
        """Equal for configurations that need nothing done to go from one to the other. Pure and quick."""
        ...

    async def written(self) -> str | None:
        """The fingerprint of what is in place now, written by whomever; None where there is nothing, or nothing comparable."""
        ...

    async def stage(self, wanted: C_contra) -> None:
        """Writes beside what is live; nothing sees it yet."""
        ...

    async def check(self) -> None:
        """Raises CheckError if what is staged would not work."""
        ...

    async def swap(self) -> None:
        """Puts what is staged in place, atomically, and keeps what was there."""
        ...

    async def reload(self) -> None:
        """Makes the running thing take what is in place. Raises ReloadError. Called alone to retry."""
        ...

    async def verify(self) -> None:
        """Raises VerifyError if the running thing does not run by what is in place."""
        ...

    async def roll_back(self) -> None:
        """Puts back what was in place before the last swap, and makes the running thing take it.

        Raises NoRollBackError where the target is meant to keep what it has: then only the reload is tried again."""
        ...

    async def discard(self) -> None:
        """Removes what is staged. Called after every attempt, whether it went well or not."""
        ...


class Outcome(StrEnum):
    unchanged = "unchanged"  # it is in place and applied already
    would_apply = "would_apply"  # a dry run
    applied = "applied"
    not_staged = "not_staged"  # writing beside failed (a full disk): nothing has changed
    refused = "refused"  # the check said no: nothing has changed
    rolled_back = "rolled_back"  # reload or verify failed: what was there before is back
    failed = "failed"  # reload failed and there was nothing to roll back to, or that failed too: will be tried again


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """`would_write`/`would_reload` say what the difference asks for; `did_write`/`did_reload` what happened."""

    outcome: Outcome
    fingerprint: str
    would_write: bool = False
    would_reload: bool = False
    did_write: bool = False
    did_reload: bool = False
    error: str = ""

    @property
    def ok(self) -> bool:
        return self.outcome in (Outcome.unchanged, Outcome.would_apply, Outcome.applied)
