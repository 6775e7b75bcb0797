"""All that the engine can do, as values. The loop commits what the batch changed first, then carries these out in their order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from framework.engine.commands import Answer
from framework.model.instance import Instance
from framework.model.offer import Offer, Pool, Take
from framework.model.run_spec import RunSpec


@dataclass(frozen=True, slots=True)
class Launch:
    """`reserve`: what is taken is reserved for the instance first, and its persistent volumes are made of it."""

    instance: Instance
    spec: RunSpec
    takes: tuple[Take, ...]
    reserve: bool = False


@dataclass(frozen=True, slots=True)
class Accept:
    """`refuse_seconds`: for how long what is left of the offer is not to be offered again. `releases`: what was reserved for instances
    that are no more; their volumes are destroyed."""

    offer: Offer
    launches: tuple[Launch, ...]
    refuse_seconds: float
    releases: tuple[Pool, ...] = ()


@dataclass(frozen=True, slots=True)
class Decline:
    offer_ids: tuple[str, ...]
    refuse_seconds: float


@dataclass(frozen=True, slots=True)
class AnswerInverseOffers:
    """Whether what is asked back will be free when its agent goes away."""

    accepted: tuple[str, ...]
    declined: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Revive:
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Suppress:
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Subscribes, with the framework id if there is one."""

    framework_id: str | None
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UpdateRoles:
    """The roles of the present subscription, and of those to come. None of them is suppressed after it."""

    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Leaves the master without ending the tasks."""


@dataclass(frozen=True, slots=True)
class Acknowledge:
    task_id: str
    agent_id: str
    uuid: str


@dataclass(frozen=True, slots=True)
class Kill:
    """`grace_seconds` None: as the task was launched with."""

    task_id: str
    agent_id: str | None
    grace_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Reconcile:
    """(task id, agent id) of each task to ask about; none at all asks about every task that the master knows."""

    tasks: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True, slots=True)
class FetchSecrets:
    """Values for launches to come; SecretsResolved tells how it went."""

    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StartProbing:
    """`readiness`: ask the readiness checks too, until the instance is ready."""

    instance: Instance
    spec: RunSpec
    readiness: bool = False


@dataclass(frozen=True, slots=True)
class StopProbing:
    instance_id: str


@dataclass(frozen=True, slots=True)
class WatchDrain:
    """Tell (WentIdle) when nobody talks to the instance any more, for at most so many seconds."""

    instance: Instance
    spec: RunSpec
    seconds: float


@dataclass(frozen=True, slots=True)
class Announce:
    type: str
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Reply:
    ticket: int
    answer: Answer


@dataclass(frozen=True, slots=True)
class Refuse:
    ticket: int
    error: Exception


@dataclass(frozen=True, slots=True)
class Resign:
    """Gives up leadership."""


@dataclass(frozen=True, slots=True)
class Measure:
    """For the metrics. `launch_seconds`: from the match with an offer until it runs."""

    name: Literal["launch_seconds"]
    value: float


@dataclass(frozen=True, slots=True)
class Warn:
    """For the log: what an operator should see."""

    what: str
    details: Mapping[str, object]


Action = (
    Accept
    | Decline
    | AnswerInverseOffers
    | Revive
    | Suppress
    | Subscribe
    | UpdateRoles
    | Unsubscribe
    | Acknowledge
    | Kill
    | Reconcile
    | FetchSecrets
    | StartProbing
    | StopProbing
    | WatchDrain
    | Announce
    | Reply
    | Refuse
    | Resign
    | Measure
    | Warn
)
