"""A deployment: what changes, in which steps, and how far it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from framework.model.run_spec import RunSpec
from framework.model.values import FrozenMap

Kind = Literal["start", "stop", "scale", "restart"]


@dataclass(frozen=True, slots=True)
class StepAction:
    """One change to one app or pod. `marathon_name` is the name in Marathon's JSON: `RestartApplication`, `ScalePod`, ….

    `start` creates with 0 instances; a `scale` in a later step brings them up.
    """

    kind: Kind
    spec_id: str
    pod: bool = False

    @property
    def marathon_name(self) -> str:
        return self.kind.capitalize() + ("Pod" if self.pod else "Application")


@dataclass(frozen=True, slots=True)
class Step:
    actions: tuple[StepAction, ...]


@dataclass(frozen=True, slots=True)
class SpecChange:
    """`before` None: it is new. `after` None: it goes."""

    before: RunSpec | None
    after: RunSpec | None


@dataclass(frozen=True, slots=True)
class Rollout:
    """How a new version is tried before it takes over. `shares` of the instances, rising, each of which waits: for a go, or until all of
    it has been well for `healthy_seconds`. `blue_green`: all of it beside the whole old version."""

    blue_green: bool = False
    shares: tuple[float, ...] = ()
    healthy_seconds: float | None = None
    max_failures: int = 0

    @property
    def strategy(self) -> str:
        return "blue-green" if self.blue_green else "canary"

    @property
    def waits_for(self) -> str:
        return "go" if self.healthy_seconds is None else "health"


@dataclass(frozen=True, slots=True)
class Progress:
    """Of one action, settled when its step begins: how many (old) instances there were, how many may go at once, and whether the
    bounds leave no room, so that one instance may be more (or, of a resident spec, less) than they say.

    Of a rollout: the share that it is at, since when that share has been well (epoch seconds, None while it is not), and how many
    instances of the new version have failed.
    """

    old_at_start: int
    kill_at_once: int = 0
    extra: bool = False
    phase: int = 0
    well_since: float | None = None
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Deployment:
    """`current_step` counts from 0 and equals len(steps) when done. `version` is the root group's after the change.

    `deadline` is epoch seconds or None; `on_failure` says what happens when it passes. `reverts` names the deployment that this one
    rolls back.
    """

    id: str
    version: str
    steps: tuple[Step, ...]
    changes: Mapping[str, SpecChange]
    group_id: str = "/"
    current_step: int = 0
    started_at: float = 0.0
    step_since: float = 0.0
    deadline: float | None = None
    on_failure: Literal["stop", "rollback"] = "stop"
    reverts: str | None = None
    progress: Mapping[str, Progress] = field(default_factory=FrozenMap)
    rollouts: Mapping[str, Rollout] = field(default_factory=FrozenMap)  # by spec id; others are replaced as they go

    @property
    def affected_apps(self) -> tuple[str, ...]:
        return tuple(sorted({a.spec_id for step in self.steps for a in step.actions if not a.pod}))

    @property
    def affected_pods(self) -> tuple[str, ...]:
        return tuple(sorted({a.spec_id for step in self.steps for a in step.actions if a.pod}))

    @property
    def current_actions(self) -> tuple[StepAction, ...]:
        return self.steps[self.current_step].actions if self.current_step < len(self.steps) else ()
