"""PURE: the looks of several sources -> one truth. Mesos says what runs; the framework adds health and draining; Docker its HEALTHCHECK.

A Mesos task that several sources see is one Instance, by its task id. The first of the configured sources in the order mesos,
framework, docker is the authority on tasks; Docker alone is the authority on containers that are no tasks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal

from registrator.model import Health, Instance, Look, Phase

HELD_LABEL = "DROMOS_HELD"  # of a task that was started to wait for a go
STRATEGY_LABEL = "DROMOS_DEPLOY_STRATEGY"
PRECEDENCE = ("mesos", "framework", "docker")
Kind = Literal["task", "container"]


class Verdict(Enum):
    WANTED = "wanted"  # to be in Consul exactly as it is described
    NEW_ONLY = "new only"  # to be registered where it is not yet; what is registered stays as it is
    HELD = "held"  # to be registered in maintenance mode where it is not yet; what is registered stays as it is
    HOLD = "hold"  # not to be registered, and not to be removed
    REMOVE = "remove"  # to be removed now
    WAIT = "wait"  # as HOLD, for a limited time; the loop then asks again


@dataclass(frozen=True, slots=True)
class Judged:
    instance: Instance
    verdict: Verdict
    why: str
    drain: bool = False
    doubt: str = ""  # what may be wrong with the verdict, and no source of ours could tell


@dataclass(frozen=True, slots=True)
class Age:
    """For how long (seconds) an instance has been known, and has been unreachable."""

    known: float = 0.0
    unreachable: float = 0.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long (seconds) to wait for the framework to speak of a task, and for an unreachable agent to come back."""

    framework: float = 30.0
    unreachable: float = 300.0


@dataclass(frozen=True, slots=True)
class Seen:
    """The last look of one source; `look` is None before the first. `failing` says why the newest attempt gave none."""

    look: Look | None = None
    failing: str = ""

    @property
    def proves_absence(self) -> bool:
        return self.look is not None and not self.failing and self.look.complete


@dataclass(frozen=True, slots=True)
class Truth:
    """`authority` names the source that decides whether a kind is absent; None where no configured source could know it."""

    instances: Mapping[str, Instance]
    ended: frozenset[str]
    authority: Mapping[Kind, str | None]


def merge(seen: Mapping[str, Seen]) -> Truth:
    """`seen` has every configured source. Where a source fails, its last look goes on being used."""
    task_authority = next((name for name in PRECEDENCE if name in seen), None)
    container_authority = "docker" if "docker" in seen else None
    looks = {name: seen[name].look for name in PRECEDENCE if name in seen}
    authoritative = looks.get(task_authority or "")
    tasks = {
        key: item for key, item in (authoritative.instances if authoritative else {}).items() if item.kind == "task"
    }
    merged: dict[str, Instance] = {}
    for key in tasks:
        known = [look.instances[key] for look in looks.values() if look and key in look.instances]
        merged[key] = combine(known)
    if docker := looks.get("docker"):
        merged |= {key: item for key, item in docker.instances.items() if item.kind == "container"}
    ended: frozenset[str] = frozenset().union(*(look.ended for look in looks.values() if look))
    for key in frozenset().union(*(look.draining for look in looks.values() if look)) & merged.keys():
        if not merged[key].draining:
            merged[key] = replace(merged[key], draining=True)
    return Truth(
        instances={key: item for key, item in merged.items() if key not in ended},
        ended=ended,
        authority={"task": task_authority, "container": container_authority},
    )


def combine(known: list[Instance]) -> Instance:
    """One Instance from what several sources know of it, the one with the most authority first."""
    first, *others = known
    for other in others:
        first = replace(
            first,
            app=other.app if other.version else first.app or other.app,  # the framework knows; Mesos may have guessed
            version=first.version or other.version,
            framework=first.framework or other.framework,
            health=max(first.health, other.health),
            draining=first.draining or other.draining,
            held=other.held if first.held is None else first.held,
            ports=first.ports or other.ports,
            labels={**other.labels, **first.labels},
            env={**other.env, **first.env},
            checks=other.checks or first.checks,  # the framework knows them all, Mesos the one that it runs itself
            host=first.host or other.host,
            host_address=first.host_address or other.host_address,
            container=first.container or other.container,
            has_siblings=first.has_siblings or other.has_siblings,
        )
    return first


def judge(instance: Instance, seen: Mapping[str, Seen], age: Age, patience: Patience) -> Judged:
    """What is to become of an instance that the authority says is there."""

    def judged(verdict: Verdict, why: str) -> Judged:
        return Judged(instance, verdict, why, drain=instance.draining)

    if instance.draining:
        return judged(Verdict.HOLD, "drains")
    if instance.phase is Phase.STARTING:
        return judged(Verdict.HOLD, "has not started yet")
    if instance.phase is Phase.FAILED:
        return judged(Verdict.HOLD, "has failed, and only what ended well is deregistered (--deregister on-success)")
    if instance.phase is Phase.UNREACHABLE:
        if age.unreachable > patience.unreachable:
            return judged(Verdict.REMOVE, f"its agent has been unreachable for more than {patience.unreachable:g} s")
        return judged(Verdict.WAIT, "its agent is unreachable; Consul's own checks decide on its traffic")
    if instance.kind == "container":
        return judged(Verdict.WANTED, "runs")  # its health is a check in Consul
    if instance.health is Health.UNHEALTHY:
        return judged(Verdict.REMOVE, "is unhealthy")
    if instance.health is Health.UNKNOWN:
        return judged(Verdict.HOLD, "has not passed its health checks yet")
    if _is_held(instance, seen):
        return judged(Verdict.HELD, "its version waits for its go")
    if why := _framework_is_silent(instance, seen):
        return judged(Verdict.NEW_ONLY if age.known > patience.framework else Verdict.WAIT, why)
    why = "runs and is healthy" if instance.health is Health.HEALTHY else "runs"
    return replace(judged(Verdict.WANTED, why), doubt=_doubt(instance, seen))


def _is_held(instance: Instance, seen: Mapping[str, Seen]) -> bool:
    """While nobody says otherwise, a task that was started held still is. Only the framework can say so."""
    if instance.held is None:
        return HELD_LABEL in instance.labels and "framework" in seen
    return instance.held


def _doubt(instance: Instance, seen: Mapping[str, Seen]) -> str:
    """Without the framework nobody says that a version has had its go. To keep its tasks out of rotation until somebody does would
    leave the app without any after the go, when the old ones are ended; so they are registered, and the doubt is told."""
    if "framework" in seen:
        return ""
    if HELD_LABEL in instance.labels:
        return "was started to wait for its version's go, which only the source framework could tell"
    if "mesos" not in seen and instance.labels.get(STRATEGY_LABEL) == "blue-green":
        return "may wait for its version's go (blue/green), which only the source framework could tell"
    return ""


def _framework_is_silent(instance: Instance, seen: Mapping[str, Seen]) -> str:
    """Why the framework has yet to say of the instance whether it is healthy; "" if it has, or is not the one to ask."""
    if "framework" not in seen or seen["framework"].look is None:
        return "the framework has not answered yet" if "framework" in seen else ""
    look = seen["framework"].look
    if instance.key in look.instances or (look.frameworks and instance.framework not in look.frameworks):
        return ""
    return "the framework does not know it yet"
