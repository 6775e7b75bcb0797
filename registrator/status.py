"""What /status shows: each instance, which sources know it, what is to become of it, and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from daemonkit.health import Health
from registrator.apply import Refusal
from registrator.merge import Judged, Seen
from registrator.model import Service
from registrator.naming import Named


@dataclass(frozen=True, slots=True)
class Report:
    """What the last comparison came to. `conflicts` and `waiting` are by service id."""

    judged: Mapping[str, Judged] = field(default_factory=dict)
    named: Mapping[str, Named] = field(default_factory=dict)
    conflicts: Mapping[str, str] = field(default_factory=dict)
    waiting: Mapping[str, str] = field(default_factory=dict)
    registered: frozenset[str] = frozenset()


def status_of(
    report: Report, seen: Mapping[str, Seen], refusals: Mapping[str, Refusal], health: Health
) -> dict[str, Any]:
    """`{healthy, parts, sources, services, instances, doubts, removals_waiting, conflicts, refused}`"""
    return {
        **health.report(),
        "sources": {name: _source(found) for name, found in seen.items()},
        "services": len(report.registered),
        "instances": [_instance(judgement, report, seen, refusals) for _, judgement in sorted(report.judged.items())],
        "doubts": {key: judgement.doubt for key, judgement in sorted(report.judged.items()) if judgement.doubt},
        "removals_waiting": dict(report.waiting),
        "conflicts": dict(report.conflicts),
        "refused": {id: refusal.why for id, refusal in refusals.items()},
    }


def _source(seen: Seen) -> dict[str, Any]:
    return {
        "instances": len(seen.look.instances) if seen.look else None,
        "complete": seen.look.complete if seen.look else False,
        "why": seen.failing or (seen.look.why_incomplete if seen.look else "has not been looked at yet"),
        "failing": bool(seen.failing),
    }


def _instance(
    judgement: Judged, report: Report, seen: Mapping[str, Seen], refusals: Mapping[str, Refusal]
) -> dict[str, Any]:
    instance = judgement.instance
    named = report.named[instance.key]
    return {
        "id": instance.key,
        "kind": instance.kind,
        "app": instance.app,
        "version": instance.version,
        "phase": instance.phase.value,
        "health": instance.health.name.lower(),
        "draining": instance.draining,
        "seen_by": [name for name, found in seen.items() if found.look and instance.key in found.look.instances],
        "verdict": judgement.verdict.value,
        "why": judgement.why,
        "services": [_service(service, report, refusals) for service in named.services],
        "left_out": list(named.refused),
    }


def _service(service: Service, report: Report, refusals: Mapping[str, Refusal]) -> dict[str, Any]:
    problem = report.conflicts.get(service.id) or (refusals[service.id].why if service.id in refusals else "")
    return {
        "id": service.id,
        "name": service.name,
        "address": service.address,
        "port": service.port,
        "registered": service.id in report.registered,
        "problem": problem,
    }
