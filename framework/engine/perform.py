"""Carries actions out: the thin hand between the state and the world. What comes of them returns as events.

The seams to the world are the Protocols here; `mesos`, `health` and `leader` implement them, and so does the simulation.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from daemonkit.logs import get_logger
from framework.engine.actions import (
    Accept,
    Acknowledge,
    Action,
    Announce,
    AnswerInverseOffers,
    Decline,
    FetchSecrets,
    Kill,
    Launch,
    Measure,
    Reconcile,
    Refuse,
    Reply,
    Resign,
    Revive,
    StartProbing,
    StopProbing,
    Subscribe,
    Suppress,
    Unsubscribe,
    UpdateRoles,
    Warn,
    WatchDrain,
)
from framework.engine.bus import Bus
from framework.engine.commands import Answer
from framework.model.instance import Instance
from framework.model.offer import Offer, Pool
from framework.model.run_spec import RunSpec

log = get_logger(__name__)


class Mesos(Protocol):
    """The scheduler's side of the master. No call blocks, and none raises: what comes of it arrives as events."""

    def subscribe(self, framework_id: str | None, roles: Sequence[str]) -> None: ...

    def unsubscribe(self) -> None:
        """Leaves; the tasks go on."""

    def update_roles(self, roles: Sequence[str]) -> None:
        """For the present subscription, of which none are suppressed any more, and for those to come."""

    def accept(
        self, offer: Offer, launches: Sequence[Launch], refuse_seconds: float, releases: Sequence[Pool] = ()
    ) -> None: ...

    def decline(self, offer_ids: Sequence[str], refuse_seconds: float) -> None: ...

    def answer_inverse_offers(self, accepted: Sequence[str], declined: Sequence[str]) -> None: ...

    def revive(self, roles: Sequence[str]) -> None: ...

    def suppress(self, roles: Sequence[str]) -> None: ...

    def acknowledge(self, task_id: str, agent_id: str, uuid: str) -> None: ...

    def kill(self, task_id: str, agent_id: str | None, grace_seconds: float | None) -> None: ...

    def reconcile(self, tasks: Sequence[tuple[str, str | None]]) -> None: ...

    def fetch_secrets(self, sources: Sequence[str]) -> None:
        """Gets values ready for launches to come; SecretsResolved tells how it went."""


class Probes(Protocol):
    def start(self, instance: Instance, spec: RunSpec, readiness: bool) -> None:
        """Replaces what is probed of the instance, if anything is."""

    def stop(self, instance_id: str) -> None: ...


class Drains(Protocol):
    def watch(self, instance: Instance, spec: RunSpec, seconds: float) -> None: ...


class Callers(Protocol):
    """Who waits for the answers to commands."""

    def reply(self, ticket: int, answer: Answer) -> None: ...

    def refuse(self, ticket: int, error: Exception) -> None: ...


class Performer:
    def __init__(
        self,
        mesos: Mesos,
        probes: Probes,
        bus: Bus,
        callers: Callers,
        *,
        resign: Callable[[], None],
        measure: Callable[[str, float], None] = lambda name, value: None,
        drains: Drains | None = None,
    ) -> None:
        self._drains = drains
        self._mesos, self._probes, self._bus, self._callers = mesos, probes, bus, callers
        self._resign, self._measure = resign, measure

    def perform(self, action: Action, now: float) -> None:
        mesos = self._mesos
        match action:
            case Acknowledge(task_id, agent_id, uuid):
                mesos.acknowledge(task_id, agent_id, uuid)
            case Announce(type, fields):
                self._bus.publish(type, now, fields)
            case Accept(offer, launches, refuse_seconds, releases):
                mesos.accept(offer, launches, refuse_seconds, *([releases] if releases else ()))
            case Decline(offer_ids, refuse_seconds):
                mesos.decline(offer_ids, refuse_seconds)
            case AnswerInverseOffers(accepted, declined):
                mesos.answer_inverse_offers(accepted, declined)
            case Kill(task_id, kill_agent, grace_seconds):
                mesos.kill(task_id, kill_agent, grace_seconds)
            case StartProbing(instance, spec, readiness):
                self._probes.start(instance, spec, readiness)
            case StopProbing(instance_id):
                self._probes.stop(instance_id)
            case WatchDrain(instance, spec, seconds):
                if self._drains is not None:
                    self._drains.watch(instance, spec, seconds)
            case Reply(ticket, answer):
                self._callers.reply(ticket, answer)
            case Refuse(ticket, error):
                self._callers.refuse(ticket, error)
            case Revive(roles):
                mesos.revive(roles)
            case Suppress(roles):
                mesos.suppress(roles)
            case Reconcile(tasks):
                mesos.reconcile(tasks)
            case FetchSecrets(sources):
                mesos.fetch_secrets(sources)
            case Subscribe(framework_id, roles):
                mesos.subscribe(framework_id, roles)
            case UpdateRoles(roles):
                mesos.update_roles(roles)
            case Unsubscribe():
                mesos.unsubscribe()
            case Resign():
                self._resign()
            case Measure(name, value):
                self._measure(name, value)
            case Warn(what, details):
                _warn(what, details)


def _warn(what: str, details: Mapping[str, object]) -> None:
    log.warning(what, **details)
