"""Why the engine did not do what a command asked.

EngineError
├── CommandRefused          the command is at fault
│   ├── NotFound            kind ("App", "Group", "Deployment", "Task", …), id
│   ├── Locked              deployment ids that hold what the command would change; `force` overrides
│   ├── NotWaiting          a go for a deployment in which nothing waits for one
│   ├── TooManyDeployments
│   └── Unstorable          the change holds something that cannot be written
├── Unavailable             not now: nothing was changed, the same command may be sent again
│   ├── NotLeader
│   ├── Busy                the queue of commands is full
│   └── StoreUnavailable    the store cannot write (disk full, …)
└── InvalidTransition       a bug: an event that cannot happen in this state; carries the story

A command's own `edit` may raise anything; that exception is what the caller of `execute` gets.
"""

from collections.abc import Iterable


class EngineError(Exception):
    pass


class CommandRefused(EngineError):  # noqa: N818
    pass


class NotFound(CommandRefused):
    def __init__(self, kind: str, id: str) -> None:
        super().__init__(f"{kind} '{id}' does not exist")
        self.kind, self.id = kind, id


class Locked(CommandRefused):
    def __init__(self, spec_ids: Iterable[str], deployment_ids: Iterable[str]) -> None:
        self.spec_ids, self.deployment_ids = tuple(spec_ids), tuple(deployment_ids)
        super().__init__(f"{', '.join(self.spec_ids)} locked by deployment {', '.join(self.deployment_ids)}")


class NotWaiting(CommandRefused):
    def __init__(self, deployment_id: str) -> None:
        super().__init__(f"Nothing in deployment {deployment_id} waits for a go")


class TooManyDeployments(CommandRefused):
    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} deployments are running already; wait, or cancel one")
        self.limit = limit


class Unstorable(CommandRefused):
    def __init__(self, why: str) -> None:
        super().__init__(f"The change cannot be kept, nothing was changed: {why}")


class Unavailable(EngineError):  # noqa: N818
    """`retry_after` in seconds."""

    retry_after = 1


class NotLeader(Unavailable):
    pass


class Busy(Unavailable):
    pass


class StoreUnavailable(Unavailable):
    retry_after = 5


class InvalidTransition(EngineError):  # noqa: N818
    """`story` are the last events of the subject, oldest first."""

    def __init__(self, subject: str, what: str, story: Iterable[str] = ()) -> None:
        self.subject, self.story = subject, tuple(story)
        super().__init__("\n  ".join([f"{subject}: {what}", *self.story]))
