"""`/status`: for each template what it reads, when it was last good, and what is wrong; for each target what it has."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from consul_template_py.runner import Group, Runner
from consul_template_py.unit import Unit
from daemonkit.health import Health
from daemonkit.http import Json
from daemonkit.logs import MASK

MOST_LISTED = 1000


def report(runner: Runner) -> dict[str, Any]:
    """Times are epoch seconds, 0 for never; lists are cut at 1000 entries, `…_count` is the whole number."""
    return {
        "ready": runner.ready,
        "templates": [_unit(unit, runner) for unit in runner.units],
        "targets": [_group(group) for group in runner.groups],
        "held_back": runner.memory.holds,
        "failing": _failing(runner),
    }


def _unit(unit: Unit, runner: Runner) -> dict[str, Any]:
    incremental, state = unit.evaluation.incremental, unit.state
    queries = sorted(map(str, incremental.readers))
    missing = sorted(map(str, incremental.missing))
    return {
        "name": unit.name,
        "destination": str(unit.destination),
        "syntax": unit.syntax,
        "state": "broken" if state.error else "waiting" if missing or not unit.rendered else "rendered",
        "error": state.error,
        "role": runner.roles.get(unit, "alone"),
        "dependencies": queries[:MOST_LISTED],
        "dependencies_count": len(queries),
        "waiting_for": missing[:MOST_LISTED],
        "waiting_for_count": len(missing),
        "refused": [
            {"value": MASK if unit.reads_secrets else ascii(r.value[:200]), "why": r.why}
            for r in incremental.refusals[:MOST_LISTED]
        ],
        "refused_count": len(incremental.refused),
        "evaluations": state.evaluations,
        "last_evaluation": state.evaluated_at,
        "last_evaluation_seconds": round(state.seconds, 6),
        "last_good": state.good_at,
        "last_change": state.changed_at,
        "written_digest": unit.wanted.digest,
    }


def _group(group: Group) -> dict[str, Any]:
    state = group.applier.state
    last = state.last
    return {
        "name": group.name,
        "templates": [unit.name for unit in group.units],
        "wanted": state.wanted,
        "applied": state.applied,
        "in_sync": state.wanted == (state.applied or ""),
        "outcome": last.outcome.value if last else "none yet",
        "error": last.error if last else "",
        "failures": state.failures,
        "last_applied": state.last_applied_at,
        "last_failed": state.last_failed_at,
        "next_try": state.next_try_at,
    }


def _failing(runner: Runner) -> dict[str, str]:
    """Queries whose watch fails now."""
    states = ((query, runner.memory.state(query)) for query in runner.memory.queries)
    found = {str(query): state.error for query, state in states if state is not None and state.error}
    return dict(sorted(found.items())[:MOST_LISTED])


class RunnerHealth(Health):
    """Looked at when it is asked for. Healthy: all templates render, all targets have what is wanted. An outage of a source is
    shown, but does not turn it red: the last output serves on."""

    def __init__(self) -> None:
        super().__init__(required=("templates", "targets"))
        self.runner: Runner | None = None

    @property
    def healthy(self) -> bool:
        self._look()
        return super().healthy

    def report(self) -> dict[str, object]:
        self._look()
        return super().report()

    def _look(self) -> None:
        if self.runner is None:
            return
        self._say("templates", _template_trouble(self.runner))
        self._say("targets", _target_trouble(self.runner))
        self._say("sources", _source_trouble(self.runner))

    def _say(self, part: str, trouble: str) -> None:
        if trouble:
            self.failing(part, trouble)
        else:
            self.ok(part)


def _template_trouble(runner: Runner) -> str:
    broken = [unit.state.error for unit in runner.units if unit.state.error]
    if broken:
        return "; ".join(broken[:5])
    waiting = next((unit for unit in runner.units if not unit.rendered), None)
    if waiting is None:
        return ""
    return f"{waiting.name} waits for {', '.join(sorted(map(str, waiting.waiting_for))[:5]) or 'its first evaluation'}"


def _target_trouble(runner: Runner) -> str:
    states = [(group.name, group.applier.state.last) for group in runner.groups]
    return "; ".join(f"{name}: {last.error}" for name, last in states if last is not None and not last.ok)


def _source_trouble(runner: Runner) -> str:
    failing = _failing(runner)
    query, error = next(iter(failing.items()), ("", ""))
    return f"{len(failing)} watches fail, {query}: {error}" if failing else ""


def status_route(health: RunnerHealth) -> Route:
    async def status(_request: Request) -> Response:
        return Json(report(health.runner) if health.runner else {"ready": False})

    return Route("/status", status)
