"""What is, for those who ask: the read model that every GET is served from. Reads never wait for work.

All methods are synchronous and answer from memory with frozen values, consistent between two awaits of the caller. Only old versions
of specs come from the store.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from framework.model.deployment import Deployment
from framework.model.group import Declared
from framework.model.instance import HealthResult, Instance, TaskFailure
from framework.model.run_spec import RunSpec


@dataclass(frozen=True, slots=True)
class Counts:
    """Instances of one spec: `tasksStaged`, `tasksRunning`, `tasksHealthy`, `tasksUnhealthy` of Marathon."""

    staged: int = 0
    running: int = 0
    healthy: int = 0
    unhealthy: int = 0


@dataclass(frozen=True, slots=True)
class QueueItem:
    """Instances of one spec that wait for an offer. Rejects count by reason (of `decide.match_offers.REASONS`): declined.

    `last_rejects` and `last_offers` are of the last round over all offers; `launch_rejects` and `processed_offers` since the launch
    attempt began. `overdue` says that the delay is over.
    """

    spec: RunSpec
    count: int
    since: float
    delay_left: float
    overdue: bool
    processed_offers: int = 0
    unused_offers: int = 0
    last_unused_at: float | None = None
    last_used_at: float | None = None
    last_rejects: Mapping[str, int] | None = None
    last_offers: int = 0
    launch_rejects: Mapping[str, int] | None = None
    problem: str | None = None  # what it waits for besides offers, one line


@dataclass(frozen=True, slots=True)
class UnusedOffer:
    """An offer as Mesos sent it, everything that was in its way (of REASONS), and when."""

    offer: Mapping[str, Any]
    reasons: tuple[str, ...]
    at: float


@dataclass(frozen=True, slots=True)
class Activity:
    """What this leader did since it leads (`leading_since` epoch seconds; None while it does not), and the kills that are under way."""

    leading_since: float | None
    deployments: int
    deployments_dismissed: int
    tasks_launched: int
    groups_launched: int
    reserved: int
    offers_received: int
    offers_used: int
    offers_declined: int
    revives: int
    suppresses: int
    kills_in_flight: int
    kill_attempts: int


@dataclass(frozen=True, slots=True)
class FrameworkInfo:
    """Of this framework, and of the master that it is subscribed to (`master` host:port, None while it is not)."""

    name: str
    id: str | None
    master: str | None
    master_info: Mapping[str, object]
    connected: bool


@dataclass(frozen=True, slots=True)
class Readiness:
    """The last answer to a readiness check of a starting instance."""

    instance_id: str
    name: str
    ready: bool
    status: int | None = None
    content_type: str | None = None
    body: str | None = None


class View(Protocol):
    @property
    def declared(self) -> Declared:
        """Apps, pods and groups by id, as declared and durable (a running deployment may still be on its way there)."""

    def instance(self, instance_id: str) -> Instance | None: ...

    def instance_of_task(self, task_id: str) -> Instance | None: ...

    def instances(self, spec_id: str) -> Iterable[Instance]:
        """Of one app or pod, oldest first, those that have tasks; none for unknown ids."""

    def parked(self, spec_id: str) -> Iterable[Instance]:
        """Of one app or pod, those that have no task but keep their volumes."""

    def all_instances(self) -> Iterable[Instance]: ...

    def counts(self, spec_id: str) -> Counts: ...

    def health(self, instance_id: str) -> tuple[HealthResult, ...]:
        """One for each health check of the spec that has a result."""

    def readiness(self, spec_id: str) -> tuple[Readiness, ...]: ...

    def last_failure(self, spec_id: str) -> TaskFailure | None: ...

    def spec_of(self, instance: Instance) -> RunSpec | None:
        """The app or pod in the version that the instance was started with."""

    def deployments(self) -> tuple[Deployment, ...]:
        """Running ones, oldest first."""

    def deployments_of(self, spec_id: str) -> tuple[str, ...]:
        """Ids of the running deployments that affect an app or pod."""

    def waiting(self) -> tuple[str, ...]:
        """Ids of the apps and pods of which something waits for an offer."""

    def queue(self, spec_id: str | None = None) -> tuple[QueueItem, ...]:
        """What waits for an offer; of one spec, or all."""

    def unused_offers(self, spec_id: str) -> tuple[UnusedOffer, ...]:
        """The last offers that were of no use to an app or pod that waits."""

    def versions(self, spec_id: str) -> tuple[str, ...]:
        """Kept versions of an app, a pod or a group (apps and pods: newest first, bounded)."""

    async def spec_at(self, spec_id: str, version: str) -> RunSpec | None: ...

    async def group_at(self, group_id: str, version: str) -> Declared | None:
        """The group and everything in it, as it was."""

    @property
    def framework(self) -> FrameworkInfo: ...

    @property
    def activity(self) -> Activity: ...

    @property
    def leader(self) -> str | None:
        """host:port of the leader's API, None while there is none."""

    @property
    def is_leader(self) -> bool: ...
