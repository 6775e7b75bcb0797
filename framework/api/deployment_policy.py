"""How long a deployment may take, what happens then, and how a new version is tried first: what a request's query says, and, for the
time and the failure, the labels of what it changes. (Labels about trying are the engine's to read: each holds for its own app.)
"""

from collections.abc import Mapping
from typing import Literal

from framework.api.errors import BadRequestError, UnprocessableError
from framework.api.labels import DEADLINE_LABEL, ON_FAILURE_LABEL
from framework.decide import rollout
from framework.model.change import Change

OnFailure = Literal["stop", "rollback"]

_ROLLOUT_PARAMETERS = {
    "strategy": rollout.STRATEGY_LABEL,
    "share": rollout.SHARE_LABEL,
    "healthySeconds": rollout.HEALTHY_LABEL,
    "maxFailures": rollout.FAILURES_LABEL,
}


def policy_of(change: Change) -> tuple[float | None, OnFailure]:
    """The shortest deadline, in seconds, and `rollback` as soon as one asks for it."""
    labels = [spec.labels for part in (change.apps, change.pods) for spec in part.values() if spec is not None]
    deadlines = [float(given[DEADLINE_LABEL]) for given in labels if DEADLINE_LABEL in given]
    back = any(given.get(ON_FAILURE_LABEL) == "rollback" for given in labels)
    return min(deadlines, default=None), "rollback" if back else "stop"


def deadline_in(query: Mapping[str, str]) -> float | None:
    text = query.get("deadline")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= 1e9:
        raise BadRequestError("deadline is a number of seconds, greater than 0")
    return seconds


def on_failure_in(query: Mapping[str, str]) -> OnFailure | None:
    match query.get("onFailure"):
        case None:
            return None
        case "stop":
            return "stop"
        case "rollback":
            return "rollback"
    raise BadRequestError("onFailure is stop or rollback")


def rollout_in(query: Mapping[str, str], change: Change) -> dict[str, str]:
    """The rollout's labels as the query gives them. Raises BadRequestError, and UnprocessableError where a spec has no room for it."""
    given = {label: query[name] for name, label in _ROLLOUT_PARAMETERS.items() if name in query}
    problems = rollout.problems(given)
    for name, label in _ROLLOUT_PARAMETERS.items():
        if label in problems:
            raise BadRequestError(f"{name}: {problems[label]}")
    if given.get(rollout.STRATEGY_LABEL) == "blue-green":
        for spec in (*change.apps.values(), *change.pods.values()):
            if spec is not None and (spec.is_resident or spec.upgrade_strategy.maximum_over_capacity < 1):
                raise UnprocessableError(f"{spec.id}: {rollout.NO_ROOM}")
    return given
