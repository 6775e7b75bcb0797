"""All that can happen to the engine, as values. `State.handle` takes one at a time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from framework.decide.instance_state import TaskStatus
from framework.engine.commands import Command
from framework.engine.planning import Plan
from framework.model.offer import Offer


@dataclass(frozen=True, slots=True)
class Elected:
    """This node leads. `address` is its API's host:port."""

    address: str


@dataclass(frozen=True, slots=True)
class Deposed:
    """Another node leads at `leader` (None: nobody yet)."""

    leader: str | None = None


@dataclass(frozen=True, slots=True)
class Subscribed:
    framework_id: str
    master: str
    master_info: Mapping[str, Any] = field(default_factory=dict)
    again: bool = False


@dataclass(frozen=True, slots=True)
class Disconnected:
    why: str = ""


@dataclass(frozen=True, slots=True)
class OffersReceived:
    offers: tuple[Offer, ...]


@dataclass(frozen=True, slots=True)
class OfferRescinded:
    offer_id: str


@dataclass(frozen=True, slots=True)
class InverseOffer:
    """The master asks an agent's resources back: it goes away at `start`, until `until` (None: for good). Epoch seconds."""

    id: str
    agent_id: str
    start: float
    until: float | None = None


@dataclass(frozen=True, slots=True)
class InverseOffersReceived:
    offers: tuple[InverseOffer, ...]


@dataclass(frozen=True, slots=True)
class InverseOfferRescinded:
    offer_id: str


@dataclass(frozen=True, slots=True)
class StatusReceived:
    status: TaskStatus


@dataclass(frozen=True, slots=True)
class AgentLost:
    agent_id: str


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A framework message of an executor."""

    agent_id: str
    executor_id: str
    data: bytes


@dataclass(frozen=True, slots=True)
class LaunchUncertain:
    """An ACCEPT may or may not have reached the master."""

    instance_ids: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class CommandReceived:
    """`ticket` names the caller that waits for the answer. `plan`: what came of `State.plan`, where that has been called for it."""

    ticket: int
    command: Command
    plan: Plan | Exception | None = None


@dataclass(frozen=True, slots=True)
class Probed:
    """One health check's result. `alive` None: the answer says nothing either way (an ignored 1xx)."""

    instance_id: str
    check_index: int
    alive: bool | None
    cause: str = ""


@dataclass(frozen=True, slots=True)
class WentIdle:
    """Nobody talks to an instance that drains any more."""

    instance_id: str


@dataclass(frozen=True, slots=True)
class ReadinessProbed:
    instance_id: str
    name: str
    ready: bool
    status: int | None = None
    content_type: str | None = None
    body: str | None = None


@dataclass(frozen=True, slots=True)
class SecretsResolved:
    """By source, why a value could not be fetched, None where it could. The value itself goes nowhere but into the launch."""

    problems: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Some deadline of `State.next_deadline` has come."""


@dataclass(frozen=True, slots=True)
class BatchEnded:
    """Everything that has happened so far has been told: controllers compare what is wanted with what is."""


Event = (
    Elected
    | Deposed
    | Subscribed
    | Disconnected
    | OffersReceived
    | OfferRescinded
    | InverseOffersReceived
    | InverseOfferRescinded
    | StatusReceived
    | AgentLost
    | MessageReceived
    | LaunchUncertain
    | CommandReceived
    | Probed
    | ReadinessProbed
    | WentIdle
    | SecretsResolved
    | TimePassed
    | BatchEnded
)
